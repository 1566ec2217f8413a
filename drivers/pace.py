"""When the next stroke may be written, and when it will be struck; time comes in as an argument.

Knows the character time and what the carriage needs. No line, no clock, no queue.
"""

from __future__ import annotations

from collections import deque

from drivers.clock import CHARACTER_S
from drivers.printer import Stroke


class Pace:
    """The moments of one machine's shaft, in clock seconds."""

    def __init__(self, character_s: float = CHARACTER_S) -> None:
        self._character_s = character_s
        self._struck_at = float("-inf")  # the start of the last stroke
        self._written: deque[float] = deque(maxlen=2)  # the starts of the last two: more are never below us
        self.free_at = float("-inf")  # when that one is done
        self._settled_at = float("-inf")  # when the carriage is back

    def below(self, now: float) -> int:
        """How many strokes are handed over and not done, the one being struck among them."""
        return sum(start + self._character_s > now + 1e-6 for start in self._written)

    def write_at(self, stroke: Stroke) -> float:
        """As the stroke before begins, so that the wheel finds the next byte ready; past a hold, not before its end.

        A UART sends what it has. A glyph that must wait for the carriage may not be lying there.
        """
        start = self._earliest(stroke)
        return start if start > self.free_at else self._struck_at

    def written(self, stroke: Stroke, now: float) -> float:
        """The start of a stroke that is handed over now. Too late is too late: nothing later makes up for it."""
        start = max(now, self._earliest(stroke))
        self._struck_at = start
        self._written.append(start)
        self.free_at = start + self._character_s
        self._settle(start, stroke.settle_s)
        return start

    def slipped(self, now: float) -> None:
        """The last stroke begins only now: the UART is slower than our clock, and what follows shifts with it."""
        late_s = now - self._struck_at
        if late_s > 0:
            if self._settled_at > self._struck_at:
                self._settled_at += late_s
            self._struck_at += late_s
            if self._written:
                self._written[-1] = self._struck_at
            self.free_at += late_s

    def keyed(self, settle_s: float, now: float) -> None:
        """The machine has printed a key of its own, whose last bit came in now."""
        start = now - self._character_s
        self._struck_at = max(self._struck_at, start)
        self.free_at = max(self.free_at, now)
        self._settle(start, settle_s)

    def hold_off(self, until: float) -> None:
        """Nothing is to be written before that: the motor is coming up."""
        self._struck_at = max(self._struck_at, until)
        self.free_at = max(self.free_at, until)

    def _settle(self, start: float, settle_s: float) -> None:
        if settle_s:
            self._settled_at = max(self._settled_at, start + settle_s * self._character_s / CHARACTER_S)

    def _earliest(self, stroke: Stroke) -> float:
        return max(self.free_at, self._settled_at) if stroke.spaces else self.free_at
