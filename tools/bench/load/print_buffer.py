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

    started_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PrintedAnswer:
    """RETURN, the first strike and the last; without a first, nothing was struck."""

    requested_at: float
    first_strike_at: float | None
    last_strike_at: float
    characters: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """So many characters came `at` this moment; with them there is something to strike until `until`."""

    delivered_at: float
    printed_until: float
    characters: int
    tokens: int

    def chars_left(self, now: float) -> float:
        """Characters in hand at a later moment, if nothing comes before it."""
        return max(0.0, (self.printed_until - now) / CHARACTER_S)


class PrintBuffer:
    """One answer after the other. What happened is in `answers`, `stalls` and `handed`, oldest first."""

    def __init__(self) -> None:
        self.answers: list[PrintedAnswer] = []
        self.stalls: list[Stall] = []
        self._deliveries = array("d")  # four numbers each: so many objects would keep the collector busy
        self._requested_at: float | None = None  # while an answer is unfinished
        self._first_strike_at: float | None = None
        self._printed_until = 0.0
        self._characters = 0

    def begin_answer(self, at: float) -> None:
        """RETURN was pressed."""
        self._requested_at, self._first_strike_at, self._characters = at, None, 0

    @property
    def deliveries(self) -> Iterator[Delivery]:
        for at in range(0, len(self._deliveries), 4):
            moment, until, characters, tokens = self._deliveries[at : at + 4]
            yield Delivery(moment, until, int(characters), int(tokens))

    def deliver(self, at: float, characters: int, tokens: int = 0) -> None:
        """Characters of the answer are there, behind those in hand."""
        if not characters:
            return
        if self._first_strike_at is None:
            self._first_strike_at = self._printed_until = at
        self._note_stall(at)
        self._printed_until = max(self._printed_until, at) + characters * CHARACTER_S
        self._characters += characters
        self._deliveries.extend((at, self._printed_until, characters, tokens))

    def end_answer(self, at: float) -> float:
        """The answer is over; when its last character has been struck."""
        self._note_stall(at)
        last = max(at, self._printed_until) if self._first_strike_at is not None else at
        if self._requested_at is not None:
            self.answers.append(PrintedAnswer(self._requested_at, self._first_strike_at, last, self._characters))
        self._requested_at = None
        return last

    def close(self, at: float) -> None:
        """Nobody looks any more; what stands still by now, stands still."""
        self._note_stall(at)

    def waiting_since(self) -> float | None:
        """When RETURN was pressed, where nothing has been struck after it."""
        return None if self._first_strike_at is not None else self._requested_at

    def chars_buffered(self, at: float) -> float:
        """Characters not struck yet."""
        return max(0.0, (self._printed_until - at) / CHARACTER_S)

    def _note_stall(self, at: float) -> None:
        """A stall, if the stroke that was due is late by now."""
        if self._requested_at is not None and self._first_strike_at is not None and at - self._printed_until > STALL_S:
            self.stalls.append(Stall(self._printed_until, at - self._printed_until))
