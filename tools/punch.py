"""Punches paper tape: leader, a text or the bytes of a file, trailer.

asr33 punch "HELLO WORLD" --verify

The argument is a file's name if that file exists, - for standard input, and otherwise the text itself (with --binary
always a file). A text is folded to the characters of a Model 33; each line ends in CR LF and two RUBOUTs. If the
profile has no automatic punch ([machine] auto_punch), you are asked to switch it on and off. --verify reads the tape
back and compares it.
"""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

from daemon.config import Config
from daemon.control.client import Machine, acquire_machine
from daemon.control.protocol import MAX_LINE_BYTES, PrintJob, PunchJob, ReadTapeJob
from daemon.errors import ProtocolError
from drivers import tape
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from drivers.text.charset import fold_text, strip_parity
from drivers.text.control_sequences import remove_control_sequences
from model.log_format import log_to_stderr
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError
from tools.cli.output import print_message
from tools.cli.progress import ProgressLine, StageProgress
from tools.cli.prompt import has_terminal, prompt_for_return
from tools.cli.signals import run_until_interrupted
from tools.cli.stdin import read_file, read_stdin
from tools.cli.text_encoding import TextDecoder
from tools.print import (
    add_line_arguments,
    check_available_before_stdin,
    config_from_line_arguments,
    end_with_newline,
    expand_tabs,
    longest_pass,
    report_waiting,
)

ROWS_PER_INCH = 10
BLANK_ROWS = 12 * ROWS_PER_INCH
MAX_ROWS = 100_000  # a reel of a thousand feet has no more
MAX_CONTENT_BYTES = 4 * MAX_ROWS  # of a text in UTF-8
FILE_NAME = re.compile(r"\S*/\S*|\S+\.[A-Za-z][A-Za-z0-9]{0,4}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    rows = ranged_number(int, 0, MAX_ROWS)
    add("what", metavar="TEXT|FILE", help="the text, a file's name, or - for standard input (required)")
    add("--binary", action="store_true", help="punch the file's bytes, all eight levels (default: off)")
    add("--leader", type=rows, default=BLANK_ROWS, metavar="N", help="blank rows before (default %(default)s)")
    add("--trailer", type=rows, default=BLANK_ROWS, metavar="N", help="blank rows after (default %(default)s)")
    add("--verify", action="store_true", help="read the tape back and compare it (default: off)")
    add_line_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises TapeDamaged, PromptAbandoned, and the errors of `asr33 print`."""
    log_to_stderr(logging.WARNING)
    chosen = config_from_line_arguments(args)
    if args.what == "-":
        check_available_before_stdin(chosen, args)
    data = read_content(args.what, binary=args.binary)
    if not data:
        raise ToolError("nothing to punch: name a text, or a file that is not empty", "missing")
    return run_until_interrupted(_punch_tape(chosen, data, args))


async def _punch_tape(chosen: Config, data: bytes, args: argparse.Namespace) -> None:
    character_s = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=character_s, on_queued=report_waiting) as machine:
        body = data if args.binary else encode_text_rows(data, machine.profile)
        rows = tape.leader(args.leader) + body + tape.leader(args.trailer)
        if len(rows) > MAX_ROWS or len(rows) > MAX_LINE_BYTES // 2:
            raise ProtocolError(
                f"{len(rows):,} rows are more than a reel of tape has ({MAX_ROWS:,}): punch it in parts"
            )
        if not args.binary:
            warn_of_long_lines(body, machine.profile.usable_columns)
        await _run_punch_job(machine, PunchJob(rows, text=not args.binary))
        if args.verify:
            await _verify_tape(machine, rows)
            print_message("asr33: the tape reads as it was punched")


async def _run_punch_job(machine: Machine, job: PunchJob) -> None:
    is_manual = not machine.profile.auto_punch
    if is_manual:
        if not has_terminal():
            cure = "punch from one, or set [machine] auto_punch = true if it obeys DC2"
            raise ToolError(f"no terminal here to ask for the punch to be switched on: {cure}", "unavailable")
        await _ask_on_paper_and_here("switch the punch on", machine)
    count = len(job.rows)
    print_message(f"asr33: {count:,} rows, {count / ROWS_PER_INCH / 12:.1f} feet of tape, {count / 10:.0f} s")
    with ProgressLine(line_interval_s=None) as line:
        progress = StageProgress(line, "rows")
        await machine.run_job(job, lambda done, total: progress.update("punch", done, total))
    if is_manual:
        await prompt_for_return("switch the punch off")  # not on the paper: the punch would punch it


async def _ask_on_paper_and_here(action: str, machine: Machine) -> None:
    """Asks for the action here and on the paper, where the operator sees why the machine does not answer."""
    print_message("asr33: the request is printed on the machine's paper first")
    await machine.run_job(PrintJob(f"-- {action} --\n"), lambda done, total: None)
    await prompt_for_return(action)


async def _verify_tape(machine: Machine, rows: bytes) -> None:
    start = "" if machine.profile.auto_reader else ", and start it within a minute"
    await _ask_on_paper_and_here(f"put the tape into the reader{start}", machine)
    tape.verify_copy(rows, await machine.run_job(ReadTapeJob(), lambda done, total: None))


def read_content(what: str, *, binary: bool = False) -> bytes:
    """Returns the bytes of standard input, of the file of that name, or of the text itself. Raises ToolError.

    A text that looks like a file's name is reported to the user. `binary`: never the text itself.
    """
    if what == "-":
        return read_stdin("text", "name a file", MAX_CONTENT_BYTES)
    path = Path(what)
    try:
        is_file = what != "" and path.exists()
    except (OSError, ValueError):  # no file can have such a name
        is_file = False
    try:
        if is_file or (binary and what):
            return read_file(path, MAX_CONTENT_BYTES)
    except IsADirectoryError:
        raise ToolError(f"{what} is a folder: name a file in it, or pipe in the text to punch", "missing") from None
    except OSError as error:
        raise ToolError(f"{what}: {error.strerror}; name a file that can be read", "missing") from None
    if FILE_NAME.fullmatch(what):
        print_message(f"asr33: there is no file {what}: its name is punched as a text")
    return what.encode("utf-8", "surrogateescape")


def encode_text_rows(data: bytes, profile: Profile) -> bytes:
    """Returns the rows of a text in the parity of the machine. Raises ToolError."""
    try:
        text = expand_tabs(remove_control_sequences(TextDecoder("the text").decode(data, final=True)))
    except ToolError as error:
        raise ToolError(f"{error}; or say --binary to punch it as it is", "damaged") from None
    return tape.encode_text(fold_text(end_with_newline(text), wheel=profile.wheel), profile.send_parity)


def warn_of_long_lines(rows: bytes, columns: int) -> None:
    """Warns of lines that are too long for the paper on which the machine prints while it punches."""
    text = bytes(map(strip_parity, rows)).translate(None, b"\x00\x7f").decode("ascii")
    lengths = [longest_pass(line.split("\r")) for line in text.split("\n")]
    too_long = [(number, length) for number, length in enumerate(lengths, start=1) if length > columns]
    if too_long:
        number, length = too_long[0]
        more = f" (and there are {len(too_long) - 1} more)" if len(too_long) > 1 else ""
        excess = f"characters beyond column {columns} pile up on the paper"
        print_message(f"asr33: line {number} is {length} characters long{more}: {excess}")
