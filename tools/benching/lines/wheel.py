"""One type wheel and the characters it has in hand: when it strikes, when it stands still. Pure, time an argument.

It strikes ten characters a second from the first one on and knows no letters, no server and no clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.clock import CHARACTER_S

STALL_S = 0.2  # so long past its time, and whoever sits there hears that a stroke is missing


@dataclass(frozen=True, slots=True)
class Stall:
    """The wheel stood still from `at` for so long, its answer unfinished."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """RETURN, the first strike and the last; without a first, nothing was struck."""

    asked: float
    first: float | None
    last: float
    characters: int


@dataclass(frozen=True, slots=True)
class Handed:
    """So many characters came `at` this moment; with them there is something to strike until `until`."""

    at: float
    until: float
    characters: int
    tokens: int

    def left(self, now: float) -> float:
        """Characters in hand at a later moment, if nothing comes before it."""
        return max(0.0, (self.until - now) / CHARACTER_S)


class Wheel:
    """One answer after the other. What happened is in `answers`, `stalls` and `handed`, oldest first."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.stalls: list[Stall] = []
        self._handed = array("d")  # four numbers each: so many objects would keep the collector busy
        self._asked: float | None = None  # while an answer is unfinished
        self._first: float | None = None
        self._until = 0.0
        self._characters = 0

    def ask(self, at: float) -> None:
        """RETURN was pressed."""
        self._asked, self._first, self._characters = at, None, 0

    @property
    def handed(self) -> Iterator[Handed]:
        for at in range(0, len(self._handed), 4):
            moment, until, characters, tokens = self._handed[at : at + 4]
            yield Handed(moment, until, int(characters), int(tokens))

    def hand(self, at: float, characters: int, tokens: int = 0) -> None:
        """Characters of the answer are there, behind those in hand."""
        if not characters:
            return
        if self._first is None:
            self._first = self._until = at
        self._stand(at)
        self._until = max(self._until, at) + characters * CHARACTER_S
        self._characters += characters
        self._handed.extend((at, self._until, characters, tokens))

    def end(self, at: float) -> float:
        """The answer is over; when its last character has been struck."""
        self._stand(at)
        last = max(at, self._until) if self._first is not None else at
        if self._asked is not None:
            self.answers.append(Answer(self._asked, self._first, last, self._characters))
        self._asked = None
        return last

    def leave(self, at: float) -> None:
        """Nobody looks any more; what stands still by now, stands still."""
        self._stand(at)

    def waits_since(self) -> float | None:
        """When RETURN was pressed, where nothing has been struck after it."""
        return None if self._first is not None else self._asked

    def in_hand(self, at: float) -> float:
        """Characters not struck yet."""
        return max(0.0, (self._until - at) / CHARACTER_S)

    def _stand(self, at: float) -> None:
        """A stall, if the stroke that was due is late by now."""
        if self._asked is not None and self._first is not None and at - self._until > STALL_S:
            self.stalls.append(Stall(self._until, at - self._until))
