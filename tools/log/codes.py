"""List the answers of a session: date, code, and the line that was answered. A code names the answer in other actions.

asr33 log codes
asr33 log show K3TX
"""

from __future__ import annotations

import argparse
from datetime import timedelta

from daemon.archive.session_reader import Turn, read_session
from daemon.archive.transcript import format_date
from tools.cli.output import print_message, print_output
from tools.cli.table import format_table
from tools.log.log_folder import LAST, find_session, resolve_folder

MAX_LINE_CHARS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    name_help = "the session (default LAST, the newest one)"
    parser.add_argument("session", nargs="?", default=LAST, metavar="SESSION", help=name_help)


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError."""
    session = read_session(find_session(resolve_folder(args), args.session))
    rows = [
        (format_date(session.started_at + timedelta(seconds=turn.at_s)), turn.code, _first_words(turn))
        for turn in session.turns
    ]
    if not rows:
        print_message(f"asr33: no answer in session {session.id}")
        return 0
    print_output("".join(f"{line}\n" for line in format_table(("DATE", "CODE", "LINE"), rows, left=(0, 1, 2))))
    return 0


def _first_words(turn: Turn) -> str:
    """Returns the line that was answered, or else the answer, shortened."""
    return " ".join((turn.typed.strip() or turn.answer).split())[:MAX_LINE_CHARS]
