"""The paper tape reader: rows of a tape, one for each turn of the distributor while it runs.

It does not stop on an X-OFF at once. Knows no moment; `station` turns it.
"""

from __future__ import annotations

_DEL = 0x7F


class TapeReader:
    """`lag`: how many characters still come after an X-OFF, 1 or 2; a DEL among them stops it early.

    Tapes were therefore punched as text, CR, X-OFF, DEL - D. Gwyn, who ran them.
    """

    def __init__(self, tape: bytes = b"", *, lag: int = 1) -> None:
        self.is_running = False
        self._tape = tape
        self._position = 0
        self._lag = lag
        self._rows_until_stop: int | None = None  # rows until it stops

    @property
    def remaining_rows(self) -> bytes:
        """What has not been read."""
        return self._tape[self._position :]

    @property
    def is_out_of_tape(self) -> bool:
        """Whether the tape-out pin has nothing under it."""
        return self._position >= len(self._tape)

    def load(self, tape: bytes) -> None:
        """Another tape, with the reader stopped."""
        self._tape, self._position, self.is_running = tape, 0, False

    def start(self) -> None:
        """DC1, or the lever at START."""
        self.is_running, self._rows_until_stop = not self.is_out_of_tape, None

    def halt(self) -> None:
        """At once: the lever at STOP, BREAK, ENQ, or the tape's end."""
        self.is_running = False

    def receive_xoff(self, sending: int | None = None) -> None:
        """DC3 has reached the function box; `sending` is the row under way, the first of those that still come."""
        if self.is_running and self._rows_until_stop is None:
            self._rows_until_stop = self._lag
            if sending is not None:
                self._count_row(sending)

    def next_row(self) -> int:
        """The next row, raw. Only while it is `running`."""
        row = self._tape[self._position]
        self._position += 1
        if self._rows_until_stop is not None:
            self._count_row(row)
        if self.is_out_of_tape:
            self.halt()
        return row

    def _count_row(self, row: int) -> None:
        self._rows_until_stop = 0 if row & 0x7F == _DEL else (self._rows_until_stop or 1) - 1
        if not self._rows_until_stop:
            self.halt()
