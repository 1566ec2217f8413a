"""Play a session again: in this terminal, or with --line on a virtual or a real machine.

A machine gets the same strokes in the same columns. It strikes no faster than ten characters a second, so a higher
--speed only shortens its silences. A running daemon at that line lends its machine, and BREAK there ends the replay.

At a terminal: space pauses, . strikes one character, + and - double and halve the speed, 1 is the normal speed,
[ goes back to an answer and ] on to the next one, Ctrl-C leaves. Paper cannot go back: [ prints the answer again, and
on a machine ] leaves out what lies between.

asr33 log replay LAST --idle 2
asr33 log replay 2026-11-30 --line /dev/ttyUSB0
"""

from __future__ import annotations

import argparse
import asyncio
import logging

from model.log_format import log_to_stderr
from tools.cli.arguments import add_machine_argument, ranged_number
from tools.cli.errors import ToolError
from tools.cli.output import check_stdout
from tools.log.log_folder import LAST, find_session, resolve_folder
from tools.log.playback import MAX_SPEED, MIN_SPEED

MAX_IDLE_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("session", nargs="?", default=LAST, metavar="SESSION", help="the session (default: LAST)")
    speed = ranged_number(float, MIN_SPEED, MAX_SPEED)
    add("--speed", type=speed, default=1.0, metavar="N", help="times the speed of the session (default 1)")
    idle = ranged_number(float, 0, MAX_IDLE_S)
    add("--idle", type=idle, metavar="S", help="longest silence in seconds (default: as it was)")
    add("--line", metavar="PORT", help="the line of the machine to play on (default: this terminal)")
    add("--wait", action="store_true", help="wait for a turn if the machine is busy (default: off)")
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add_machine_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError, DriverError, BrokenPipeError."""
    from daemon.archive.session_reader import read_session
    from tools.log.player import replay
    from tools.log.recording import record_sheet

    log_to_stderr(logging.WARNING)
    if args.line is None:
        check_stdout()
    path = find_session(resolve_folder(args), args.session)
    recording, _ = record_sheet(read_session(path))
    if not recording.strokes:
        raise ToolError(f"{path.stem}: nothing was struck in this session; asr33 log list shows others", "missing")
    return asyncio.run(replay(recording, args))
