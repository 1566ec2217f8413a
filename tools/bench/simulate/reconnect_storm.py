"""All come back at once: the servers were away, and every line knocks until it is let in. Pure; chance from outside.

When a line knocks `model.client.server_health` says; what a door takes for each is a figure that was measured. A door that is
behind by more than a client's patience for a connection has worked for nothing on those who have left.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from model.client.server_health import ServerHealth
from model.errors import ServerLost
from tools.bench.load.figures import percentile
from tools.bench.simulate.scenario import SimulationRandom

CONNECT_TIMEOUT_S = 5.0  # as `model.client.http_client` has it: of a connection, and of its TLS
RETRY_AFTER_S = 1.0  # as `model.server.limits` has it, in Retry-After
ABANDONED_SHARE = 0.25  # of a knock, for one who has left meanwhile: it is taken in, and found to be gone
REJECTION_S = 0.0005  # a 429 on a connection that is open


@dataclass(frozen=True, slots=True)
class Outage:
    """`doors` processes that let lines in, each `places` lines; all are away for so long."""

    lines: int
    seconds: float
    doors: int = 1
    places: int = 1024
    knock_s: float = 0.004  # connection, TLS, what is there, and the answer's beginning
    silent: bool = False  # a machine that is away says nothing; a process that is away is refused at once


@dataclass(frozen=True, slots=True)
class Reconnection:
    """Seconds after they are back until so many lines were in; how often was knocked, and how often in vain."""

    half: float
    of_99: float
    last: float
    knocks: int
    left: int
    refused: int
    within_s: float  # in which the lines would have been let in one after the other

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def simulate_reconnect(outage: Outage, rng: SimulationRandom) -> Reconnection:
    """All lines were printing when it began."""
    lost, standings = ServerLost("away"), [ServerHealth() for _ in range(outage.lines)]
    for standing in standings:
        standing.record_failure(lost, 0.0, rng.random())
    queue = [(standing.retry_at, number) for number, standing in enumerate(standings)]
    heapify(queue)
    free, inside = [outage.seconds] * outage.doors, [0] * outage.doors
    came: list[float] = []
    knocks = left = refused = 0
    while queue and len(came) < min(outage.lines, outage.doors * outage.places):
        now, number = heappop(queue)
        standing, door = standings[number], number % outage.doors
        lost.retry_after_s = 0.0
        if now < outage.seconds:
            known = now + CONNECT_TIMEOUT_S * outage.silent
        elif (known := max(now, free[door]) + outage.knock_s) > now + CONNECT_TIMEOUT_S:
            knocks, left, known = knocks + 1, left + 1, now + CONNECT_TIMEOUT_S
            free[door] += ABANDONED_SHARE * outage.knock_s
        elif inside[door] >= outage.places:
            knocks, refused, lost.retry_after_s = knocks + 1, refused + 1, RETRY_AFTER_S
            free[door] = known = max(now, free[door]) + REJECTION_S
        else:
            knocks, free[door] = knocks + 1, known
            inside[door] += 1
            came.append(known - outage.seconds)
            continue
        standing.record_failure(lost, known, rng.random())
        heappush(queue, (standing.retry_at, number))
    came.sort()
    quickest = outage.lines * outage.knock_s / outage.doors
    return Reconnection(percentile(came, 0.5), percentile(came, 0.99), came[-1], knocks, left, refused, quickest)
