"""Runs, times and counts the passes of the engine. It knows neither answers nor the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.server.engine.cost_model import PassCosts
from model.server.engine.counters import EngineCounters
from model.server.engine.slot_allocator import CacheCopy, SlotAllocator

Logits = NDArray[np.float32]


class SlotSession(Protocol):
    """A model with `count` caches side by side, each for `context` tokens. `BatchedSession` implements it."""

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
    """Runs the passes. After each one `allocator` has the tokens in the session's caches, and `costs` is updated."""

    def __init__(self, session: SlotSession, clock: Callable[[], float]) -> None:
        self.allocator, self.costs = SlotAllocator(session.count), PassCosts.initial_guess()
        self.totals = EngineCounters()
        self._session, self._clock = session, clock

    def prefill(self, slot: int, token_ids: Sequence[int]) -> Logits:
        """Appends a prefill chunk to a cache. Returns the logits [V] of its last token."""
        cached, started_at = self.allocator.token_ids(slot), self._clock()
        logits = self._session.prefill(slot, len(cached), token_ids)
        cached += token_ids
        seconds = self._clock() - started_at
        self.costs.prefill.add_measurement(len(token_ids), seconds)
        self.totals.prefill_chunks += 1
        self.totals.read += len(token_ids)
        self.totals.read_s += seconds
        return logits

    def decode_step(self, slots: Sequence[int], tokens: Sequence[int]) -> Logits:
        """Appends a token to each of these slots, in ascending order. The slots between them are padding rows."""
        span, new_tokens = range(slots[0], slots[-1] + 1), dict(zip(slots, tokens, strict=True))
        past_lengths = [len(self.allocator.token_ids(slot)) for slot in span]
        token_ids = [new_tokens.get(slot, 0) for slot in span]
        started_at = self._clock()
        logits = self._session.decode_step(span[0], past_lengths, token_ids, [slot - span[0] for slot in slots])
        seconds = self._clock() - started_at
        for slot, token in new_tokens.items():
            self.allocator.token_ids(slot).append(token)
        self.totals.steps += 1
        self.totals.rows += len(span)
        self.totals.padding_rows += len(span) - len(slots)
        self.totals.step_s += seconds
        return logits

    def record_step(self, slots: Sequence[int], started_at: float) -> None:
        """Updates the cost of a decode step, sampling included, because sampling delays the next pass."""
        self.costs.step.add_measurement(slots[-1] + 1 - slots[0], self._clock() - started_at)

    def copy_caches(self, copies: Sequence[CacheCopy]) -> None:
        for copy in copies:
            if copy.length:
                self._session.copy_cache(copy.source, copy.target, copy.length)
                self.totals.copied += 1
