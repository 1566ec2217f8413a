"""Paper tape of eight levels: text to rows and back, leader, the bytes for a punch, and the check of a copy.

Data in, data out. Knows no reader, no punch and no speed.
"""

from __future__ import annotations

import re

from drivers.errors import TapeDamaged
from drivers.paper.paper import BEL, CR, LF, RUBOUT, glyph_of
from drivers.profile import Parity
from drivers.text.charset import apply_parity, strip_parity

PUNCH_ON, PUNCH_OFF = 0x12, 0x14  # DC2, DC4

_LEADER_ROWS = b"\x00\x80"  # leader of a Teletype, and DEC's leader with level 8 punched
_ALT_MODES = (0x7D, 0x7E)
_NON_PRINTING = (0x00, RUBOUT)


def leader(rows: int) -> bytes:
    """Returns blank tape, with feed holes alone; the trailer is the same."""
    return bytes(rows)


def encode_text(folded: str, parity: Parity = "even") -> bytes:
    """Returns the rows of folded text: CR LF for each line, then two RUBOUTs, as after every other function.

    The RUBOUTs give the carriage its time when a machine reads the tape to itself - Bulletin 310B 574-100-101TC 3.12.
    """
    rows = bytearray()
    for char in folded:
        codes = (CR, LF) if char == "\n" else (ord(char),)
        rows += bytes(codes) if char >= " " else bytes((*codes, RUBOUT, RUBOUT))
    return bytes(apply_parity(row, parity) for row in rows)


def detect_parity(rows: bytes) -> Parity | None:
    """Returns the parity that at least three quarters of the rows have; None if there is none.

    The keyboard's parity does not matter: the tape may be older than this keyboard, and from another machine.
    """
    printed = [row for row in rows.strip(_LEADER_ROWS) if strip_parity(row) not in _NON_PRINTING]
    modes: tuple[Parity, ...] = ("even", "mark", "space")
    agreed = {mode: sum(row == apply_parity(strip_parity(row), mode) for row in printed) for mode in modes}
    best = max(modes, key=agreed.__getitem__)
    return best if 4 * agreed[best] >= 3 * len(printed) else None  # half the rows of any text are even by chance


def decode_text(rows: bytes, parity: Parity | None = None) -> str:
    """Returns the text of a tape, `\\n` for each line break; leader, RUBOUTs and functions are skipped.

    Raises TapeDamaged at the first row with another parity than `parity`.
    """
    text = ""
    for number, row in enumerate(rows.strip(_LEADER_ROWS), start=1):
        bits = strip_parity(row)
        if bits in _NON_PRINTING:  # a rubbed-out row has all its holes, whatever the parity
            continue
        if parity is not None and row != apply_parity(bits, parity):
            raise TapeDamaged(
                f"row {number} of the tape, counted from the first that is punched, is {draw_rows(row.to_bytes())}, "
                f"which is not {parity} parity: clean the reader and read it again, or punch a new tape"
            )
        text += chr(bits) if bits in (CR, LF) else "" if bits in _ALT_MODES else glyph_of(bits)
    return re.sub("\r+\n?", "\n", text)


def punch_sequence(rows: bytes, *, text: bool) -> list[tuple[int, bool]]:
    """Returns the bytes to send to a punch that is on, each with whether it becomes a row of the tape.

    The punch obeys the rows that it punches: DC4 switches it off, so a DC2 follows, which is not punched. Raises
    TapeDamaged if `text` holds a row that would operate the machine.
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
    """Raises TapeDamaged unless the tape that was read holds the punched rows, whatever its leader."""
    expected, actual = punched_rows.strip(_LEADER_ROWS), read_rows.strip(_LEADER_ROWS)
    for number, (row, read) in enumerate(zip(expected, actual, strict=False), start=1):
        if row != read:
            raise TapeDamaged(
                f"row {number} of the tape, counted from the first that is punched, reads {draw_rows(read.to_bytes())} "
                f"where {draw_rows(row.to_bytes())} was sent: read it again, and if it stays so punch a new tape"
            )
    if len(expected) != len(actual):
        raise TapeDamaged(
            f"the tape that was read has {len(actual)} rows between leader and trailer, {len(expected)} were sent: "
            "read it again from its leader, and if it stays so punch a new tape"
        )


def draw_rows(rows: bytes) -> str:
    """Returns the tape as text, one row to a line: level 8 at the left, the feed hole between levels 4 and 3."""
    return "\n".join(f"|{_draw_holes(row >> 3, 5)}.{_draw_holes(row, 3)}|" for row in rows)


def _draw_holes(bits: int, levels: int) -> str:
    return "".join("o" if bits >> level & 1 else " " for level in reversed(range(levels)))
