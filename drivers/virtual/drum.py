"""The answerback drum: 21 rows, the first of them always silent; ENQ from the line or the HERE IS key turns it once.

One row is one turn of the distributor. Knows no moment and no parity: its rows are what was broken off, 8 bits each.
"""

from __future__ import annotations

from drivers.charset import even_parity
from drivers.errors import NoSuchKey
from drivers.virtual.machine import ENQ

ROWS = 20  # that may be coded: 21, less the first - Bulletin 310B 574-122-100TC 4.115 to 4.132


class Drum:
    """`every_other`: the last row is silenced too, and the pawl that this leaves blocking swallows the next ENQ.

    Any other character that the selector takes in between frees it.
    """

    def __init__(self, rows: bytes = b"", *, every_other: bool = False) -> None:
        if len(rows) > ROWS:
            raise NoSuchKey(f"an answerback drum has room for {ROWS} characters, not {len(rows)}: give a shorter one")
        self.rows = rows
        self.turned = 0  # times that it was set going
        self._every_other = every_other
        self._blocked = False
        self._row = 0  # the one that comes next while it turns

    @property
    def turning(self) -> bool:
        return self._row > 0

    def hear(self, byte: int, *, local: bool = False) -> bool:
        """A character that the selector takes, 7 bits; whether it sets the drum going. ENQ typed here never does."""
        wakes = byte == ENQ and not local and not self._blocked
        self._blocked = False
        return wakes and self.trip()

    def trip(self) -> bool:
        """ENQ, or the HERE IS key; whether it was at rest and goes."""
        if self.turning or not self.rows:
            return False
        self._row = 1
        self.turned += 1
        return True

    def turn(self) -> int | None:
        """The next row; None is one that the line does not hear. The drum goes all the way round, however short."""
        row, self._row = self._row, (self._row + 1) % (ROWS + 2)
        if not self._row:
            self._blocked = self._every_other
        return self.rows[row - 2] if 2 <= row <= len(self.rows) + 1 else None


def coded(text: str) -> bytes:
    """The rows for a text, in even parity, as drums are cut. Raises NoSuchKey for what no row can hold."""
    if not text.isascii():
        raise NoSuchKey(f"{text!r} cannot be cut into an answerback drum: give ASCII")
    return bytes(even_parity(ord(char)) for char in text)
