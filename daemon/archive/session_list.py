"""The list of sessions. A summary is made from the beginning and the end of a log, so that a long one costs no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.archive.answer_code import compute_answer_code
from daemon.archive.log_records import Record, is_time, parse_record
from daemon.archive.session_reader import FORGOTTEN, read_header

HEAD_BYTES = 65536  # about 800 characters of paper: the greeting and the first line
TAIL_BYTES = 4096
MAX_LINE_CHARS = 200  # of the first line
# These records are most of a log, and a summary needs none of them.
_SKIPPED = (b'"ev":"tx"', b'"ev":"rx"')


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session: `first_line` is its first line that was answered, and `code` the code of that answer.

    Both are "" if there is none. `started_at` is corrected if the log says early or late that the clock was wrong.
    """

    path: Path
    started_at: datetime
    duration_s: float
    model: str
    first_line: str
    code: str
    is_closed: bool
    is_forgotten: bool = False

    @property
    def id(self) -> str:
        return self.path.stem


def session_paths(folder: Path) -> list[Path]:
    """Returns the logs of a folder, oldest first by their names; none if there is no folder. Raises OSError."""
    try:
        names = [path for path in folder.iterdir() if path.suffix == ".jsonl" and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda path: path.stem)


def iter_summaries(paths: Iterable[Path]) -> Iterator[SessionSummary]:
    """Yields a summary of each log; files that are none, are empty, or may not be read are left out."""
    for path in paths:
        summary = read_summary(path)
        if summary is not None:
            yield summary


def read_summary(path: Path) -> SessionSummary | None:
    """Returns the summary of a log, or None if the file is none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = file.seek(0, 2)
            start = max(0, size - TAIL_BYTES)
            file.seek(start)
            tail = head[start:] if size <= len(head) else file.read(TAIL_BYTES)
    except OSError:
        return None
    head_records = _parse_lines(head)
    if not head_records or head_records[0]["ev"] != "session":
        return None
    last = _last_record(tail) or head_records[-1]
    header = read_header(head_records[0])
    first_line, code = _find_first_answer(path.stem, head_records)
    return SessionSummary(
        path=path,
        started_at=header.wall + timedelta(seconds=_find_offset(head_records, tail)),
        duration_s=max(float(last["t"]), 0.0),
        model=header.model,
        first_line=first_line,
        code=code,
        is_closed=last["ev"] == "close",
        is_forgotten=any(record["ev"] == "gap" and record.get("why") == FORGOTTEN for record in head_records),
    )


def _parse_lines(data: bytes) -> list[Record]:
    """Returns the records that a summary may need; the header is the first."""
    parsed = (parse_record(line) for line in data.split(b"\n") if not any(mark in line[:40] for mark in _SKIPPED))
    return [record for record in parsed if record is not None]


def _last_record(tail: bytes) -> Record | None:
    lines = tail.split(b"\n")
    return next((record for line in reversed(lines) if (record := parse_record(line)) is not None), None)


def _find_offset(head: list[Record], tail: bytes) -> float:
    clocks = [record for record in (*head, *_parse_lines(tail)) if record["ev"] == "clock"]
    offset: Any = clocks[-1].get("offset") if clocks else 0.0
    return float(offset) if is_time(offset) and abs(offset) < 1e9 else 0.0


def _find_first_answer(session_id: str, records: list[Record]) -> tuple[str, str]:
    """Returns the first answered line, shortened, and the code of its answer; the answer's words if it is unknown."""
    typed, code, forgotten = "", "", 0
    answer: list[str] = []
    for record in records:
        match record["ev"]:
            case "typed" if not code:
                typed = str(record.get("text", ""))
            case "gap" if not code:
                prompts = record.get("prompts")
                forgotten += prompts if isinstance(prompts, int) else 0
            case "prompt" if code:
                break
            case "prompt":
                code = str(record.get("code") or compute_answer_code(session_id, forgotten + 1))
            case "piece" if code:
                answer.append(str(record.get("text", "")))
            case "end" if code:
                break
    line = typed if code and typed.strip() else "".join(answer)
    return " ".join(line.split())[:MAX_LINE_CHARS], code
