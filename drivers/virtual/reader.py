"""The paper tape reader: rows of a tape, one for each turn of the distributor while it runs.

It does not stop on an X-OFF at once. Knows no moment; `station` turns it.
"""

from __future__ import annotations

_DEL = 0x7F


class Reader:
    """`lag`: how many characters still come after an X-OFF, 1 or 2; a DEL among them stops it early.

    Tapes were therefore punched as text, CR, X-OFF, DEL - D. Gwyn, who ran them.
    """

    def __init__(self, tape: bytes = b"", *, lag: int = 1) -> None:
        self.running = False
        self._tape = tape
        self._at = 0
        self._lag = lag
        self._left: int | None = None  # rows until it stops

    @property
    def rest(self) -> bytes:
        """What has not been read."""
        return self._tape[self._at :]

    @property
    def out(self) -> bool:
        """Whether the tape-out pin has nothing under it."""
        return self._at >= len(self._tape)

    def load(self, tape: bytes) -> None:
        """Another tape, with the reader stopped."""
        self._tape, self._at, self.running = tape, 0, False

    def start(self) -> None:
        """DC1, or the lever at START."""
        self.running, self._left = not self.out, None

    def halt(self) -> None:
        """At once: the lever at STOP, BREAK, ENQ, or the tape's end."""
        self.running = False

    def x_off(self, sending: int | None = None) -> None:
        """DC3 has reached the function box; `sending` is the row under way, the first of those that still come."""
        if self.running and self._left is None:
            self._left = self._lag
            if sending is not None:
                self._count(sending)

    def turn(self) -> int:
        """The next row, raw. Only while it is `running`."""
        row = self._tape[self._at]
        self._at += 1
        if self._left is not None:
            self._count(row)
        if self.out:
            self.halt()
        return row

    def _count(self, row: int) -> None:
        self._left = 0 if row & 0x7F == _DEL else (self._left or 1) - 1
        if not self._left:
            self.halt()
