"""The folder of the session logs that an action reads, and the session in it that the user names."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from pathlib import Path

from daemon import config
from daemon.archive.session_list import iter_summaries, session_paths
from tools.cli.errors import ToolError

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
    return config.resolve_log_folder(config.load_config({"log": {"folder": args.log}}, config_file=args.config))


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


def _find_last(paths: list[Path], folder: Path) -> Path:
    for entry in iter_summaries(reversed(paths)):
        return entry.path
    raise no_sessions(folder)


def format_date(moment: datetime) -> str:
    """Returns the local time to the second."""
    return moment.astimezone().strftime("%Y-%m-%dT%H:%M:%S")
