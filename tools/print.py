"""Files onto the paper: prose with its words wrapped, code that can be read back, or art cell by cell.

A daemon that runs at the machine prints it between two lines of its operator's; where none runs, the line is opened
here. a<backspace>b strikes b over a, as nroff writes bold and underline; in --raw a carriage return does. Tabs stand
at every eighth column. BREAK at the machine, or Ctrl-C here, ends it within two characters.

asr33 print --raw picture.txt
man -P cat ls | asr33 print --line /dev/ttyUSB0
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from daemon import config
from daemon.config import Config
from daemon.control.client import acquire_machine, check_available
from daemon.control.protocol import PrintJob
from daemon.errors import ProtocolError
from drivers.clock import CHARACTER_S
from model.errors import TextDamaged, TextNotFound
from tools.cli.output import print_message
from tools.cli.terminal import ProgressLine, read_stdin, run_until_interrupted
from tools.run import add_machine_argument

TAB_COLUMNS = 8
MAX_CHARS = 1_000_000  # characters: a day and a night of paper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", default=["-"], metavar="FILE", help="texts in UTF-8; none or -: stdin")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--raw", action="store_true", help="art: nothing wrapped, a carriage return overprints")
    style.add_argument("--code", action="store_true", help="every character so that it can be read back: \\( for {")
    add_line_arguments(parser)


def add_line_arguments(parser: argparse.ArgumentParser) -> None:
    """What commands share that use a machine: which one, and whether to wait for it."""
    parser.add_argument(
        "--line", metavar="PORT", help="the machine's line (default: that of the daemon, or configured)"
    )
    parser.add_argument("--wait", action="store_true", help="if somebody is at the machine, wait for a turn")
    parser.add_argument("--fast", action="store_true", help="no pace: for a virtual machine that has none either")
    add_machine_argument(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file over those of the system and the user")


def config_from_line_arguments(args: argparse.Namespace) -> Config:
    """What those arguments ask for, over what files and environment say."""
    return config.load_config({"line": {"port": args.line}}, config_file=args.config, machine_file=args.machine)


def main(args: argparse.Namespace) -> int:
    """Raises BrokenOff, MachineBusy, OrderRefused, ConfigError, DriverError, TextDamaged, TextNotFound."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    chosen = config_from_line_arguments(args)
    if "-" in args.files:
        check_available_before_stdin(chosen, args)
    text = "".join(end_with_newline(expand_tabs(read_text(name))) for name in args.files)
    if len(text) > MAX_CHARS:
        raise ProtocolError(f"{len(text):,} characters are more than a day of paper: print it in parts")
    order = PrintJob(text, raw=args.raw, style="code" if args.code else "prose", overstrike=not args.raw)
    return run_until_interrupted(_print_text(chosen, order, args))


def check_available_before_stdin(chosen: Config, args: argparse.Namespace) -> None:
    """Before standard input is read: what may take minutes to type is not refused afterwards. Raises as `glance`."""
    if not args.wait:
        asyncio.run(check_available(chosen))
        args.wait = True


async def _print_text(chosen: Config, job: PrintJob, args: argparse.Namespace) -> None:
    pace = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=pace, on_queued=report_waiting) as machine:
        if job.raw and (long := count_long_lines(job.text, machine.profile.usable_columns)):
            lines = "1 line is" if long == 1 else f"{long} lines are"
            print_message(
                f"asr33: {lines} longer than {machine.profile.usable_columns} characters; what is beyond is cut off"
            )
        told = ProgressLine("characters")
        try:
            await machine.run_job(job, told.update)
        finally:
            told.clear()


def report_waiting() -> None:
    print_message("asr33: somebody is at the machine; waiting for a turn")


def read_text(name: str) -> str:
    """A file's text, or standard input's. Raises TextNotFound, TextDamaged."""
    where = "standard input" if name == "-" else name
    try:
        raw = read_stdin("text", "name a file") if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except TextNotFound:
        raise
    except OSError as error:
        raise TextNotFound(f"{where}: {error.strerror}; name a file that can be read") from None
    except UnicodeDecodeError as error:
        raise TextDamaged(f"{where} is not UTF-8 at byte {error.start}: convert it, as with iconv -t UTF-8") from None


def expand_tabs(text: str) -> str:
    """Blanks for tabs, up to every eighth column; a backspace goes back one."""
    out: list[str] = []
    column = 0
    for char in text:
        if char == "\t":
            char = " " * (TAB_COLUMNS - column % TAB_COLUMNS)
        out.append(char)
        step = -1 if char == "\b" else sum(not unicodedata.combining(one) for one in char)  # an accent takes no room
        column = 0 if char in ("\n", "\r") else max(0, column + step)
    return "".join(out)


def end_with_newline(text: str) -> str:
    """Two files do not share a line."""
    return text if not text or text.endswith("\n") else text + "\n"


def count_long_lines(text: str, columns: int) -> int:
    """How many lines have a pass that goes beyond the margin; blanks at its end do not count."""
    return sum(longest_pass(line.split("\r")) > columns for line in text.split("\n"))


def longest_pass(passes: Sequence[str]) -> int:
    return max(len(one.rstrip()) for one in passes)
