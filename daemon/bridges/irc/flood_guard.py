"""Leaves out the lines of a flood, before they cost paper or work. Pure."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
MAX_LINES_PER_PERSON = 8  # in a window: the paper takes longer to print them
MAX_LINES = 40  # of all persons together, since a flood may change its nick


class FloodGuard:
    """Counts the lines of a room in a sliding window. Its memory is bounded by MAX_LINES."""

    def __init__(self) -> None:
        self._admitted: deque[tuple[float, str]] = deque()
        self._dropped = 0

    def admits(self, person: str, now: float) -> bool:
        """Returns whether a line of this person may pass, and counts it."""
        while self._admitted and now - self._admitted[0][0] >= WINDOW_S:
            self._admitted.popleft()
        own = sum(name == person for _, name in self._admitted)
        if len(self._admitted) >= MAX_LINES or own >= MAX_LINES_PER_PERSON:
            self._dropped += 1
            return False
        self._admitted.append((now, person))
        return True

    def take_dropped(self) -> int:
        """Returns how many lines were left out since the last call."""
        count, self._dropped = self._dropped, 0
        return count
