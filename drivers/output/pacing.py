"""When the next stroke may be written, and when it will be struck. Time is an argument.

Knows the character time and the travel of the carriage. No line, no clock, no queue.
"""

from __future__ import annotations

from collections import deque

from drivers.clock import CHARACTER_S
from drivers.text.printer import Stroke


class StrikeTiming:
    """The timing of one machine, in clock seconds."""

    def __init__(self, character_s: float = CHARACTER_S) -> None:
        self._character_s = character_s
        self._last_start = float("-inf")  # start of the last stroke
        self._recent_starts: deque[float] = deque(maxlen=2)  # starts of the last two: older ones are finished
        self.free_at = float("-inf")  # end of the last stroke
        self._carriage_home_at = float("-inf")  # when the carriage is at the left margin

    def in_flight(self, now: float) -> int:
        """Returns the number of written strokes that are not finished, the one being struck included."""
        return sum(start + self._character_s > now + 1e-6 for start in self._recent_starts)

    def write_time(self, stroke: Stroke) -> float:
        """Returns when to write a stroke: when the stroke before it begins, so that the UART has the next byte ready.

        A UART sends its byte at once, so a glyph that must wait for the carriage is written only when that is home.
        """
        start = self._earliest_start(stroke)
        return start if start > self.free_at else self._last_start

    def note_written(self, stroke: Stroke, now: float) -> float:
        """Records a stroke that is written now, and returns its start. A late stroke delays all later ones."""
        start = max(now, self._earliest_start(stroke))
        self._last_start = start
        self._recent_starts.append(start)
        self.free_at = start + self._character_s
        self._note_carriage_travel(start, stroke.settle_s)
        return start

    def note_late_uart(self, now: float) -> None:
        """Records that the last stroke begins only now: the UART is slower than the clock. All later strokes shift."""
        late_s = now - self._last_start
        if late_s <= 0:
            return
        if self._carriage_home_at > self._last_start:
            self._carriage_home_at += late_s
        self._last_start += late_s
        if self._recent_starts:
            self._recent_starts[-1] = self._last_start
        self.free_at += late_s

    def note_local_print(self, settle_s: float, now: float) -> None:
        """Records a key that the machine has printed by itself; its last bit arrived now."""
        start = now - self._character_s
        self._last_start = max(self._last_start, start)
        self.free_at = max(self.free_at, now)
        self._note_carriage_travel(start, settle_s)

    def hold_off(self, until: float) -> None:
        """Delays all strokes until this time: the motor is starting."""
        self._last_start = max(self._last_start, until)
        self.free_at = max(self.free_at, until)

    def _note_carriage_travel(self, start: float, settle_s: float) -> None:
        if settle_s:
            self._carriage_home_at = max(self._carriage_home_at, start + settle_s * self._character_s / CHARACTER_S)

    def _earliest_start(self, stroke: Stroke) -> float:
        return max(self.free_at, self._carriage_home_at) if stroke.is_spacing else self.free_at
