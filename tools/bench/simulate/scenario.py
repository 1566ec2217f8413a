"""The scenario of a simulation: clients, replicas, the network, failures, and other load on the machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.server.engine.scheduler import SchedulingPolicy
from tools.bench.load.user import UserRandom

SPELL_GAP_S = 15.0, 35.0  # shortest and longest gap between two slow spells; an estimate


@dataclass(frozen=True, slots=True)
class Scenario:
    """The clients, replicas and events to simulate. `seconds` do not include the warm-up."""

    clients: int
    seconds: float
    warm_up_s: float = 0.0
    replicas: int = 1
    batch_size: int = 64
    cache_slots: int = 256  # of each replica
    max_answers: int = 1024  # of each replica, running or waiting
    context: int = 256
    is_continuous: bool = False  # users make no pauses
    policy: SchedulingPolicy = "paper"
    has_prefill: bool = True  # a prompt is prefilled while it is typed
    sampled_replicas: int = 0  # how many replicas are simulated, with their clients; 0: all
    seed: int = 33
    ramp_up_s: float = 40.0
    latency_s: float = 0.02  # from a client to its replica, and back
    jitter_s: float = 0.01  # the largest random addition to the latency of a chunk
    failure_times: tuple[float, ...] = ()  # seconds; at each a replica fails
    detection_s: float = 0.0  # until a failure is known; that of a killed process is known at once
    startup_s: float = 15.0  # until a new replica takes requests
    max_replicas: int = 0  # of the autoscaler; 0: it is off
    target_answers: int = 64  # active answers per replica that the autoscaler aims at
    scale_up_delay_s: float = 10.0
    scale_down_delay_s: float = 300.0
    slowdown: float = 1.0  # how many times longer each pass takes during a slow spell
    slow_spell_s: float = 0.0  # length of a slow spell; 0: there are none


class SimulationRandom(UserRandom, Protocol):
    """The part of `random.Random` that a simulation uses."""

    def random(self) -> float: ...


class NoisyNeighbours:
    """Other load on the machine: in spells, all passes take longer. The calls must be in order of time."""

    def __init__(self, slowdown: float, slow_spell_s: float, rng: SimulationRandom, now: float = 0.0) -> None:
        self._slowdown, self._slow_spell_s, self._rng = slowdown, slow_spell_s, rng
        self._spell = self._draw_spell(now)

    def slowdown_at(self, now: float) -> float:
        """Returns how many times longer a pass takes that starts now."""
        start, end = self._spell
        while now >= end:
            start, end = self._spell = self._draw_spell(end)
        return self._slowdown if now >= start else 1.0

    def _draw_spell(self, after: float) -> tuple[float, float]:
        shortest, longest = SPELL_GAP_S
        start = after + shortest + (longest - shortest) * self._rng.random()
        return start, start + self._slow_spell_s
