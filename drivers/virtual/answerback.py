"""The answerback drum: 21 rows, the first of them always silent; ENQ from the line or the HERE IS key turns it once.

One row is one turn of the distributor. Knows no moment and no parity: its rows are what was broken off, 8 bits each.
"""

from __future__ import annotations

from drivers.errors import NoSuchKey
from drivers.text.charset import even_parity
from drivers.virtual.typing_unit import ENQ

MAX_CHARACTERS = 20  # that may be coded: 21, less the first - Bulletin 310B 574-122-100TC 4.115 to 4.132


class AnswerbackDrum:
    """`every_other`: the last row is silenced too, and the pawl that this leaves blocking swallows the next ENQ.

    Any other character that the selector takes in between frees it.
    """

    def __init__(self, rows: bytes = b"", *, every_other: bool = False) -> None:
        if len(rows) > MAX_CHARACTERS:
            raise NoSuchKey(
                f"an answerback drum has room for {MAX_CHARACTERS} characters, not {len(rows)}: give a shorter one"
            )
        self.rows = rows
        self.turn_count = 0  # times that it was set going
        self._every_other = every_other
        self._is_blocked = False
        self._row = 0  # the one that comes next while it turns

    @property
    def is_turning(self) -> bool:
        return self._row > 0

    def receive(self, byte: int, *, local: bool = False) -> bool:
        """A character that the selector takes, 7 bits; whether it sets the drum going. ENQ typed here never does."""
        wakes = byte == ENQ and not local and not self._is_blocked
        self._is_blocked = False
        return wakes and self.trip()

    def trip(self) -> bool:
        """ENQ, or the HERE IS key; whether it was at rest and goes."""
        if self.is_turning or not self.rows:
            return False
        self._row = 1
        self.turn_count += 1
        return True

    def next_row(self) -> int | None:
        """The next row; None is one that the line does not hear. The drum goes all the way round, however short."""
        row, self._row = self._row, (self._row + 1) % (MAX_CHARACTERS + 2)
        if not self._row:
            self._is_blocked = self._every_other
        return self.rows[row - 2] if 2 <= row <= len(self.rows) + 1 else None


def encode_drum(text: str) -> bytes:
    """The rows for a text, in even parity, as drums are cut. Raises NoSuchKey for what no row can hold."""
    if not text.isascii():
        raise NoSuchKey(f"{text!r} cannot be cut into an answerback drum: give ASCII")
    return bytes(even_parity(ord(char)) for char in text)
