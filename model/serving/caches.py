"""Which slot's cache belongs to whom, and what is in it. Pure: it says what to copy and moves nothing itself.

An answer holds a slot while it is made. Then its cache rests there, for the next turn of the conversation, until the
place is needed: what has rested longest goes first. What two texts begin with alike is copied rather than read again.
Those who hold slots are brought together in the low ones, because a step takes slots that lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.prefix import shared
from model.serving.deadlines import Line

WORTH = 8  # tokens: to read fewer takes less time than to copy them
LOOSE = 64  # of so many that are held one may lie apart
AT_ONCE = 8  # are moved between two passes: some milliseconds


@dataclass(frozen=True, slots=True)
class Copy:
    """The first `length` tokens of one slot's cache into another's."""

    source: int
    target: int
    length: int


@dataclass(slots=True)
class _Slot:
    ids: list[int]  # in its cache
    line: Line | None = None  # that holds it
    conversation: str = ""
    used: int = 0  # the higher the later


class Caches:
    """So many slots, all empty at first."""

    def __init__(self, count: int) -> None:
        self._slots = [_Slot([]) for _ in range(count)]
        self._held = self._uses = 0

    @property
    def resting(self) -> int:
        """How many caches wait for the next turn."""
        return sum(1 for slot in self._slots if slot.ids and not slot.line)

    def ids(self, slot: int) -> list[int]:
        """What is in the cache, to be added to by whoever writes there."""
        return self._slots[slot].ids

    def shorten(self, slot: int, length: int) -> None:
        del self._slots[slot].ids[length:]

    def take(self, line: Line, ids: Sequence[int], conversation: str) -> list[Copy]:
        """A slot for the line, with as much of these ids as can be had; at least one must be held by nobody.

        What is left of `ids` to read is what the slot's `ids` do not have.
        """
        at, copies = self._prepared(ids, conversation)
        self._slots[at].line, self._slots[at].conversation, line.slot = line, conversation, at
        self._held += 1
        return copies

    def find(self, ids: Sequence[int], conversation: str) -> tuple[int, list[Copy]] | None:
        """A slot for what is only read ahead, held by nobody after as before; None if all are held."""
        if self._held == len(self._slots):
            return None
        at, copies = self._prepared(ids, conversation)
        self._slots[at].conversation = conversation
        self._touch(at)
        return at, copies

    def release(self, line: Line, keep: bool = True) -> None:
        """The line is done; its cache rests, unless it is not to be kept."""
        slot = self._slots[line.slot]
        slot.line = None
        if not keep:
            slot.ids = []
        self._held -= 1
        self._touch(line.slot)
        line.slot = -1

    def close_up(self) -> list[Copy]:
        """Bring the slots that are held nearer together in the low ones, where many lie apart; a few at a time.

        A row that goes along for nothing costs each step as much as to copy two caches once does.
        """
        strays = [at for at in range(self._held, len(self._slots)) if self._slots[at].line]
        if len(strays) * LOOSE <= self._held:
            return []
        copies: list[Copy] = []
        holes = [at for at in range(self._held) if not self._slots[at].line]
        for stray, hole in zip(strays[::-1][:AT_ONCE], holes, strict=False):
            if self._slots[hole].ids and (place := self._oldest(self._held, self._slots[hole].used)) is not None:
                copies.append(self._move(hole, place))
            copies.append(self._move(stray, hole))
        return copies

    def _prepared(self, ids: Sequence[int], conversation: str) -> tuple[int, list[Copy]]:
        """A slot that nobody holds, its ids cut to what these begin with, and what to copy for that."""
        begun = [shared(slot.ids, ids) for slot in self._slots]
        home, source = self._home(begun, conversation), max(range(len(begun)), key=begun.__getitem__)
        self._slots[home].ids = self._slots[source].ids[: begun[source]]
        if begun[source] < begun[home] + WORTH:
            self._slots[home].ids = list(ids[: begun[home]])
            return home, []
        return home, [Copy(source, home, begun[source])]

    def _home(self, begun: Sequence[int], conversation: str) -> int:
        """The conversation's own cache, or one of which most can be used; else the one that has rested longest."""
        free = [at for at, slot in enumerate(self._slots) if not slot.line]
        own = [at for at in free if conversation and self._slots[at].conversation == conversation]
        best = max(own or free, key=begun.__getitem__)
        if own or 2 * begun[best] > max(len(self._slots[best].ids), 2 * WORTH):
            return best
        return min(free, key=self._age)

    def _oldest(self, first: int, before: int) -> int | None:
        """Of the slots from `first` on one that is empty, or has rested since before `before`."""
        free = [at for at in range(first, len(self._slots)) if not self._slots[at].line]
        oldest = min(free, key=self._age, default=None)
        return oldest if oldest is not None and self._age(oldest) < before else None

    def _age(self, at: int) -> int:
        return self._slots[at].used if self._slots[at].ids else -1

    def _move(self, source: int, target: int) -> Copy:
        slot = self._slots[target] = self._slots[source]
        self._slots[source] = _Slot([])
        if slot.line:
            slot.line.slot = target
        return Copy(source, target, len(slot.ids))

    def _touch(self, at: int) -> None:
        self._uses += 1
        self._slots[at].used = self._uses
