"""The flags of `asr33 virtual` that say which machine it is: body, duplex, options fitted, what lies in the reader.

Knows flags; no terminal, no line. It reads the tape's file, and no other.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from drivers.errors import NoSuchKey
from drivers.virtual import MECHANISMS, AnswerbackDrum, Equipment, encode_drum
from drivers.virtual.equipment import END_BELL, MARGIN_BELL

_Change = Callable[[Equipment], Equipment]


class BadFitting(Exception):
    """No machine is made like that: the flag is wrong. `exit_code` is argparse's own."""

    exit_code: ClassVar[int] = 2


class NoTape(Exception):
    """The tape cannot be read. `exit_code` is EX_NOINPUT."""

    exit_code: ClassVar[int] = 66


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, [HOST]:PORT or :PORT, which is of this computer alone. Raises BadFitting."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise BadFitting(f"{text!r} is no place to listen at: give HOST:PORT, as 127.0.0.1:4033")
    return host.strip("[]") or "127.0.0.1", int(port)


def _change_profile(**changes: Any) -> _Change:
    return lambda fitted: replace(fitted, profile=replace(fitted.profile, **changes))


def _add_bell(column: int) -> _Change:
    return lambda fitted: replace(fitted, bell_columns=(*fitted.bell_columns, column))


OPTIONS: dict[str, _Change] = {
    "acr": _change_profile(auto_return=True),
    "cr-feeds": _change_profile(return_feeds=True),
    "lf-returns": _change_profile(feed_returns=True),
    "auto-reader": _change_profile(auto_reader=True),
    "auto-punch": _change_profile(auto_punch=True),
    "manual": _change_profile(auto_reader=False, auto_punch=False),
    "wheel-1963": _change_profile(wheel="1963"),
    "coded-levers": lambda fitted: replace(fitted, coded_levers=True),
    "margin-bell": _add_bell(MARGIN_BELL),
    "end-bell": _add_bell(END_BELL),
    "mark-parity": lambda fitted: replace(fitted, key_parity="mark"),
    "space-parity": lambda fitted: replace(fitted, key_parity="space"),
    "every-other": lambda fitted: replace(fitted, every_other=True),
    "slow-stop": lambda fitted: replace(fitted, reader_lag=2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--body", choices=MECHANISMS, default="typical", help="how fast its carriage flies home")
    parser.add_argument("--duplex", choices=("full", "half"), default="full", help="half: it prints its own keys")
    parser.add_argument(
        "--break",
        dest="break_mode",
        choices=("marked", "nul", "none"),
        help="what its adapter makes of a BREAK: FF 00 00 with FF doubled, a bare NUL, nothing; "
        "marked on a pty, nul at a TCP port",
    )
    parser.add_argument("--tape", type=Path, metavar="FILE", help="a tape in the reader, raw; DC1 starts it, or START")
    parser.add_argument("--answerback", metavar="TEXT", help="up to 20 characters on the drum; \\r \\n \\x7f as in C")
    parser.add_argument(
        "--options", default="", metavar="LIST", help=f"what is fitted, with commas between: {', '.join(OPTIONS)}"
    )


def equipment_from_arguments(args: argparse.Namespace) -> Equipment:
    """The machine that was asked for: a tape brings an automatic reader, a punch file an automatic punch.

    Raises BadFitting, NoTape.
    """
    machine = Equipment(
        mechanism=MECHANISMS[args.body], break_mode=args.break_mode or ("nul" if args.listen else "marked")
    )
    machine = _change_profile(duplex=args.duplex, auto_reader=args.tape is not None, auto_punch=args.punch is not None)(
        machine
    )
    if args.answerback is not None:
        machine = replace(
            _change_profile(answerback=True)(machine), answerback_rows=_encode_answerback(args.answerback)
        )
    if args.tape is not None:
        machine = replace(machine, tape=_read_tape_file(args.tape))
    for name in filter(None, (word.strip() for word in args.options.split(","))):
        if name not in OPTIONS:
            raise BadFitting(f"no option {name!r}: there are {', '.join(OPTIONS)}")
        machine = OPTIONS[name](machine)
    return machine


def _encode_answerback(text: str) -> bytes:
    try:
        return AnswerbackDrum(encode_drum(_unescape(text))).rows
    except NoSuchKey as error:
        raise BadFitting(str(error)) from None


def _unescape(text: str) -> str:
    try:
        return text.encode("ascii").decode("unicode_escape") if "\\" in text else text
    except UnicodeError:
        raise BadFitting(f"{text!r} cannot be read: write \\r, \\n, \\x06 and \\\\ in it, and ASCII") from None


def _read_tape_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoTape(f"{path} cannot be read ({error.strerror}): name a file of raw rows, 8 bits each") from None
