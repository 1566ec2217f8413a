"""The answerback drum: 21 rows, the first always silent; ENQ from the line or the HERE IS key turns it once.

A row is one turn of the distributor. Knows no moment and no parity: its rows are raw, 8 bits each.
"""

from __future__ import annotations

from drivers.errors import NoSuchKey
from drivers.text.charset import even_parity
from drivers.virtual.typing_unit import ENQ

MAX_CHARACTERS = 20  # 21 rows less the first, which is not coded - Bulletin 310B 574-122-100TC 4.115 to 4.132


class AnswerbackDrum:
    """`every_other`: the last row is silenced too, so the pawl stays blocked and swallows the next ENQ.

    Any other character that the selector receives in between frees the pawl.
    """

    def __init__(self, rows: bytes = b"", *, every_other: bool = False) -> None:
        if len(rows) > MAX_CHARACTERS:
            raise NoSuchKey(
                f"an answerback drum has room for {MAX_CHARACTERS} characters, not {len(rows)}: give a shorter one"
            )
        self.rows = rows
        self.turn_count = 0  # number of times that the drum was started
        self._every_other = every_other
        self._is_blocked = False
        self._row = 0  # next row while it turns

    @property
    def is_turning(self) -> bool:
        return self._row > 0

    def receive(self, byte: int, *, local: bool = False) -> bool:
        """Receives a character of 7 bits from the selector; returns whether it starts the drum. No local ENQ does."""
        is_enquiry = byte == ENQ and not local and not self._is_blocked
        self._is_blocked = False
        return is_enquiry and self.trip()

    def trip(self) -> bool:
        """Starts the drum, as ENQ or the HERE IS key does; returns whether it was at rest."""
        if self.is_turning or not self.rows:
            return False
        self._row = 1
        self.turn_count += 1
        return True

    def next_row(self) -> int | None:
        """Returns the next row; None: it is silent. The drum always makes a whole turn."""
        row, self._row = self._row, (self._row + 1) % (MAX_CHARACTERS + 2)
        if not self._row:
            self._is_blocked = self._every_other
        return self.rows[row - 2] if 2 <= row <= len(self.rows) + 1 else None


def encode_drum(text: str) -> bytes:
    """Returns the rows for a text, in even parity, as drums are coded. Raises NoSuchKey for text that is not ASCII."""
    if not text.isascii():
        raise NoSuchKey(f"{text!r} cannot be cut into an answerback drum: give ASCII")
    return bytes(even_parity(ord(char)) for char in text)
