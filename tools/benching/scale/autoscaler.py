"""How many replicas more or fewer, by the answers under way: Ray Serve's policy, as `model.serving.cluster` sets it.

Pure; the time is an argument.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from tools.benching.scale.case import Case


class Autoscaler:
    """Asked every `tick_s`. What it wished for counts as there, whether it has loaded or not."""

    def __init__(self, case: Case) -> None:
        self.tick_s = min(10.0, case.up_s / 2)
        self._case = case
        self._seen: deque[tuple[float, int]] = deque()
        self._since: tuple[int, float] | None = None  # which way it has been wrong, and since when
        self._coming: deque[float] = deque()

    def wanted(self, now: float, under_way: int, there: int) -> int:
        """So many are to be started; below zero, to be ended."""
        case = self._case
        self._seen.append((now, under_way))
        while self._seen[0][0] < now - min(30.0, case.up_s):
            self._seen.popleft()
        while self._coming and self._coming[0] <= now:
            self._coming.popleft()
        mean = sum(lines for _, lines in self._seen) / len(self._seen)
        more = min(max(1, ceil(mean / case.target)), case.most) - there - len(self._coming)
        way = (more > 0) - (more < 0)
        if self._since is None or self._since[0] != way:
            self._since = way, now
        if not way or now - self._since[1] < (case.up_s if way > 0 else case.down_s):
            return 0
        self._since = None
        self._coming.extend([now + case.load_s] * max(more, 0))
        return more
