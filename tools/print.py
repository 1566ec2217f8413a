"""Prints files on the paper: prose with wrapped words, code that can be read back, or art cell by cell.

asr33 print --raw picture.txt
man -P cat ls | asr33 print --line /dev/ttyUSB0

If a daemon runs at the machine, it prints between two lines of its operator; otherwise this command opens the line.
a<backspace>b strikes b over a, as nroff writes bold and underline; in --raw a carriage return overprints. Tab stops are
at every eighth column. The control sequences of terminals (colours, titles) are left out, but for --code, which shows
them. BREAK at the machine, or Ctrl-C here, stops the paper within two characters.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from daemon import config
from daemon.config import Config
from daemon.control.client import acquire_machine, check_available
from daemon.control.protocol import PrintJob
from daemon.errors import ProtocolError
from drivers.clock import CHARACTER_S
from drivers.text.control_sequences import remove_control_sequences
from model.log_format import log_to_stderr
from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.progress import ProgressLine, StageProgress
from tools.cli.signals import run_until_interrupted
from tools.cli.stdin import read_stdin
from tools.run import add_config_argument, add_machine_argument

TAB_COLUMNS = 8
MAX_CHARS = 1_000_000  # 28 hours of paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", default=["-"], metavar="FILE", help="texts in UTF-8 (default: -, standard input)")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--raw", action="store_true", help="art: no wrapping, carriage returns overprint (default: off)")
    code_help = "escape characters that a Model 33 lacks: \\( for { (default: off)"
    style.add_argument("--code", action="store_true", help=code_help)
    add_line_arguments(parser)


def add_line_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of all commands that use a machine."""
    add = parser.add_argument
    add("--line", metavar="PORT", help="the machine's line (default: the running daemon's, or the configured one)")
    add("--wait", action="store_true", help="wait for a turn if the machine is busy (default: off)")
    add("--fast", action="store_true", help="send at full speed, to a machine that is --fast too (default: off)")
    add_machine_argument(parser)
    add_config_argument(parser)


def config_from_line_arguments(args: argparse.Namespace) -> Config:
    """Returns the configuration with these arguments over files and environment. Raises ConfigError."""
    return config.load_config({"line": {"port": args.line}}, config_file=args.config, machine_file=args.machine)


def main(args: argparse.Namespace) -> int:
    """Raises DaemonError, DriverError, ToolError."""
    log_to_stderr(logging.WARNING)
    chosen = config_from_line_arguments(args)
    if "-" in args.files:
        check_available_before_stdin(chosen, args)
    texts = [read_text(name) for name in args.files]
    if not args.code:  # in code each character can be read back
        texts = [remove_control_sequences(text) for text in texts]
    text = "".join(end_with_newline(expand_tabs(text)) for text in texts)
    if len(text) > MAX_CHARS:
        raise ProtocolError(f"{len(text):,} characters are more than a day of paper: print it in parts")
    job = PrintJob(text, raw=args.raw, style="code" if args.code else "prose", overstrike=not args.raw)
    return run_until_interrupted(_print_text(chosen, job, args))


def check_available_before_stdin(chosen: Config, args: argparse.Namespace) -> None:
    """Refuses a busy machine before the user types a text, and sets --wait. Raises as `check_available`."""
    if not args.wait:
        asyncio.run(check_available(chosen))
        args.wait = True


async def _print_text(chosen: Config, job: PrintJob, args: argparse.Namespace) -> None:
    character_s = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=character_s, on_queued=report_waiting) as machine:
        columns = machine.profile.usable_columns
        if job.raw and (count := count_long_lines(job.text, columns)):
            lines = "1 line is" if count == 1 else f"{count} lines are"
            print_message(f"asr33: {lines} longer than {columns} characters; the excess is cut off")
        with ProgressLine(line_interval_s=None) as line:
            progress = StageProgress(line, "characters")
            await machine.run_job(job, lambda done, total: progress.update("print", done, total))


def report_waiting() -> None:
    print_message("asr33: the machine is busy; waiting for a turn")


def read_text(name: str) -> str:
    """Returns the text of a file, or of standard input for `-`. Raises ToolError."""
    source = "standard input" if name == "-" else name
    try:
        raw = read_stdin("text", "name a file") if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise ToolError(f"{source}: {error.strerror}; name a file that can be read", "missing") from None
    except UnicodeDecodeError as error:
        message = f"{source} is not UTF-8 at byte {error.start}: convert it, as with iconv -t UTF-8"
        raise ToolError(message, "damaged") from None


def expand_tabs(text: str) -> str:
    """Replaces each tab by blanks up to the next eighth column; a backspace goes back one column."""
    out: list[str] = []
    column = 0
    for char in text:
        if char == "\t":
            char = " " * (TAB_COLUMNS - column % TAB_COLUMNS)
        out.append(char)
        # A combining accent takes no column.
        step = -1 if char == "\b" else sum(not unicodedata.combining(cell) for cell in char)
        column = 0 if char in ("\n", "\r") else max(0, column + step)
    return "".join(out)


def end_with_newline(text: str) -> str:
    """Ends the text with a newline, so that two files do not share a line."""
    return text if not text or text.endswith("\n") else text + "\n"


def count_long_lines(text: str, columns: int) -> int:
    """Counts the lines with a pass that exceeds the columns; blanks at its end do not count."""
    return sum(longest_pass(line.split("\r")) > columns for line in text.split("\n"))


def longest_pass(passes: Sequence[str]) -> int:
    return max(len(text.rstrip()) for text in passes)
