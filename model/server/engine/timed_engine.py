"""Passes of the engine over the caches, each of them timed and counted.

Knows tokens, slots and what a pass takes; nothing of answers, nor of whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.server.engine.counters import EngineTotals
from model.server.engine.scheduler import PassCosts
from model.server.engine.slot_allocator import CacheCopy, SlotAllocator

Logits = NDArray[np.float32]


class SlotSession(Protocol):
    """What is asked of the engine: `count` caches side by side, of `context` tokens each."""

    @property
    def context(self) -> int: ...

    @property
    def count(self) -> int: ...

    def prefill(self, slot: int, past_length: int, token_ids: Sequence[int]) -> Logits: ...

    def decode_step(
        self, first_slot: int, past_lengths: Sequence[int], token_ids: Sequence[int], wanted: Sequence[int]
    ) -> Logits: ...

    def copy_cache(self, source: int, target: int, length: int) -> None: ...


class TimedEngine:
    """What is in `caches` after each is what the engine has there; `costs` learn from it."""

    def __init__(self, session: SlotSession, clock: Callable[[], float]) -> None:
        self.allocator, self.costs, self.totals = (
            SlotAllocator(session.count),
            PassCosts.initial_guess(),
            EngineTotals(),
        )
        self._session, self._clock = session, clock

    def prefill(self, slot: int, token_ids: Sequence[int]) -> Logits:
        """A piece of a prompt behind what is in the cache; the logits of its last."""
        known, begun = self.allocator.token_ids(slot), self._clock()
        logits = self._session.prefill(slot, len(known), token_ids)
        known += token_ids
        took = self._clock() - begun
        self.costs.prefill.add_measurement(len(token_ids), took)
        self.totals.prefill_chunks += 1
        self.totals.read += len(token_ids)
        self.totals.read_s += took
        return logits

    def decode_step(self, slots: Sequence[int], tokens: Sequence[int]) -> Logits:
        """A token for each of these slots, in their order; those that lie between go along for nothing."""
        span = range(slots[0], slots[-1] + 1)
        ids = [0] * len(span)
        past = [len(self.allocator.token_ids(slot)) for slot in span]
        for slot, token in zip(slots, tokens, strict=True):
            ids[slot - span[0]] = token
        begun = self._clock()
        logits = self._session.decode_step(span[0], past, ids, [slot - span[0] for slot in slots])
        took = self._clock() - begun
        for slot, token in zip(slots, tokens, strict=True):
            self.allocator.token_ids(slot).append(token)
        self.totals.steps += 1
        self.totals.rows += len(span)
        self.totals.padding_rows += len(span) - len(slots)
        self.totals.step_s += took
        return logits

    def record_step(self, slots: Sequence[int], started_at: float) -> None:
        """A step of these slots is over, with all that was drawn from it: that too keeps the next one waiting."""
        self.costs.step.add_measurement(slots[-1] + 1 - slots[0], self._clock() - started_at)

    def copy_caches(self, copies: Sequence[CacheCopy]) -> None:
        for copy in copies:
            if not copy.length:
                continue
            self._session.copy_cache(copy.source, copy.target, copy.length)
            self.totals.copied += 1
