"""Print a session as text, or one answer with its prompt, model, seed and parameters.

asr33 log show LAST --follow
asr33 log show K3TX
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from daemon.archive.answer_code import normalise_code
from daemon.archive.log_records import Record, iter_records, parse_record
from daemon.archive.session_list import session_paths
from daemon.archive.session_reader import ArchivedSession, SessionHeader, Turn, read_log_header, read_session
from daemon.archive.transcript import Transcript, format_date
from tools.cli.errors import ToolError
from tools.cli.output import print_output
from tools.cli.progress import format_duration
from tools.log.log_folder import LAST, find_session, find_session_or_answer, resolve_folder

POLL_S = 0.2  # between two looks at a log that is followed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    name_help = "session or answer (default LAST, the newest session)"
    parser.add_argument("reference", nargs="?", default=LAST, metavar="SESSION|CODE", help=name_help)
    output = parser.add_mutually_exclusive_group()
    follow_help = "print new records until Ctrl-C, and go on with the next session (default: off)"
    output.add_argument("--follow", action="store_true", help=follow_help)
    output.add_argument("--json", action="store_true", help="print the answers as JSON (default: text)")


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError."""
    folder = resolve_folder(args)
    if args.follow:
        _follow(folder, find_session(folder, args.reference))  # until Ctrl-C
    try:
        path, number = find_session_or_answer(folder, args.reference)
    except ToolError:
        if (chat := _find_chat(folder, args.reference)) is None:
            raise
        print_output(json.dumps(chat, indent=2, ensure_ascii=False) + "\n" if args.json else _format_chat(chat))
        return 0
    session = read_session(path)
    turns = [turn for turn in session.turns if number in (None, turn.number)]
    if args.json:
        answers = [asdict(turn) | {"session": session.id, "date": _date_of(session, turn)} for turn in turns]
        print_output(json.dumps(answers if number is None else answers[0], indent=2, ensure_ascii=False) + "\n")
    elif number is None:
        print_output(
            _format_header(session.id, session.header) + f"{'length':<11}{format_duration(session.duration_s)}\n"
        )
        print_output("".join(_read_transcript(path, session.header)))
    else:
        print_output(_format_answer(session, turns[0]))
    return 0


def _format_answer(session: ArchivedSession, turn: Turn) -> str:
    facts = {
        "code": turn.code,
        "date": _date_of(session, turn),
        "session": session.id,
        "model": turn.model,
        "hash": session.header.model_hash,
        "seed": "" if turn.seed is None else str(turn.seed),
        "parameters": ", ".join(f"{name} {value}" for name, value in turn.parameters.items()),
        "persona": session.header.persona,
        "end": turn.finish_reason or "the log ends before the answer",
    }
    lines = "".join(f"{name:<11}{value}\n" for name, value in facts.items() if value)
    typed = f"\nTyped:\n{turn.typed}\n" if turn.typed else ""
    return f"{lines}{typed}\nPrompt:\n{turn.prompt}\n\nAnswer:\n{turn.answer.strip()}\n"


def _find_chat(folder: Path, reference: str) -> Record | None:
    """Returns the newest answer to people of a network with this code, with its session and its date."""
    if (code := normalise_code(reference)) is None:
        return None
    for path in reversed(session_paths(folder)):
        for record in iter_records(path):
            if record["ev"] == "chat" and record.get("code") == code:
                header = read_log_header(path)
                date = format_date(header.wall + timedelta(seconds=record["t"])) if header is not None else ""
                return {"session": path.stem, "date": date, **record}
    return None


def _format_chat(record: Record) -> str:
    names = ("code", "date", "session", "source", "channel", "nick", "model", "hash", "seed")
    lines = "".join(f"{name:<11}{record[name]}\n" for name in names if record.get(name) not in (None, ""))
    return f"{lines}\nPrompt:\n{record.get('prompt', '')}\n\nAnswer:\n{record.get('text', '')}\n"


def _date_of(session: ArchivedSession, turn: Turn) -> str:
    return format_date(session.started_at + timedelta(seconds=turn.at_s))


def _format_header(session_id: str, header: SessionHeader) -> str:
    facts = {
        "session": session_id,
        "date": format_date(header.wall),
        "model": header.model,
        "persona": header.persona,
        "machine": header.machine,
    }
    return "".join(f"{name:<11}{value}\n" for name, value in facts.items() if value)


def _read_transcript(path: Path, header: SessionHeader) -> Iterator[str]:
    transcript = Transcript(path.stem, header)
    for record in iter_records(path):
        yield transcript.format_record(record)


def _follow(folder: Path, path: Path) -> None:
    """Prints the session as its log grows, then the next session at the same line; only Ctrl-C ends it."""
    while True:
        header = read_session(path).header
        print_output(_format_header(path.stem, header))
        transcript = Transcript(path.stem, header)
        next_path = None
        with path.open("rb") as file:
            while True:
                start = file.tell()
                line = file.readline()
                if line.endswith(b"\n"):
                    record = parse_record(line)
                    print_output(transcript.format_record(record) if record is not None else "")
                    continue
                file.seek(start)  # a line that is being written
                if next_path is not None:
                    break
                next_path = _find_next(folder, path, header.line)  # this log may have grown since it was read
                if next_path is None:
                    time.sleep(POLL_S)
        path = next_path


def _find_next(folder: Path, path: Path, port: str) -> Path | None:
    """Returns the log of the next session at this line; another machine may have its logs in the folder too."""
    for log in session_paths(folder):
        if log.stem > path.stem and (header := read_log_header(log)) is not None and header.line == port:
            return log
    return None
