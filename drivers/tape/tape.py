"""Paper tape, eight levels wide: text to rows and back, leader, what to send to a punch, and the proof reading.

Data in, data out. Knows no reader and no punch, and not how fast they run.
"""

from __future__ import annotations

import re

from drivers.errors import TapeDamaged
from drivers.input.keyboard import Parity
from drivers.paper.paper import BEL, CR, LF, RUBOUT, glyph_of
from drivers.profile import ParityOut
from drivers.text.charset import apply_parity, strip_parity

PUNCH_ON, PUNCH_OFF = 0x12, 0x14  # DC2, DC4

_LEADER_ROWS = b"\x00\x80"  # leader of a Teletype, and DEC's with level 8 punched
_ALT_MODES = (0x7D, 0x7E)
_NON_PRINTING = (0x00, RUBOUT)


def leader(rows: int) -> bytes:
    """Blank tape, feed holes alone; trailer is the same."""
    return bytes(rows)


def encode_text(folded: str, parity: ParityOut = "even") -> bytes:
    """Folded text as it stands on tape: CR LF for each line, two RUBOUTs after it and after any other function.

    A machine that reads such a tape to itself has the time for its carriage - Bulletin 310B 574-100-101TC 3.12.
    """
    rows = bytearray()
    for char in folded:
        codes = (CR, LF) if char == "\n" else (ord(char),)
        rows += bytes(codes) if char >= " " else bytes((*codes, RUBOUT, RUBOUT))
    return bytes(apply_parity(row, parity) for row in rows)


def detect_parity(rows: bytes) -> Parity | None:
    """How most rows of a tape have their level 8; None if they have it in no way that is known.

    A tape is judged by itself: it may be older than this keyboard, and of another machine.
    """
    told = [row for row in rows.strip(_LEADER_ROWS) if strip_parity(row) not in _NON_PRINTING]
    modes: tuple[Parity, ...] = ("even", "mark", "space")
    agreed = {mode: sum(row == apply_parity(strip_parity(row), mode) for row in told) for mode in modes}
    best = max(modes, key=agreed.__getitem__)
    return best if 4 * agreed[best] >= 3 * len(told) else None  # of any text half the rows are even by chance


def decode_text(rows: bytes, parity: Parity | None = None) -> str:
    """What a tape says, each line break as `\\n`; leader, RUBOUTs and functions are skipped.

    Raises TapeDamaged at the first row of another parity than this.
    """
    text = ""
    for number, row in enumerate(rows.strip(_LEADER_ROWS), start=1):
        bits = strip_parity(row)
        if bits in _NON_PRINTING:  # a row rubbed out has all its holes, whatever the parity
            continue
        if parity is not None and row != apply_parity(bits, parity):
            raise TapeDamaged(
                f"row {number} of the tape, counted from the first that is punched, is {draw_rows(row.to_bytes())}, "
                f"which is not {parity} parity: clean the reader and read it again, or punch a new tape"
            )
        text += chr(bits) if bits in (CR, LF) else "" if bits in _ALT_MODES else glyph_of(bits)
    return re.sub("\r+\n?", "\n", text)


def punch_sequence(rows: bytes, *, text: bool) -> list[tuple[int, bool]]:
    """What to send to a punch that is on, so that these rows come to stand on the tape: (byte, whether it is a row).

    The punch obeys what it punches: a row that is DC4 switches it off, and so a DC2, not punched itself, follows.
    Raises TapeDamaged for a row that is no `text`: it would work the machine.
    """
    sent: list[tuple[int, bool]] = []
    for number, row in enumerate(rows, start=1):
        bits = strip_parity(row)
        if text and not (glyph_of(bits) or bits in (BEL, LF, CR, *_NON_PRINTING)):
            raise TapeDamaged(f"row {number} is the function 0x{bits:02X}, which no text has: punch it as binary")
        sent.append((row, True))
        if bits == PUNCH_OFF:
            sent.append((PUNCH_ON, False))
    return sent


def verify_copy(punched_rows: bytes, read_rows: bytes) -> None:
    """Back if a tape that was read holds what was punched, whatever its leader; else raises TapeDamaged."""
    wanted, found = punched_rows.strip(_LEADER_ROWS), read_rows.strip(_LEADER_ROWS)
    for number, (want, got) in enumerate(zip(wanted, found, strict=False), start=1):
        if want != got:
            raise TapeDamaged(
                f"row {number} of the tape, counted from the first that is punched, reads {draw_rows(got.to_bytes())} "
                f"where {draw_rows(want.to_bytes())} was sent: read it again, and if it stays so punch a new tape"
            )
    if len(wanted) != len(found):
        raise TapeDamaged(
            f"the tape that was read has {len(found)} rows between leader and trailer, {len(wanted)} were sent: "
            "read it again from its leader, and if it stays so punch a new tape"
        )


def draw_rows(rows: bytes) -> str:
    """The tape as a person holds it, one row to a line: level 8 at the left, the feed hole between 4 and 3."""
    return "\n".join(f"|{_draw_holes(row >> 3, 5)}.{_draw_holes(row, 3)}|" for row in rows)


def _draw_holes(bits: int, levels: int) -> str:
    return "".join("o" if bits >> level & 1 else " " for level in reversed(range(levels)))
