"""The paper and the ribbon, counted from what the machine strikes. Pure: it gets bytes and returns a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivers.paper.paper import LF

WARN_LINES = 100  # two pages: time to fetch a new roll
HOLD_LINES = 30  # kept for the operator

PaperState = Literal["uncounted", "enough", "low", "held"]


@dataclass(slots=True)
class PaperSupply:
    """`lines_left` of the roll (None: never told), and the characters struck with this ribbon."""

    lines_left: int | None = None
    ribbon_chars: int = 0

    def note_struck(self, byte: int) -> None:
        """Counts one byte of 7 bits that the machine acts on."""
        if byte == LF and self.lines_left is not None:
            self.lines_left -= 1
        elif byte > 0x20:
            self.ribbon_chars += 1

    @property
    def state(self) -> PaperState:
        if self.lines_left is None:
            return "uncounted"
        return "held" if self.lines_left <= HOLD_LINES else "low" if self.lines_left <= WARN_LINES else "enough"
