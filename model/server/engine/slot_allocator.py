"""Which slot's cache belongs to whom, and what is in it. Pure: it says what to copy and moves nothing itself.

An answer holds a slot while it is made. Then its cache rests there, for the next turn of the conversation, until the
place is needed: what has rested longest goes first. What two texts begin with alike is copied rather than read again.
Those who hold slots are brought together in the low ones, because a step takes slots that lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.generate.prefix_cache import common_prefix_length
from model.server.engine.scheduler import ScheduledSequence

MIN_COPY_TOKENS = 8  # tokens: to read fewer takes less time than to copy them
HELD_PER_STRAY = 64  # of so many that are held one may lie apart
MOVES_AT_ONCE = 8  # are moved between two passes: some milliseconds


@dataclass(frozen=True, slots=True)
class CacheCopy:
    """The first `length` tokens of one slot's cache into another's."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class _Slot:
    token_ids: list[int]  # in its cache
    holder: ScheduledSequence | None = None  # that holds it
    conversation: str = ""
    last_used: int = 0  # the higher the later


class SlotAllocator:
    """So many slots, all empty at first."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot([]) for _ in range(count)]
        self._held_count = self._use_count = 0

    @property
    def idle_count(self) -> int:
        """How many caches wait for the next turn."""
        return sum(1 for slot in self._slots if slot.token_ids and not slot.holder)

    def token_ids(self, slot: int) -> list[int]:
        """What is in the cache, to be added to by whoever writes there."""
        return self._slots[slot].token_ids

    def truncate(self, slot: int, length: int) -> None:
        del self._slots[slot].token_ids[length:]

    def acquire(self, sequence: ScheduledSequence, token_ids: Sequence[int], conversation: str) -> list[CacheCopy]:
        """A slot for the line, with as much of these ids as can be had; at least one must be held by nobody.

        What is left of `ids` to read is what the slot's `ids` do not have.
        """
        at, copies = self._prepare_slot(token_ids, conversation)
        self._slots[at].holder, self._slots[at].conversation, sequence.slot = sequence, conversation, at
        self._held_count += 1
        return copies

    def find_for_prefill(self, token_ids: Sequence[int], conversation: str) -> tuple[int, list[CacheCopy]] | None:
        """A slot for what is only read ahead, held by nobody after as before; None if all are held."""
        if self._held_count == len(self._slots):
            return None
        at, copies = self._prepare_slot(token_ids, conversation)
        self._slots[at].conversation = conversation
        self._mark_used(at)
        return at, copies

    def release(self, sequence: ScheduledSequence, keep_cache: bool = True) -> None:
        """The line is done; its cache rests, unless it is not to be kept."""
        slot = self._slots[sequence.slot]
        slot.holder = None
        if not keep_cache:
            slot.token_ids = []
        self._held_count -= 1
        self._mark_used(sequence.slot)
        sequence.slot = -1

    def compact(self) -> list[CacheCopy]:
        """Bring the slots that are held nearer together in the low ones, where many lie apart; a few at a time.

        A row that goes along for nothing costs each step as much as to copy two caches once does.
        """
        strays = [at for at in range(self._held_count, len(self._slots)) if self._slots[at].holder]
        if len(strays) * HELD_PER_STRAY <= self._held_count:
            return []
        copies: list[CacheCopy] = []
        holes = [at for at in range(self._held_count) if not self._slots[at].holder]
        for stray, hole in zip(strays[::-1][:MOVES_AT_ONCE], holes, strict=False):
            if (
                self._slots[hole].token_ids
                and (place := self._least_recently_used(self._held_count, self._slots[hole].last_used)) is not None
            ):
                copies.append(self._move_cache(hole, place))
            copies.append(self._move_cache(stray, hole))
        return copies

    def _prepare_slot(self, token_ids: Sequence[int], conversation: str) -> tuple[int, list[CacheCopy]]:
        """A slot that nobody holds, its ids cut to what these begin with, and what to copy for that."""
        begun = [common_prefix_length(slot.token_ids, token_ids) for slot in self._slots]
        home, source = self._choose_slot(begun, conversation), max(range(len(begun)), key=begun.__getitem__)
        self._slots[home].token_ids = self._slots[source].token_ids[: begun[source]]
        if begun[source] < begun[home] + MIN_COPY_TOKENS:
            self._slots[home].token_ids = list(token_ids[: begun[home]])
            return home, []
        return home, [CacheCopy(source, home, begun[source])]

    def _choose_slot(self, common_lengths: Sequence[int], conversation: str) -> int:
        """The conversation's own cache, or one of which most can be used; else the one that has rested longest."""
        free = [at for at, slot in enumerate(self._slots) if not slot.holder]
        own = [at for at in free if conversation and self._slots[at].conversation == conversation]
        best = max(own or free, key=common_lengths.__getitem__)
        if own or 2 * common_lengths[best] > max(len(self._slots[best].token_ids), 2 * MIN_COPY_TOKENS):
            return best
        return min(free, key=self._last_use)

    def _least_recently_used(self, first: int, used_before: int) -> int | None:
        """Of the slots from `first` on one that is empty, or has rested since before `before`."""
        free = [at for at in range(first, len(self._slots)) if not self._slots[at].holder]
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
