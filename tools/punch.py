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
from daemon.errors import BadOrder
from daemon.orders import LINE_BYTES, Print, Punch, Read
from daemon.reach import Machine, reached
from drivers import tape
from drivers.charset import fold, strip_parity
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from model.errors import TextDamaged, TextNotFound
from tools.ask import number
from tools.output import say
from tools.print import add_line_arguments, asked_first, ended, expanded, longest, settings, waiting
from tools.terminal import Told, Unattended, asked_to, attended, standard_input, until_interrupted

INCH = 10  # rows
BLANK = 12 * INCH
MOST = 100_000  # rows: a reel of a thousand feet has no more
FILE_NAME = re.compile(r"\S*/\S*|\S+\.[A-Za-z][A-Za-z0-9]{0,4}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = number(int, 0, MOST)
    parser.add_argument("what", metavar="TEXT|FILE", help="the text itself, a file's name, or - for standard input")
    parser.add_argument("--binary", action="store_true", help="the bytes as they are, all eight levels")
    parser.add_argument("--leader", type=rows, default=BLANK, metavar="N", help="blank rows before (%(default)s)")
    parser.add_argument("--trailer", type=rows, default=BLANK, metavar="N", help="blank rows after (%(default)s)")
    parser.add_argument("--verify", action="store_true", help="read the tape back, and compare")
    add_line_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises TapeDamaged, Left, Unattended, and what `asr33 print` does."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    chosen = settings(args)
    if args.what == "-":
        asked_first(chosen, args)
    data = content(args.what, binary=args.binary)
    if not data:
        raise TextNotFound("nothing to punch: name a text, or a file that is not empty")
    return until_interrupted(_punch(chosen, data, args))


async def _punch(chosen: Config, data: bytes, args: argparse.Namespace) -> None:
    pace = 0.0 if args.fast else CHARACTER_S
    async with reached(chosen, wait=args.wait, character_s=pace, queued=waiting) as machine:
        body = data if args.binary else text_of(data, machine.profile)
        rows = tape.leader(args.leader) + body + tape.leader(args.trailer)
        if len(rows) > MOST or len(rows) > LINE_BYTES // 2:
            raise BadOrder(f"{len(rows):,} rows are more than a reel of tape has ({MOST:,}): punch it in parts")
        if not args.binary:
            warn_of_long_lines(body, machine.profile.usable)
        await _onto_tape(machine, Punch(rows, text=not args.binary))
        if args.verify:
            await _verified(machine, rows)
            say("asr33: the tape reads as it was punched")


async def _onto_tape(machine: Machine, order: Punch) -> None:
    by_hand = not machine.profile.auto_punch
    if by_hand:
        if not attended():
            raise Unattended(
                "nobody is at a terminal here to switch the punch on: punch from one, "
                "or set [machine] auto_punch = true if it obeys DC2"
            )
        await _asked_to("switch the punch on", machine)
    told = Told("rows")
    say(
        f"asr33: {len(order.rows):,} rows, {len(order.rows) / INCH / 12:.1f} feet of tape, {len(order.rows) / 10:.0f} s"
    )
    try:
        await machine.do(order, told.tell)
    finally:
        told.end()
    if by_hand:
        await asked_to("switch the punch off")  # not on the paper: it would stand on the tape too


async def _asked_to(do: str, machine: Machine) -> None:
    """Here, and on the paper: whoever comes to the machine meanwhile sees why it does not answer him."""
    say("asr33: a word on the machine's paper first")
    await machine.do(Print(f"-- {do} --\n"), lambda done, total: None)
    await asked_to(do)


async def _verified(machine: Machine, rows: bytes) -> None:
    lever = "" if machine.profile.auto_reader else ", and start it within a minute"
    await _asked_to(f"put the tape into the reader{lever}", machine)
    tape.compare(rows, await machine.do(Read(), lambda done, total: None))


def content(what: str, *, binary: bool = False) -> bytes:
    """A file's bytes, standard input's, or the text itself, which is told if it looks like a name. Raises TextNotFound.

    `binary`: never the text itself.
    """
    if what == "-":
        return standard_input("text", "name a file")
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
        say(f"asr33: there is no file {what}: its name is punched as a text")
    return what.encode("utf-8", "surrogateescape")


def text_of(data: bytes, profile: Profile) -> bytes:
    """A text's rows, in the parity that the machine wants. Raises TextDamaged."""
    try:
        text = expanded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TextDamaged(f"no text: byte {error.start} is not UTF-8; say --binary to punch it as it is") from None
    return tape.text_rows(fold(ended(text), wheel=profile.wheel), profile.send_parity)


def warn_of_long_lines(rows: bytes, columns: int) -> None:
    """The tape holds all of a line; the paper beside it does not."""
    text = bytes(map(strip_parity, rows)).translate(None, b"\x00\x7f").decode("ascii")
    lengths = [longest(line.split("\r")) for line in text.split("\n")]
    long = [number for number, length in enumerate(lengths, start=1) if length > columns]
    if long:
        others = f" (and there are {len(long) - 1} more)" if len(long) > 1 else ""
        say(
            f"asr33: line {long[0]} is {lengths[long[0] - 1]} characters long{others}: "
            f"what is beyond {columns} piles up on the paper"
        )
