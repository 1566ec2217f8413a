"""Paper tape: leader, a text or the bytes of a file, trailer.

What is named is a file's name if there is such a file, and else the text itself; - is standard input. A text is
folded to what a Model 33 has, each line ending in CR LF and two RUBOUTs. Where the profile says nothing of an
automatic punch ([machine] auto_punch) you are asked to switch it on and off; with --verify the tape is read back
and compared.

asr33 punch "HELLO WORLD" --verify
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from daemon.config import Config
from daemon.errors import BadOrder
from daemon.orders import LINE_BYTES, Punch, Read
from daemon.reach import Machine, reached
from drivers import tape
from drivers.charset import fold
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from model.errors import TextDamaged, TextNotFound
from tools.ask import number
from tools.print import add_line_arguments, ended, expanded, settings, waiting
from tools.terminal import Told, asked_to, until_interrupted
from tools.virtual import say

INCH = 10  # rows
BLANK = 12 * INCH
MOST = 100_000  # rows: a reel of a thousand feet has no more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = number(int, 0, MOST)
    parser.add_argument("what", metavar="TEXT|FILE", help="the text itself, a file's name, or - for standard input")
    parser.add_argument("--binary", action="store_true", help="the bytes as they are, all eight levels")
    parser.add_argument("--leader", type=rows, default=BLANK, metavar="N", help="blank rows before (%(default)s)")
    parser.add_argument("--trailer", type=rows, default=BLANK, metavar="N", help="blank rows after (%(default)s)")
    parser.add_argument("--verify", action="store_true", help="read the tape back, and compare")
    add_line_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises TapeDamaged, and what `asr33 print` does."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    return until_interrupted(_punch(settings(args), content(args.what), args))


async def _punch(chosen: Config, data: bytes, args: argparse.Namespace) -> None:
    pace = 0.0 if args.fast else CHARACTER_S
    async with reached(chosen, wait=args.wait, character_s=pace, queued=waiting) as machine:
        body = data if args.binary else text_of(data, machine.profile)
        rows = tape.leader(args.leader) + body + tape.leader(args.trailer)
        if len(rows) > MOST or len(rows) > LINE_BYTES // 2:
            raise BadOrder(f"{len(rows):,} rows are more than a reel of tape has ({MOST:,}): punch it in parts")
        await _onto_tape(machine, Punch(rows, text=not args.binary))
        if args.verify:
            await _verified(machine, rows)
            say("asr33: the tape reads as it was punched")


async def _onto_tape(machine: Machine, order: Punch) -> None:
    by_hand = not machine.profile.auto_punch
    if by_hand:
        await asked_to("switch the punch on")
    told = Told("rows")
    say(
        f"asr33: {len(order.rows):,} rows, {len(order.rows) / INCH / 12:.1f} feet of tape, {len(order.rows) / 10:.0f} s"
    )
    try:
        await machine.do(order, told.tell)
    finally:
        told.end()
    if by_hand:
        await asked_to("switch the punch off")


async def _verified(machine: Machine, rows: bytes) -> None:
    lever = "" if machine.profile.auto_reader else ", and start it within a minute"
    await asked_to(f"put the tape into the reader{lever}")
    tape.compare(rows, await machine.do(Read(), lambda done, total: None))


def content(what: str) -> bytes:
    """A file's bytes, standard input's, or the text itself. Raises TextNotFound."""
    if what == "-":
        return sys.stdin.buffer.read() if sys.stdin is not None else b""
    path = Path(what)
    try:
        named = path.is_file()
    except (OSError, ValueError):  # no file can have such a name
        named = False
    if not named:
        return what.encode("utf-8", "surrogateescape")
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextNotFound(f"{what}: {error.strerror}; name a file that can be read") from None


def text_of(data: bytes, profile: Profile) -> bytes:
    """A text's rows, in the parity that the machine wants. Raises TextDamaged."""
    try:
        text = expanded(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TextDamaged(f"no text: byte {error.start} is not UTF-8; say --binary to punch it as it is") from None
    return tape.text_rows(fold(ended(text), wheel=profile.wheel), profile.send_parity)
