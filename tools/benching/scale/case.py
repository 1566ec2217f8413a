"""What is to be simulated: lines, replicas, the way between them, and what goes wrong when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.serving.deadlines import Order


@dataclass(frozen=True, slots=True)
class Case:
    """`sample`: only so many of the replicas are worked through, with the lines that the ring gives them; 0: all.

    `deaths`: at these seconds a replica dies. `most`: replicas that there may be when lines want more, 0: no others
    than `replicas`; `target` answers under way are thought to be one's share. `slower`: for spells of `spell_s` each
    pass takes so many times as long, since the machine has other guests.
    """

    lines: int
    seconds: float
    warm_up_s: float = 0.0
    replicas: int = 1
    rows: int = 64  # of one step
    caches: int = 256  # of each replica
    places: int = 1024  # answers of each, made or waited for
    context: int = 256
    turning: bool = False
    order: Order = "paper"
    listening: bool = True  # a prompt is read while it is typed
    sample: int = 0
    seed: int = 33
    sitting_s: float = 40.0
    way_s: float = 0.02  # from a line to its replica, and back
    unsteady_s: float = 0.01  # at most so much more
    deaths: tuple[float, ...] = ()
    noticed_s: float = 0.0  # until those at the other end know: a process that was killed is missed at once
    load_s: float = 15.0  # from the wish for a replica to its first answer
    most: int = 0
    target: int = 64
    up_s: float = 10.0
    down_s: float = 300.0
    slower: float = 1.0
    spell_s: float = 0.0


class Chance(Protocol):
    """What is wanted of a `random.Random`."""

    def random(self) -> float: ...

    def lognormvariate(self, mu: float, sigma: float) -> float: ...

    def randrange(self, stop: int, /) -> int: ...
