"""Paper tape: leader, a text or the bytes of a file, trailer.

What is named is a file's name if there is such a file, and else the text itself (but not with --binary); - is standard
input. A text is
folded to what a Model 33 has, each line ending in CR LF and two RUBOUTs. Where the profile says nothing of an
automatic punch ([machine] auto_punch) you are asked to switch it on and off; with --verify the tape is read back
and compared.

asr33 punch "HELLO WORLD" --verify
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

from daemon.config import Config
from daemon.control.client import Machine, acquire_machine
from daemon.control.protocol import MAX_LINE_BYTES, PrintJob, PunchJob, ReadTapeJob
from daemon.errors import ProtocolError
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from drivers.tape import tape
from drivers.text.charset import fold_text, strip_parity
from model.errors import TextDamaged, TextNotFound
from tools.ask import ranged_number
from tools.cli.output import print_message
from tools.cli.terminal import (
    ProgressLine,
    Unattended,
    has_terminal,
    prompt_for_return,
    read_stdin,
    run_until_interrupted,
)
from tools.print import (
    add_line_arguments,
    check_available_before_stdin,
    config_from_line_arguments,
    end_with_newline,
    expand_tabs,
    longest_pass,
    report_waiting,
)

ROWS_PER_INCH = 10  # rows
BLANK_ROWS = 12 * ROWS_PER_INCH
MAX_ROWS = 100_000  # rows: a reel of a thousand feet has no more
FILE_NAME = re.compile(r"\S*/\S*|\S+\.[A-Za-z][A-Za-z0-9]{0,4}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = ranged_number(int, 0, MAX_ROWS)
    parser.add_argument("what", metavar="TEXT|FILE", help="the text itself, a file's name, or - for standard input")
    parser.add_argument("--binary", action="store_true", help="the bytes as they are, all eight levels")
    parser.add_argument("--leader", type=rows, default=BLANK_ROWS, metavar="N", help="blank rows before (%(default)s)")
    parser.add_argument("--trailer", type=rows, default=BLANK_ROWS, metavar="N", help="blank rows after (%(default)s)")
    parser.add_argument("--verify", action="store_true", help="read the tape back, and compare")
    add_line_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises TapeDamaged, Left, Unattended, and what `asr33 print` does."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    chosen = config_from_line_arguments(args)
    if args.what == "-":
        check_available_before_stdin(chosen, args)
    data = read_content(args.what, binary=args.binary)
    if not data:
        raise TextNotFound("nothing to punch: name a text, or a file that is not empty")
    return run_until_interrupted(_punch_tape(chosen, data, args))


async def _punch_tape(chosen: Config, data: bytes, args: argparse.Namespace) -> None:
    pace = 0.0 if args.fast else CHARACTER_S
    async with acquire_machine(chosen, wait=args.wait, character_s=pace, on_queued=report_waiting) as machine:
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
    by_hand = not machine.profile.auto_punch
    if by_hand:
        if not has_terminal():
            raise Unattended(
                "nobody is at a terminal here to switch the punch on: punch from one, "
                "or set [machine] auto_punch = true if it obeys DC2"
            )
        await _ask_on_paper_and_here("switch the punch on", machine)
    told = ProgressLine("rows")
    print_message(
        f"asr33: {len(job.rows):,} rows, {len(job.rows) / ROWS_PER_INCH / 12:.1f} feet of tape, {len(job.rows) / 10:.0f} s"
    )
    try:
        await machine.run_job(job, told.update)
    finally:
        told.clear()
    if by_hand:
        await prompt_for_return("switch the punch off")  # not on the paper: it would stand on the tape too


async def _ask_on_paper_and_here(action: str, machine: Machine) -> None:
    """Here, and on the paper: whoever comes to the machine meanwhile sees why it does not answer him."""
    print_message("asr33: a word on the machine's paper first")
    await machine.run_job(PrintJob(f"-- {action} --\n"), lambda done, total: None)
    await prompt_for_return(action)


async def _verify_tape(machine: Machine, rows: bytes) -> None:
    lever = "" if machine.profile.auto_reader else ", and start it within a minute"
    await _ask_on_paper_and_here(f"put the tape into the reader{lever}", machine)
    tape.verify_copy(rows, await machine.run_job(ReadTapeJob(), lambda done, total: None))


def read_content(what: str, *, binary: bool = False) -> bytes:
    """A file's bytes, standard input's, or the text itself, which is told if it looks like a name. Raises TextNotFound.

    `binary`: never the text itself.
    """
    if what == "-":
        return read_stdin("text", "name a file")
    path = Path(what)
    try:
        named = what != "" and path.exists()
    except (OSError, ValueError):  # no file can have such a name
        named = False
    try:
        if named or (binary and what):
            return path.read_bytes()
    except IsADirectoryError:
        raise TextNotFound(f"{what} is a folder: name a file in it, or pipe in what is to be punched") from None
    except OSError as error:
        raise TextNotFound(f"{what}: {error.strerror}; name a file that can be read") from None
    if FILE_NAME.fullmatch(what):
        print_message(f"asr33: there is no file {what}: its name is punched as a text")
    return what.encode("utf-8", "surrogateescape")


def encode_text_rows(data: bytes, profile: Profile) -> bytes:
    """A text's rows, in the parity that the machine wants. Raises TextDamaged."""
    try:
        text = expand_tabs(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TextDamaged(f"no text: byte {error.start} is not UTF-8; say --binary to punch it as it is") from None
    return tape.encode_text(fold_text(end_with_newline(text), wheel=profile.wheel), profile.send_parity)


def warn_of_long_lines(rows: bytes, columns: int) -> None:
    """The tape holds all of a line; the paper beside it does not."""
    text = bytes(map(strip_parity, rows)).translate(None, b"\x00\x7f").decode("ascii")
    lengths = [longest_pass(line.split("\r")) for line in text.split("\n")]
    long = [number for number, length in enumerate(lengths, start=1) if length > columns]
    if long:
        others = f" (and there are {len(long) - 1} more)" if len(long) > 1 else ""
        print_message(
            f"asr33: line {long[0]} is {lengths[long[0] - 1]} characters long{others}: "
            f"what is beyond {columns} piles up on the paper"
        )
