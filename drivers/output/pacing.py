"""When the next stroke may be written, and when it will be struck; time comes in as an argument.

Knows the character time and what the carriage needs. No line, no clock, no queue.
"""

from __future__ import annotations

from collections import deque

from drivers.clock import CHARACTER_S
from drivers.text.printer import Stroke


class StrikeTiming:
    """The moments of one machine's shaft, in clock seconds."""

    def __init__(self, character_s: float = CHARACTER_S) -> None:
        self._character_s = character_s
        self._last_start = float("-inf")  # the start of the last stroke
        self._recent_starts: deque[float] = deque(maxlen=2)  # the starts of the last two: more are never below us
        self.free_at = float("-inf")  # when that one is done
        self._carriage_home_at = float("-inf")  # when the carriage is back

    def in_flight(self, now: float) -> int:
        """How many strokes are handed over and not done, the one being struck among them."""
        return sum(start + self._character_s > now + 1e-6 for start in self._recent_starts)

    def write_time(self, stroke: Stroke) -> float:
        """As the stroke before begins, so that the wheel finds the next byte ready; past a hold, not before its end.

        A UART sends what it has. A glyph that must wait for the carriage may not be lying there.
        """
        start = self._earliest_start(stroke)
        return start if start > self.free_at else self._last_start

    def note_written(self, stroke: Stroke, now: float) -> float:
        """The start of a stroke that is handed over now. Too late is too late: nothing later makes up for it."""
        start = max(now, self._earliest_start(stroke))
        self._last_start = start
        self._recent_starts.append(start)
        self.free_at = start + self._character_s
        self._note_carriage_travel(start, stroke.settle_s)
        return start

    def note_late_uart(self, now: float) -> None:
        """The last stroke begins only now: the UART is slower than our clock, and what follows shifts with it."""
        late_s = now - self._last_start
        if late_s > 0:
            if self._carriage_home_at > self._last_start:
                self._carriage_home_at += late_s
            self._last_start += late_s
            if self._recent_starts:
                self._recent_starts[-1] = self._last_start
            self.free_at += late_s

    def note_local_print(self, settle_s: float, now: float) -> None:
        """The machine has printed a key of its own, whose last bit came in now."""
        start = now - self._character_s
        self._last_start = max(self._last_start, start)
        self.free_at = max(self.free_at, now)
        self._note_carriage_travel(start, settle_s)

    def hold_off(self, until: float) -> None:
        """Nothing is to be written before that: the motor is coming up."""
        self._last_start = max(self._last_start, until)
        self.free_at = max(self.free_at, until)

    def _note_carriage_travel(self, start: float, settle_s: float) -> None:
        if settle_s:
            self._carriage_home_at = max(self._carriage_home_at, start + settle_s * self._character_s / CHARACTER_S)

    def _earliest_start(self, stroke: Stroke) -> float:
        return max(self.free_at, self._carriage_home_at) if stroke.is_spacing else self.free_at
