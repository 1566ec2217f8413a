"""The folder of the session logs that an action reads, and the session in it that the user names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from daemon import config
from daemon.archive.answer_code import normalise_code
from daemon.archive.session_index import SessionIndex, open_index
from daemon.archive.session_list import iter_summaries, session_paths
from daemon.archive.session_reader import read_session
from daemon.archive.transcript import format_date
from daemon.config import Config
from daemon.errors import DaemonError
from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.progress import ProgressLine, StageProgress

LAST = "LAST"
SYSTEM_FOLDER = Path("/var/log/asr33")  # of the daemons that systemd runs


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that choose the folder."""
    folder_help = "folder of the session logs (default: the configured one, or the state folder of the user)"
    parser.add_argument("--log", type=Path, metavar="FOLDER", help=folder_help)
    config_help = "a TOML file over those of the system and the user (default: none)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=config_help)


def resolve_folder(args: argparse.Namespace) -> Path:
    """Returns the folder that the options choose. Raises ConfigError."""
    return config.resolve_log_folder(load_log_config(args))


def load_log_config(args: argparse.Namespace) -> Config:
    """Returns the configuration with the folder of the options. Raises ConfigError."""
    return config.load_config({"log": {"folder": args.log}}, config_file=args.config)


def list_logs(folder: Path) -> list[Path]:
    """Returns the logs of the folder, oldest first. Raises ToolError if there are none, or if it may not be read."""
    try:
        paths = session_paths(folder)
    except OSError as error:
        raise ToolError(f"{folder}: {error.strerror}: name another folder with --log, or use sudo", "missing") from None
    if not paths:
        raise no_sessions(folder)
    return paths


def no_sessions(folder: Path) -> ToolError:
    """Returns the error for a folder without logs; it names the folder of the system's daemons if that exists."""
    cure = "name the folder with --log"
    if folder != SYSTEM_FOLDER and SYSTEM_FOLDER.is_dir():
        cure = f"the logs of systemd's daemons are in {SYSTEM_FOLDER}: sudo asr33 log list --log {SYSTEM_FOLDER}"
    return ToolError(f"no sessions in {folder}; {cure}", "missing")


def find_session(folder: Path, reference: str) -> Path:
    """Returns the log that the user names: LAST, its file's name, its date as `list` prints it, or a part of these.

    Raises ToolError if it is none or several.
    """
    paths = list_logs(folder)
    if reference.upper() == LAST:
        return _find_last(paths, folder)
    name = reference.removesuffix(".jsonl")
    if exact := [path for path in paths if path.stem == name]:
        return exact[0]
    found = [path for path in paths if path.stem.startswith(name)]
    if not found and re.match(r"\d{4}", reference):
        date = reference.replace(" ", "T")
        found = [entry.path for entry in iter_summaries(paths) if format_date(entry.started_at).startswith(date)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ToolError(f"no session {reference!r} in {folder}: asr33 log list shows their dates", "missing")
    few = ", ".join(path.stem for path in found[-3:])
    raise ToolError(f"{reference!r} may be {len(found)} sessions; the last of them are {few}", "usage")


@contextmanager
def open_fresh_index(folder: Path, *, summaries_only: bool = False) -> Iterator[SessionIndex]:
    """Yields the index of the folder, brought up to date; it shows its progress. Raises DaemonError."""
    with open_index(folder) as index:
        if index.is_in_memory:
            print_message(f"asr33: {folder} may not be written, so the index is built for this command alone")
        with ProgressLine() as line:
            progress = StageProgress(line)
            (index.refresh_summaries if summaries_only else index.refresh)(progress.update)
        yield index


def find_session_or_answer(folder: Path, reference: str) -> tuple[Path, int | None]:
    """Returns the log that the user names, and the number of the prompt if it is a code. Raises ToolError."""
    if reference.upper() != LAST and normalise_code(reference.rpartition(":")[2]):
        return find_answer(folder, reference)
    return find_session(folder, reference), None


def find_answer(folder: Path, reference: str) -> tuple[Path, int]:
    """Returns the log and the number of the prompt that CODE, SESSION:CODE or LAST names.

    A code of the newest session is found first; LAST is its last answer. Raises ToolError if it is none or several.
    """
    session, _, text = reference.rpartition(":")
    if text.upper() == LAST and not session:
        return _find_last_answer(folder)
    if (code := normalise_code(text)) is None:
        raise ToolError(f"{text!r} is no code of an answer: asr33 log codes shows them", "usage")
    newest = find_session(folder, session or LAST)
    if numbers := [turn.number for turn in read_session(newest).turns if turn.code == code]:
        return newest, numbers[-1]
    found: list[tuple[Path, int]] = []
    if not session:
        with open_fresh_index(folder) as index:
            found = index.find_code(code)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ToolError(f"no answer has the code {code} in {session or folder}: asr33 log codes shows them", "missing")
    names = ", ".join(f"{path.stem}:{code}" for path, _ in found)
    raise ToolError(f"{len(found)} answers have the code {code}; name one with its session: {names}", "usage")


def _find_last_answer(folder: Path) -> tuple[Path, int]:
    for path in reversed(list_logs(folder)):
        with suppress(DaemonError):  # a file that is no log
            if turns := read_session(path).turns:
                return path, turns[-1].number
    raise ToolError(f"no answer in the sessions of {folder}", "missing")


def _find_last(paths: list[Path], folder: Path) -> Path:
    for entry in iter_summaries(reversed(paths)):
        return entry.path
    raise no_sessions(folder)


def parse_date(text: str) -> datetime:
    """Returns the start of the year, month, day or minute, in local time, for argparse."""
    match = re.fullmatch(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d))?)?)?)?", text)
    try:
        if match is not None:
            year, month, day, hour, minute, second = (int(part) if part else 0 for part in match.groups())
            return datetime(year, month or 1, day or 1, hour, minute, second).astimezone()
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026, 2026-11-30 or 2026-11-30T18:00")
