"""The tape reader and the tape punch of the virtual machine: one row for each turn of the distributor.

They know no moment; `teletype_sim` turns them.
"""

from __future__ import annotations

from drivers.paper.paper import RUBOUT
from drivers.virtual.typing_unit import DC2, DC4


class TapeReader:
    """`lag`: characters that still come after an X-OFF, 1 or 2; a RUBOUT among them stops the reader early.

    Tapes were therefore punched as text, CR, X-OFF, RUBOUT - D. Gwyn, an operator.
    """

    def __init__(self, tape: bytes = b"", *, lag: int = 1) -> None:
        self.is_running = False
        self._tape = tape
        self._position = 0
        self._lag = lag
        self._rows_until_stop: int | None = None  # after an X-OFF

    @property
    def remaining_rows(self) -> bytes:
        """The rows that are not yet read."""
        return self._tape[self._position :]

    @property
    def is_out_of_tape(self) -> bool:
        """Whether the tape-out pin feels no tape."""
        return self._position >= len(self._tape)

    def load(self, tape: bytes) -> None:
        """Inserts another tape, and stops the reader."""
        self._tape, self._position, self.is_running = tape, 0, False

    def start(self) -> None:
        """Starts the reader, as DC1 or the lever START does."""
        self.is_running, self._rows_until_stop = not self.is_out_of_tape, None

    def halt(self) -> None:
        """Stops the reader at once, as the lever STOP, BREAK, ENQ or the end of the tape does."""
        self.is_running = False

    def receive_xoff(self, sending: int | None = None) -> None:
        """Handles DC3; `sending` is the row under way, the first of the rows that still come."""
        if self.is_running and self._rows_until_stop is None:
            self._rows_until_stop = self._lag
            if sending is not None:
                self._count_row(sending)

    def next_row(self) -> int:
        """Returns the next row, raw. Only while the reader is running."""
        row = self._tape[self._position]
        self._position += 1
        if self._rows_until_stop is not None:
            self._count_row(row)
        if self.is_out_of_tape:
            self.halt()
        return row

    def _count_row(self, row: int) -> None:
        self._rows_until_stop = 0 if row & 0x7F == RUBOUT else (self._rows_until_stop or 1) - 1
        if not self._rows_until_stop:
            self.halt()


class TapePunch:
    """`auto`: it obeys DC2 and DC4; otherwise only its buttons, which set `is_on`."""

    def __init__(self, *, auto: bool = False) -> None:
        self.is_on = False
        self.tape = bytearray()
        self._auto = auto

    def receive(self, byte: int) -> bool:
        """Receives a byte of 8 bits from the typing unit; returns whether it is punched."""
        bits, is_punched = byte & 0x7F, self.is_on
        if is_punched:
            self.tape.append(byte)
        if self._auto and bits in (DC2, DC4):  # the mechanism moves at the end of its cycle: DC4 is still punched
            self.is_on = bits == DC2
        return is_punched
