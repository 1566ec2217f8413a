"""The options of `asr33 virtual` that describe the machine: carriage, duplex, fitted options, tape in the reader."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivers.errors import NoSuchKey
from drivers.virtual import MECHANISMS, AnswerbackDrum, BreakMode, Equipment, encode_drum
from drivers.virtual.teletype_sim import END_BELL, MARGIN_BELL
from tools.cli.errors import ToolError

_Change = Callable[[Equipment], Equipment]


def parse_address(text: str) -> tuple[str, int]:
    """Parses HOST:PORT, [HOST]:PORT or :PORT, which means this computer alone. Raises ToolError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise ToolError(f"{text!r} is no address to listen at: give HOST:PORT, as 127.0.0.1:4033", "usage")
    return host.strip("[]") or "127.0.0.1", int(port)


def _change_profile(**changes: Any) -> _Change:
    return lambda equipment: replace(equipment, profile=replace(equipment.profile, **changes))


def _add_bell(column: int) -> _Change:
    return lambda equipment: replace(equipment, bell_columns=(*equipment.bell_columns, column))


OPTIONS: dict[str, _Change] = {
    "acr": _change_profile(auto_return=True),
    "cr-feeds": _change_profile(return_feeds=True),
    "lf-returns": _change_profile(feed_returns=True),
    "auto-reader": _change_profile(auto_reader=True),
    "auto-punch": _change_profile(auto_punch=True),
    "manual": _change_profile(auto_reader=False, auto_punch=False),
    "wheel-1963": _change_profile(wheel="1963"),
    "coded-levers": lambda equipment: replace(equipment, coded_levers=True),
    "margin-bell": _add_bell(MARGIN_BELL),
    "end-bell": _add_bell(END_BELL),
    "mark-parity": lambda equipment: replace(equipment, key_parity="mark"),
    "space-parity": lambda equipment: replace(equipment, key_parity="space"),
    "every-other": lambda equipment: replace(equipment, every_other=True),
    "slow-stop": lambda equipment: replace(equipment, reader_lag=2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--body", choices=MECHANISMS, default="typical", help="speed of the carriage return (default %(default)s)")
    add("--duplex", choices=("full", "half"), default="full", help="half: it prints its own keys (default full)")
    break_help = "bytes that its adapter sends for a BREAK: FF 00 00 with FF doubled, a bare NUL, or none "
    break_help += "(default: marked on a pty, nul on a TCP port)"
    add("--break", dest="break_mode", choices=("marked", "nul", "none"), help=break_help)
    add("--tape", type=Path, metavar="FILE", help="raw tape in the reader; DC1 or START starts it (default: none)")
    add("--answerback", metavar="TEXT", help="answerback, up to 20 characters; \\r \\n \\x7f as in C (default: none)")
    names = ", ".join(OPTIONS)
    add("--options", default="", metavar="LIST", help=f"fitted options, with commas: {names} (default: none)")


def equipment_from_arguments(args: argparse.Namespace) -> Equipment:
    """Returns the machine of these arguments; --tape implies an automatic reader, --punch an automatic punch.

    Raises ToolError.
    """
    break_mode: BreakMode = args.break_mode or ("nul" if args.listen else "marked")
    has_tape, has_answerback = args.tape is not None, args.answerback is not None
    changes = {"duplex": args.duplex, "auto_reader": has_tape, "auto_punch": args.punch is not None}
    equipment = Equipment(mechanism=MECHANISMS[args.body], break_mode=break_mode)
    equipment = _change_profile(**changes)(equipment)
    if has_answerback:
        rows = _encode_answerback(args.answerback)
        equipment = replace(_change_profile(answerback=True)(equipment), answerback_rows=rows)
    if has_tape:
        equipment = replace(equipment, tape=_read_tape_file(args.tape))
    for name in filter(None, (word.strip() for word in args.options.split(","))):
        if name not in OPTIONS:
            raise ToolError(f"no option {name!r}: there are {', '.join(OPTIONS)}", "usage")
        equipment = OPTIONS[name](equipment)
    return equipment


def _encode_answerback(text: str) -> bytes:
    try:
        keys = text.encode("ascii").decode("unicode_escape") if "\\" in text else text
        return AnswerbackDrum(encode_drum(keys)).rows
    except UnicodeError:
        message = f"{text!r} cannot be read: write \\r, \\n, \\x06 and \\\\ in it, and ASCII"
        raise ToolError(message, "usage") from None
    except NoSuchKey as error:
        raise ToolError(str(error), "usage") from None


def _read_tape_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): name a file of raw rows, 8 bits each"
        raise ToolError(message, "missing") from None
