"""The print buffer of one simulated Teletype: when it prints, and when it is empty. Pure; the time is an argument.

The Teletype prints ten characters per second from the first one on. The buffer knows no text, no server and no clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.clock import CHARACTER_S

STALL_S = 0.2  # a listener notices a pause of this length


@dataclass(frozen=True, slots=True)
class Stall:
    """A pause of the printer in the middle of an answer."""

    started_at: float
    seconds: float

    @property
    def ended_at(self) -> float:
        return self.started_at + self.seconds


@dataclass(frozen=True, slots=True)
class PrintedAnswer:
    """The moments of RETURN, of the first character (None: nothing was printed) and of the last."""

    requested_at: float
    first_strike_at: float | None
    last_strike_at: float
    characters: int

    @property
    def wait_s(self) -> float | None:
        return None if self.first_strike_at is None else self.first_strike_at - self.requested_at


@dataclass(frozen=True, slots=True)
class Delivery:
    """Characters that came at a moment; with them the buffer lasts until `printed_until`."""

    delivered_at: float
    printed_until: float
    characters: int
    tokens: int

    def chars_left(self, now: float) -> float:
        """Returns the buffered characters at a later moment, if no more come before."""
        return max(0.0, (self.printed_until - now) / CHARACTER_S)


class PrintBuffer:
    """Prints one answer after the other. `answers`, `stalls` and `deliveries` are the history, oldest first."""

    def __init__(self) -> None:
        self.answers: list[PrintedAnswer] = []
        self.stalls: list[Stall] = []
        self._deliveries = array("d")  # four numbers each: many objects would keep the garbage collector busy
        self._requested_at: float | None = None  # set until the answer ends
        self._first_strike_at: float | None = None
        self._printed_until = 0.0
        self._characters = 0

    def begin_answer(self, at: float) -> None:
        """The user presses RETURN."""
        self._requested_at, self._first_strike_at, self._characters = at, None, 0

    @property
    def deliveries(self) -> Iterator[Delivery]:
        for start in range(0, len(self._deliveries), 4):
            moment, until, characters, tokens = self._deliveries[start : start + 4]
            yield Delivery(moment, until, int(characters), int(tokens))

    def deliver(self, at: float, characters: int, tokens: int = 0) -> None:
        """Adds characters of the answer to the buffer."""
        if not characters:
            return
        if self._first_strike_at is None:
            self._first_strike_at = self._printed_until = at
        self._note_stall(at)
        self._printed_until = max(self._printed_until, at) + characters * CHARACTER_S
        self._characters += characters
        self._deliveries.extend((at, self._printed_until, characters, tokens))

    def end_answer(self, at: float) -> float:
        """Ends the answer; returns when its last character is printed."""
        self._note_stall(at)
        last = max(at, self._printed_until) if self._first_strike_at is not None else at
        if self._requested_at is not None:
            self.answers.append(PrintedAnswer(self._requested_at, self._first_strike_at, last, self._characters))
        self._requested_at = None
        return last

    def close(self, at: float) -> None:
        """Ends the observation; a stall that is not over counts until now."""
        self._note_stall(at)

    def waiting_since(self) -> float | None:
        """Returns the moment of RETURN if nothing has been printed since."""
        return None if self._first_strike_at is not None else self._requested_at

    def _note_stall(self, at: float) -> None:
        """Records a stall if the next character is late."""
        is_printing = self._requested_at is not None and self._first_strike_at is not None
        if is_printing and at - self._printed_until > STALL_S:
            self.stalls.append(Stall(self._printed_until, at - self._printed_until))
