"""What is to be simulated: lines, replicas, the way between them, and what goes wrong when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.server.engine.scheduler import SchedulingPolicy


@dataclass(frozen=True, slots=True)
class Scenario:
    """`sample`: only so many of the replicas are worked through, with the lines that the ring gives them; 0: all.

    `deaths`: at these seconds a replica dies. `most`: replicas that there may be when lines want more, 0: no others
    than `replicas`; `target` answers under way are thought to be one's share. `slower`: for spells of `spell_s` each
    pass takes so many times as long, since the machine has other guests.
    """

    clients: int
    seconds: float
    warm_up_s: float = 0.0
    replicas: int = 1
    batch_size: int = 64  # of one step
    cache_slots: int = 256  # of each replica
    max_answers: int = 1024  # answers of each, made or waited for
    context: int = 256
    is_continuous: bool = False
    policy: SchedulingPolicy = "paper"
    has_prefill: bool = True  # a prompt is read while it is typed
    sampled_replicas: int = 0
    seed: int = 33
    ramp_up_s: float = 40.0
    latency_s: float = 0.02  # from a line to its replica, and back
    jitter_s: float = 0.01  # at most so much more
    failure_times: tuple[float, ...] = ()
    detection_s: float = 0.0  # until those at the other end know: a process that was killed is missed at once
    startup_s: float = 15.0  # from the wish for a replica to its first answer
    max_replicas: int = 0
    target_answers: int = 64
    scale_up_delay_s: float = 10.0
    scale_down_delay_s: float = 300.0
    slowdown: float = 1.0
    slow_spell_s: float = 0.0


class SimulationRandom(Protocol):
    """What is wanted of a `random.Random`."""

    def random(self) -> float: ...

    def lognormvariate(self, mu: float, sigma: float) -> float: ...

    def randrange(self, stop: int, /) -> int: ...
