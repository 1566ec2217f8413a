"""Decides which slot holds the KV cache of which answer. Pure: it returns the copies that the caller must make.

An answer holds a slot while it is generated. Then its cache stays there idle for the next turn of the conversation.
The least recently used cache is overwritten first. Held slots are moved together, because a decode step computes all
slots between its first and its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.generate.prefix_cache import common_prefix_length
from model.server.engine.scheduler import ScheduledSequence

MIN_COPY_TOKENS = 8  # computing fewer tokens takes less time than copying them
HELD_PER_STRAY = 64  # held slots for each held slot that may lie apart from them
MOVES_AT_ONCE = 8  # between two passes, so that the moves take a few milliseconds


@dataclass(frozen=True, slots=True)
class CacheCopy:
    """Copy the first `length` tokens of one slot's cache to another slot."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class _Slot:
    token_ids: list[int]  # in its cache
    holder: ScheduledSequence | None = None
    conversation: str = ""
    last_used: int = 0  # a counter; the highest is the latest


class SlotAllocator:
    """Holds `count` slots, all empty at first."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot([]) for _ in range(count)]
        self._held_count = self._use_count = 0

    @property
    def idle_count(self) -> int:
        """The number of caches that wait for the next turn of their conversation."""
        return sum(bool(slot.token_ids) and not slot.holder for slot in self._slots)

    def token_ids(self, slot: int) -> list[int]:
        """The token ids in the cache of a slot. The caller appends the tokens that it adds to the cache."""
        return self._slots[slot].token_ids

    def truncate(self, slot: int, length: int) -> None:
        del self._slots[slot].token_ids[length:]

    def acquire(self, sequence: ScheduledSequence, token_ids: Sequence[int], conversation: str) -> list[CacheCopy]:
        """Gives the sequence a free slot with as many of `token_ids` as possible. At least one slot must be free.

        The caller prefills the tokens that `self.token_ids(slot)` lacks.
        """
        slot, copies = self._prepare_slot(token_ids, conversation)
        self._slots[slot].holder, self._slots[slot].conversation = sequence, conversation
        sequence.slot = slot
        self._held_count += 1
        return copies

    def find_longer_prefix(self, slot: int, token_ids: Sequence[int], length: int) -> list[CacheCopy]:
        """The copy that gives a held slot more of `token_ids` than the `length` tokens that it has, if one does.

        Another answer may have prefilled the same prompt since the slot was acquired.
        """
        end = length + MIN_COPY_TOKENS
        next_tokens = token_ids[length:end]
        if len(next_tokens) < MIN_COPY_TOKENS:
            return []
        # Few slots have the same next tokens, so that few are compared as a whole.
        similar = [index for index, other in enumerate(self._slots) if other.token_ids[length:end] == next_tokens]
        lengths = {index: common_prefix_length(self._slots[index].token_ids, token_ids) for index in similar}
        source = max(lengths, key=lengths.__getitem__, default=slot)
        if lengths.get(source, 0) < end:
            return []
        self._slots[slot].token_ids = self._slots[source].token_ids[: lengths[source]]
        return [CacheCopy(source, slot, lengths[source])]

    def find_for_prefill(self, token_ids: Sequence[int], conversation: str) -> tuple[int, list[CacheCopy]] | None:
        """A slot in which to prefill a prompt ahead; the slot stays free. None if all slots are held."""
        if self._held_count == len(self._slots):
            return None
        slot, copies = self._prepare_slot(token_ids, conversation)
        self._slots[slot].conversation = conversation
        self._mark_used(slot)
        return slot, copies

    def can_continue_prefill(self, slot: int, token_ids: Sequence[int]) -> bool:
        """Whether the slot is free, and its cache begins these tokens and has nothing else."""
        if slot < 0 or self._slots[slot].holder:
            return False
        cached = self._slots[slot].token_ids
        return bool(cached) and cached == list(token_ids[: len(cached)])

    def is_cached(self, token_ids: Sequence[int], conversation: str) -> bool:
        """Whether a prefill is needless: a slot has all these tokens, and no free slot is the conversation's own."""
        if any(conversation and not slot.holder and slot.conversation == conversation for slot in self._slots):
            return False
        return any(common_prefix_length(slot.token_ids, token_ids) == len(token_ids) for slot in self._slots)

    def release(self, sequence: ScheduledSequence, keep_cache: bool = True) -> None:
        """Frees the slot of a sequence. Its cache stays idle, unless `keep_cache` is False."""
        slot = self._slots[sequence.slot]
        slot.holder = None
        if not keep_cache:
            slot.token_ids = []
        self._held_count -= 1
        self._mark_used(sequence.slot)
        sequence.slot = -1

    def compact(self) -> list[CacheCopy]:
        """Moves some held slots to low numbers, if many lie apart.

        An idle slot between two active ones costs every step about as much as copying two caches once.
        """
        strays = [index for index in range(self._held_count, len(self._slots)) if self._slots[index].holder]
        if len(strays) * HELD_PER_STRAY <= self._held_count:
            return []
        copies: list[CacheCopy] = []
        holes = [index for index in range(self._held_count) if not self._slots[index].holder]
        for stray, hole in zip(strays[::-1][:MOVES_AT_ONCE], holes, strict=False):
            if self._slots[hole].token_ids:  # an idle cache, which replaces an older one
                older = self._least_recently_used(self._held_count, self._slots[hole].last_used)
                if older is not None:
                    copies.append(self._move_cache(hole, older))
            copies.append(self._move_cache(stray, hole))
        return copies

    def _prepare_slot(self, token_ids: Sequence[int], conversation: str) -> tuple[int, list[CacheCopy]]:
        """Prepares a free slot with a common prefix of `token_ids`. Returns it, and the copy that it needs."""
        lengths = [common_prefix_length(slot.token_ids, token_ids) for slot in self._slots]
        target = self._choose_slot(lengths, conversation)
        source = max(range(len(lengths)), key=lengths.__getitem__)
        self._slots[target].token_ids = self._slots[source].token_ids[: lengths[source]]
        if lengths[source] < lengths[target] + MIN_COPY_TOKENS:
            self._slots[target].token_ids = list(token_ids[: lengths[target]])
            return target, []
        return target, [CacheCopy(source, target, lengths[source])]

    def _choose_slot(self, common_lengths: Sequence[int], conversation: str) -> int:
        """The conversation's slot, else a slot of which most can be reused, else the least recently used slot."""
        free = [index for index, slot in enumerate(self._slots) if not slot.holder]
        own = [index for index in free if conversation and self._slots[index].conversation == conversation]
        cached = [len(slot.token_ids) for slot in self._slots]
        best = max(own or free, key=lambda index: (common_lengths[index], -cached[index]))
        loses_nothing = 0 < common_lengths[best] == cached[best]
        if own or loses_nothing or 2 * common_lengths[best] > max(cached[best], 2 * MIN_COPY_TOKENS):
            return best
        return min(free, key=self._last_use)

    def _least_recently_used(self, first: int, used_before: int) -> int | None:
        """The least recently used free slot from `first` on, if it is empty or was last used before `used_before`."""
        free = [index for index in range(first, len(self._slots)) if not self._slots[index].holder]
        oldest = min(free, key=self._last_use, default=None)
        return oldest if oldest is not None and self._last_use(oldest) < used_before else None

    def _last_use(self, slot: int) -> int:
        return self._slots[slot].last_used if self._slots[slot].token_ids else -1

    def _move_cache(self, source: int, target: int) -> CacheCopy:
        slot = self._slots[target] = self._slots[source]
        self._slots[source] = _Slot([])
        if slot.holder:
            slot.holder.slot = target
        return CacheCopy(source, target, len(slot.token_ids))

    def _mark_used(self, slot: int) -> None:
        self._use_count += 1
        self._slots[slot].last_used = self._use_count
