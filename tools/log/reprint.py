"""Print an answer again: the line that was typed, and the answer in the columns that it had.

If its model is on this disk, the answer is made again with the same seed, and the command says whether it came out the
same. What is printed is the answer of the log in any case. A running daemon lends its machine, as with asr33 print.

asr33 log reprint K3TX
asr33 log reprint K3TX - --unchecked
"""

from __future__ import annotations

import argparse
import asyncio
import logging

from daemon import config
from model.log_format import log_to_stderr
from tools.cli.arguments import add_machine_argument
from tools.cli.output import check_stdout, print_message, print_output
from tools.cli.signals import run_until_interrupted
from tools.log.log_folder import find_answer, resolve_folder

STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("code", metavar="CODE", help="the answer's code, as asr33 log codes lists it, or LAST (required)")
    add("output", nargs="?", choices=(STDOUT,), metavar="-", help="print to standard output (default: on a machine)")
    unchecked_help = "print the answer of the log without making it again (default: off)"
    add("--unchecked", action="store_true", help=unchecked_help)
    add("--line", metavar="PORT", help="the machine's line (default: the running daemon's, or the configured one)")
    add("--wait", action="store_true", help="wait for a turn if the machine is busy (default: off)")
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add_machine_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Raises ToolError, DaemonError, DriverError."""
    from daemon.archive.session_reader import read_session
    from tools.log.answer_printer import check_answer, format_answer, print_on_machine

    log_to_stderr(logging.WARNING)
    if args.output == STDOUT:
        check_stdout()
    chosen = config.load_config({"line": {"port": args.line}}, config_file=args.config, machine_file=args.machine)
    path, number = find_answer(resolve_folder(args), args.code)
    session = read_session(path)
    turn = next(turn for turn in session.turns if turn.number == number)
    if not args.unchecked:
        print_message(f"asr33: {asyncio.run(check_answer(session, turn, chosen))}")
    if args.output == STDOUT:
        print_output(format_answer(session, turn))
        return 0
    return run_until_interrupted(print_on_machine(session, turn, chosen, args))
