"""The reconnect storm after an outage: all clients try to connect until a server takes them. Pure.

The random numbers are an argument. `model.client.server_health` decides when a client tries; the time that a server
needs for each attempt is a measured figure. A server that is behind by more than the clients' connect timeout wastes
its time on clients that have given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from model.client.server_health import ServerHealth
from model.errors import ServerLost
from tools.bench.load.figures import percentile
from tools.bench.simulate.scenario import SimulationRandom

CONNECT_TIMEOUT_S = 5.0  # of `model.client.http_client`, TLS included
RETRY_AFTER_S = 1.0  # of `model.server.refusals`
ABANDONED_SHARE = 0.25  # of the time of an attempt, if the client has given up: the server accepts, then notices
REJECTION_S = 0.0005  # a 429 on an open connection


@dataclass(frozen=True, slots=True)
class Outage:
    """`doors` server processes for `places` clients each are down for `seconds`. The fields are JSON keys."""

    lines: int  # clients
    seconds: float
    doors: int = 1
    places: int = 1024
    knock_s: float = 0.004  # of the server for a connection, TLS, /v1/models, and the start of the answer
    silent: bool = False  # the machine is down and does not answer; otherwise only the process, and it refuses at once


@dataclass(frozen=True, slots=True)
class Reconnection:
    """Seconds from the end of the outage until these clients were connected. The fields are JSON keys."""

    half: float
    of_99: float
    last: float
    knocks: int  # attempts after the outage
    left: int  # attempts that timed out
    refused: int  # attempts that got a 429
    within_s: float  # seconds to connect all clients, one after the other


def simulate_reconnect(outage: Outage, rng: SimulationRandom) -> Reconnection:
    """Simulates the outage and the attempts after it, until all clients are connected or all servers are full."""
    error, healths = ServerLost("away"), [ServerHealth() for _ in range(outage.lines)]
    for health in healths:
        health.record_failure(error, 0.0, rng.random())
    queue = [(health.retry_at, number) for number, health in enumerate(healths)]
    heapify(queue)
    free_at, connected = [outage.seconds] * outage.doors, [0] * outage.doors
    delays: list[float] = []
    attempts = timeouts = rejected = 0
    while queue and len(delays) < min(outage.lines, outage.doors * outage.places):
        now, number = heappop(queue)
        health, door = healths[number], number % outage.doors
        error.retry_after_s = 0.0
        if now < outage.seconds:
            known_at = now + CONNECT_TIMEOUT_S * outage.silent
        elif (known_at := max(now, free_at[door]) + outage.knock_s) > now + CONNECT_TIMEOUT_S:
            attempts, timeouts, known_at = attempts + 1, timeouts + 1, now + CONNECT_TIMEOUT_S
            free_at[door] += ABANDONED_SHARE * outage.knock_s
        elif connected[door] >= outage.places:
            attempts, rejected, error.retry_after_s = attempts + 1, rejected + 1, RETRY_AFTER_S
            free_at[door] = known_at = max(now, free_at[door]) + REJECTION_S
        else:
            attempts, free_at[door] = attempts + 1, known_at
            connected[door] += 1
            delays.append(known_at - outage.seconds)
            continue
        health.record_failure(error, known_at, rng.random())
        heappush(queue, (health.retry_at, number))
    delays.sort()
    half, of_99 = percentile(delays, 0.5), percentile(delays, 0.99)
    serial_s = outage.lines * outage.knock_s / outage.doors
    return Reconnection(half, of_99, delays[-1], attempts, timeouts, rejected, serial_s)
