"""Budgets of characters per hour and day, for each person and each source. Pure: the time is an argument.

What waits counts until it is struck, and what was struck counts for an hour and for a day. So no hour of paper has more
characters of a person than the budget, however long they waited; and what is cancelled costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from daemon.spool.job import Person

HOUR_S, DAY_S = 3600.0, 86_400.0
_GRAIN_S = 60.0  # strokes of one minute are kept as one entry, dated at the minute's end


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """Characters in any hour and any day; 0: no limit."""

    hour: int = 0
    day: int = 0

    @property
    def windows(self) -> Iterable[tuple[float, int]]:
        """Returns each window in seconds that has a limit, with that limit."""
        return [(window_s, limit) for window_s, limit in ((HOUR_S, self.hour), (DAY_S, self.day)) if limit]


@dataclass(slots=True)
class StruckCharacters:
    """Characters of one person that were struck until `at`. Those of an earlier run have the clock of that run."""

    at: float
    person: Person
    chars: int
    is_of_this_run: bool = True


class CharacterBudget:
    """The struck characters of the last day. A person is asked for by its key, a source by (source, "")."""

    def __init__(self) -> None:
        self.entries: list[StruckCharacters] = []
        self._open: dict[Person, StruckCharacters] = {}  # the entry of this minute

    def add_struck(self, now: float, person: Person, chars: int) -> None:
        end = (now // _GRAIN_S + 1) * _GRAIN_S
        entry = self._open.get(person)
        if entry is None or entry.at != end or not entry.is_of_this_run:
            entry = self._open[person] = StruckCharacters(end, person, 0)
            self.entries.append(entry)
        entry.chars += chars

    def restore(self, entry: StruckCharacters) -> None:
        """Adds an entry of an earlier run."""
        self.entries.append(entry)

    def prune(self, now: float) -> None:
        """Forgets what is older than a day."""
        self.entries = [entry for entry in self.entries if now - entry.at < DAY_S]
        self._open = {person: entry for person, entry in self._open.items() if now - entry.at < DAY_S}

    def forget(self, is_forgotten: Callable[[Person], bool]) -> None:
        """Removes the names of persons; what they had struck counts for their source still."""
        for entry in self.entries:
            if is_forgotten(entry.person):
                entry.person = entry.person[0], ""
        self._open.clear()

    def shift(self, seconds: float) -> None:
        """Moves the entries of this run, after a step of the clock."""
        for entry in self.entries:
            entry.at += seconds if entry.is_of_this_run else 0.0
        self._open.clear()

    def struck_in(self, now: float, person: Person, window_s: float) -> int:
        """Returns the characters of the last `window_s`. What has a later date, by a wrong clock, counts too."""
        return sum(entry.chars for entry in self._entries_of(person) if now - entry.at < window_s)

    def seconds_until(self, now: float, person: Person, limits: BudgetLimits, waiting: int, chars: int) -> float:
        """Returns in how many seconds a job of `chars` fits the budget: 0 now; infinity if it never does.

        `waiting`: characters of the person that are in the spool. As long as they are too many, the answer is the
        window, since the operator decides when they are struck.
        """
        return max((self._until(now, person, *window, waiting + chars, chars) for window in limits.windows), default=0)

    def _until(self, now: float, person: Person, window_s: float, limit: int, wanted: int, chars: int) -> float:
        if chars > limit:
            return float("inf")
        if wanted > limit:
            return window_s
        excess, seconds = self.struck_in(now, person, window_s) + wanted - limit, 0.0
        for entry in sorted(self._entries_of(person), key=lambda entry: entry.at):
            if excess > 0 and now - entry.at < window_s:
                excess -= entry.chars
                seconds = entry.at + window_s - now
        return seconds

    def _entries_of(self, person: Person) -> list[StruckCharacters]:
        source, name = person
        return [entry for entry in self.entries if entry.person == person or (not name and entry.person[0] == source)]
