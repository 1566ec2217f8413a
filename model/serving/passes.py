"""Passes of the engine over the caches, each of them timed and counted.

Knows tokens, slots and what a pass takes; nothing of answers, nor of whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.serving.caches import Caches, Copy
from model.serving.counters import Tally
from model.serving.deadlines import Costs

Logits = NDArray[np.float32]


class Slots(Protocol):
    """What is asked of the engine: `count` caches side by side, of `context` tokens each."""

    @property
    def context(self) -> int: ...

    @property
    def count(self) -> int: ...

    def read(self, slot: int, past: int, ids: Sequence[int]) -> Logits: ...

    def step(self, first: int, past: Sequence[int], ids: Sequence[int], wanted: Sequence[int]) -> Logits: ...

    def copy(self, source: int, target: int, length: int) -> None: ...


class Passes:
    """What is in `caches` after each is what the engine has there; `costs` learn from it."""

    def __init__(self, slots: Slots, clock: Callable[[], float]) -> None:
        self.caches, self.costs, self.tally = Caches(slots.count), Costs.guessed(), Tally()
        self._slots, self._clock = slots, clock

    def read(self, slot: int, ids: Sequence[int]) -> Logits:
        """A piece of a prompt behind what is in the cache; the logits of its last."""
        known, begun = self.caches.ids(slot), self._clock()
        logits = self._slots.read(slot, len(known), ids)
        known += ids
        took = self._clock() - begun
        self.costs.piece.measured(len(ids), took)
        self.tally.pieces += 1
        self.tally.read += len(ids)
        self.tally.read_s += took
        return logits

    def step(self, at: Sequence[int], tokens: Sequence[int]) -> Logits:
        """A token for each of these slots, in their order; those that lie between go along for nothing."""
        span = range(at[0], at[-1] + 1)
        ids = [0] * len(span)
        past = [len(self.caches.ids(slot)) for slot in span]
        for slot, token in zip(at, tokens, strict=True):
            ids[slot - span[0]] = token
        begun = self._clock()
        logits = self._slots.step(span[0], past, ids, [slot - span[0] for slot in at])
        took = self._clock() - begun
        for slot, token in zip(at, tokens, strict=True):
            self.caches.ids(slot).append(token)
        self.tally.steps += 1
        self.tally.stepped += len(span)
        self.tally.along += len(span) - len(at)
        self.tally.step_s += took
        return logits

    def stepped(self, at: Sequence[int], begun: float) -> None:
        """A step of these slots is over, with all that was drawn from it: that too keeps the next one waiting."""
        self.costs.step.measured(at[-1] + 1 - at[0], self._clock() - begun)

    def copy(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            if not copy.length:
                continue
            self._slots.copy(copy.source, copy.target, copy.length)
            self.tally.copied += 1
