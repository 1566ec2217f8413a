"""Ray Serve's policies: which replica has a conversation, and how many replicas there should be. Pure.

`HashRing` is `ray.serve.experimental.consistent_hash_router` with its default settings. Each replica has a hundred
places on the ring. A conversation goes to the next place after its hash, and to the second and third replica if that is
full. The hash function differs from Ray's; the statistics of a hash do not depend on it. `Autoscaler` is Ray Serve's
policy as `model.server.ray_cluster` sets it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from itertools import chain
from math import ceil

from tools.bench.simulate.scenario import Scenario

VIRTUAL_NODES = 100  # DEFAULT_NUM_VIRTUAL_NODES
FALLBACK_REPLICAS = 2  # DEFAULT_NUM_FALLBACK_REPLICAS


class HashRing:
    def __init__(self, replicas: Iterable[str]) -> None:
        """The names must be unique: a replica that is started again has a new name, and so new places."""
        places = sorted((_hash(f"{name}:{place}"), name) for name in replicas for place in range(VIRTUAL_NODES))
        self._hashes = [place for place, _ in places]
        self._names = [name for _, name in places]

    def home_replica(self, conversation: str) -> str:
        """Returns the replica of a conversation; empty without replicas."""
        if not self._names:
            return ""
        return self._names[bisect_right(self._hashes, _hash(conversation)) % len(self._names)]

    def ranked_replicas(self, conversation: str) -> list[str]:
        """Returns the replica of a conversation, then those that take the conversation if this replica is full."""
        start = bisect_right(self._hashes, _hash(conversation))
        ranked: list[str] = []
        for name in chain(self._names[start:], self._names[:start]):
            if name not in ranked:
                ranked.append(name)
                if len(ranked) > FALLBACK_REPLICAS:
                    break
        return ranked


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class Autoscaler:
    """Decides every `tick_s`. A replica that is still starting counts as there."""

    def __init__(self, scenario: Scenario) -> None:
        self.tick_s = min(10.0, scenario.scale_up_delay_s / 2)
        self._scenario = scenario
        self._samples: deque[tuple[float, int]] = deque()
        self._direction: tuple[int, float] | None = None  # the sign of the wanted change, and since when
        self._starting: deque[float] = deque()

    def replica_delta(self, now: float, active_answers: int, replicas: int) -> int:
        """Returns how many replicas to start; negative: to stop. The time is an argument."""
        scenario = self._scenario
        self._samples.append((now, active_answers))
        while self._samples[0][0] < now - min(30.0, scenario.scale_up_delay_s):
            self._samples.popleft()
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
        mean = sum(answers for _, answers in self._samples) / len(self._samples)
        target = min(max(1, ceil(mean / scenario.target_answers)), scenario.max_replicas)
        delta = target - replicas - len(self._starting)
        sign = (delta > 0) - (delta < 0)
        if self._direction is None or self._direction[0] != sign:
            self._direction = sign, now
        delay_s = scenario.scale_up_delay_s if sign > 0 else scenario.scale_down_delay_s
        if not sign or now - self._direction[1] < delay_s:
            return 0
        self._direction = None
        self._starting.extend([now + scenario.startup_s] * max(delta, 0))
        return delta
