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
from drivers.virtual import BODIES, Drum, Fitted, coded
from drivers.virtual.fitted import END_BELL, MARGIN_BELL

_Fit = Callable[[Fitted], Fitted]


class BadFitting(Exception):
    """No machine is made like that: the flag is wrong. `exit_code` is argparse's own."""

    exit_code: ClassVar[int] = 2


class NoTape(Exception):
    """The tape cannot be read. `exit_code` is EX_NOINPUT."""

    exit_code: ClassVar[int] = 66


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, [HOST]:PORT or :PORT, which is of this computer alone. Raises BadFitting."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise BadFitting(f"{text!r} is no place to listen at: give HOST:PORT, as 127.0.0.1:4033")
    return host.strip("[]") or "127.0.0.1", int(port)


def _profile(**changes: Any) -> _Fit:
    return lambda fitted: replace(fitted, profile=replace(fitted.profile, **changes))


def _bell(column: int) -> _Fit:
    return lambda fitted: replace(fitted, bells=(*fitted.bells, column))


OPTIONS: dict[str, _Fit] = {
    "acr": _profile(auto_return=True),
    "cr-feeds": _profile(return_feeds=True),
    "lf-returns": _profile(feed_returns=True),
    "auto-reader": _profile(auto_reader=True),
    "auto-punch": _profile(auto_punch=True),
    "manual": _profile(auto_reader=False, auto_punch=False),
    "wheel-1963": _profile(wheel="1963"),
    "coded-levers": lambda fitted: replace(fitted, coded_levers=True),
    "margin-bell": _bell(MARGIN_BELL),
    "end-bell": _bell(END_BELL),
    "mark-parity": lambda fitted: replace(fitted, key_parity="mark"),
    "space-parity": lambda fitted: replace(fitted, key_parity="space"),
    "every-other": lambda fitted: replace(fitted, every_other=True),
    "slow-stop": lambda fitted: replace(fitted, reader_lag=2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--body", choices=BODIES, default="typical", help="how fast its carriage flies home")
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


def fitted(args: argparse.Namespace) -> Fitted:
    """The machine that was asked for: a tape brings an automatic reader, a punch file an automatic punch.

    Raises BadFitting, NoTape.
    """
    machine = Fitted(body=BODIES[args.body], break_mode=args.break_mode or ("nul" if args.listen else "marked"))
    machine = _profile(duplex=args.duplex, auto_reader=args.tape is not None, auto_punch=args.punch is not None)(
        machine
    )
    if args.answerback is not None:
        machine = replace(_profile(answerback=True)(machine), answer=_drum(args.answerback))
    if args.tape is not None:
        machine = replace(machine, tape=_tape(args.tape))
    for name in filter(None, (word.strip() for word in args.options.split(","))):
        if name not in OPTIONS:
            raise BadFitting(f"no option {name!r}: there are {', '.join(OPTIONS)}")
        machine = OPTIONS[name](machine)
    return machine


def _drum(text: str) -> bytes:
    try:
        return Drum(coded(_unescaped(text))).rows
    except NoSuchKey as error:
        raise BadFitting(str(error)) from None


def _unescaped(text: str) -> str:
    try:
        return text.encode("ascii").decode("unicode_escape") if "\\" in text else text
    except UnicodeError:
        raise BadFitting(f"{text!r} cannot be read: write \\r, \\n, \\x06 and \\\\ in it, and ASCII") from None


def _tape(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoTape(f"{path} cannot be read ({error.strerror}): name a file of raw rows, 8 bits each") from None
