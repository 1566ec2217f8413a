"""How many replicas more or fewer, by the answers under way: Ray Serve's policy, as `model.server.ray_cluster` sets it.

Pure; the time is an argument.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from tools.bench.simulate.scenario import Scenario


class Autoscaler:
    """Asked every `tick_s`. What it wished for counts as there, whether it has loaded or not."""

    def __init__(self, scenario: Scenario) -> None:
        self.tick_s = min(10.0, scenario.scale_up_delay_s / 2)
        self._scenario = scenario
        self._samples: deque[tuple[float, int]] = deque()
        self._direction: tuple[int, float] | None = None  # which way it has been wrong, and since when
        self._starting: deque[float] = deque()

    def replica_delta(self, now: float, active_answers: int, replicas: int) -> int:
        """So many are to be started; below zero, to be ended."""
        case = self._scenario
        self._samples.append((now, active_answers))
        while self._samples[0][0] < now - min(30.0, case.scale_up_delay_s):
            self._samples.popleft()
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
        mean = sum(lines for _, lines in self._samples) / len(self._samples)
        more = min(max(1, ceil(mean / case.target_answers)), case.max_replicas) - replicas - len(self._starting)
        way = (more > 0) - (more < 0)
        if self._direction is None or self._direction[0] != way:
            self._direction = way, now
        if not way or now - self._direction[1] < (case.scale_up_delay_s if way > 0 else case.scale_down_delay_s):
            return 0
        self._direction = None
        self._starting.extend([now + case.startup_s] * max(more, 0))
        return more
