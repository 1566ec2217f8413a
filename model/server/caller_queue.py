"""The queue of `/say`: who may have an answer now, and the place in line of the callers who are sent away. Pure.

No connection waits. A caller gets an answer at once, or a place and the seconds after which to ask again. When they
are over, an answer is kept free for the caller for some seconds; for a caller who came back in vain it is kept free
from then on. A place whose caller does not come back is given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

GRACE_S = 5.0  # for which a place waits for its caller
MAX_PLACES = 4096  # remembered at once
FIRST_ANSWER_S = 4.0  # assumed until answers were measured
MAX_RETRY_S = 120
_NEW_SHARE = 0.2  # of the newest answer in the mean time


class QueueFull(Exception):
    """The caller is sent away; `place` is 1 for the next in line. `own_limit`: the caller has so many answers open."""

    def __init__(self, place: int, retry_after_s: int, *, own_limit: int = 0) -> None:
        super().__init__(f"number {place} in line, in {retry_after_s} s")
        self.place, self.retry_after_s, self.own_limit = place, retry_after_s, own_limit


@dataclass(slots=True, eq=False)
class _Place:
    caller: str
    due_at: float
    has_returned: bool = False

    def keeps_free(self, now: float) -> bool:
        """Whether an answer is kept free for the caller."""
        return self.has_returned or self.due_at <= now


class CallerQueue:
    """At most `max_open` answers at once, and `per_caller` of one caller. A caller is an API key or an address."""

    def __init__(self, max_open: int, per_caller: int, clock: Callable[[], float]) -> None:
        self.max_open, self._per_caller, self._clock = max_open, per_caller, clock
        self._open: Counter[str] = Counter()
        self._places: list[_Place] = []
        self._mean_s = FIRST_ANSWER_S

    @property
    def open_count(self) -> int:
        return self._open.total()

    @contextmanager
    def enter(self, caller: str, *, is_closed: bool = False) -> Iterator[None]:
        """Counts an open answer of the caller until the block ends. Raises QueueFull.

        While the queue `is_closed` each caller gets a place in line.
        """
        started_at = self._clock()
        self._admit(caller, started_at, is_closed)
        self._open[caller] += 1
        try:
            yield
            self._mean_s += _NEW_SHARE * (self._clock() - started_at - self._mean_s)
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _admit(self, caller: str, now: float, is_closed: bool) -> None:
        self._places = [place for place in self._places if now < place.due_at + GRACE_S]
        own = next((place for place in self._places if place.caller == caller and place.keeps_free(now)), None)
        has_own_room = self._open[caller] < self._per_caller
        if has_own_room and not is_closed and self.open_count + self._count_kept_free(own, now) < self.max_open:
            if own:
                self._places.remove(own)
            return
        place = self._place_of(caller, own)
        retry_after_s = min(MAX_RETRY_S, max(1, ceil(place * self._mean_s / self.max_open)))
        if own:
            own.due_at, own.has_returned = now + retry_after_s, True
        elif len(self._places) < MAX_PLACES:
            self._places.append(_Place(caller, now + retry_after_s))
        raise QueueFull(place, retry_after_s, own_limit=0 if has_own_room else self._per_caller)

    def _count_kept_free(self, own: _Place | None, now: float) -> int:
        """The answers that are kept free for places before this one; for a caller no more than it may still have."""
        kept: Counter[str] = Counter()
        for place in self._places:
            if place is own:
                break
            kept[place.caller] += place.keeps_free(now)
        return sum(min(count, max(0, self._per_caller - self._open[other])) for other, count in kept.items())

    def _place_of(self, caller: str, own: _Place | None) -> int:
        """The number in line. Of each other caller no more places count than it may have answers at once."""
        before: Counter[str] = Counter()
        for place in self._places:
            if place is own:
                break
            before[place.caller] += 1
        return 1 + sum(count if other == caller else min(count, self._per_caller) for other, count in before.items())
