"""Counts the paper: say when a new roll or a new ribbon is in the machine.

The running daemon counts the lines that it prints. At 100 lines before the end it warns; at 30 the spool prints nothing
more, so that the operator keeps the rest.

asr33 roll
asr33 roll new 1000
asr33 roll ribbon
"""

from __future__ import annotations

import argparse
import logging

from daemon.config import Config
from daemon.control import protocol
from daemon.control.client import connect_to_daemon
from model.log_format import log_to_stderr
from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.signals import run_until_interrupted
from tools.spool import add_daemon_arguments, config_from_daemon_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    action_help = "new: a new roll of LINES is in; ribbon: a new ribbon; show: the counts (default show)"
    parser.add_argument("what", nargs="?", choices=("show", "new", "ribbon"), default="show", help=action_help)
    parser.add_argument("lines", nargs="?", type=int, metavar="LINES", help="lines of the new roll (required for new)")
    add_daemon_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ToolError, ConfigError, DaemonRefused, ProtocolError."""
    log_to_stderr(logging.WARNING)
    if (args.what == "new") != (args.lines is not None):
        raise ToolError("say how many lines the new roll has: asr33 roll new 1000", "usage")
    request = protocol.ChangePaper("roll" if args.what == "new" else args.what, args.lines or 0)
    return run_until_interrupted(_change_paper(config_from_daemon_arguments(args), request))


async def _change_paper(chosen: Config, request: protocol.ChangePaper) -> None:
    async with connect_to_daemon(chosen) as daemon:
        report = await daemon.request(request, protocol.PaperReport)
    lines = f"{report.lines_left:,} lines left" if report.lines_left >= 0 else "not counted: say asr33 roll new LINES"
    print_message(f"asr33: paper: {lines}; ribbon: {report.ribbon_chars:,} characters struck")
