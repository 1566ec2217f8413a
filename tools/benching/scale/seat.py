"""One typist at one wheel, on the clock that jumps: what `lines.drive` does in earnest, and what the daemon does after.

Who is asked, and what the time is, the hall says. A stream that breaks off is asked for again as `model.far.standing`
has it, with what was said before, and the sentence goes on. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

from drivers.clock import CHARACTER_S
from model.base import Piece
from model.errors import ServerLost
from model.far.standing import Standing
from model.prefix import settled
from model.serving.distributor import Heard
from tools.benching.lines.figures import Line
from tools.benching.lines.typist import Turn, Typist
from tools.benching.scale.case import Case, Chance
from tools.benching.scale.replica import WORD, Replica, Said, ids


class Hall(Protocol):
    """Where a seat stands."""

    case: Case
    now: float

    def later(self, at: float, what: Callable[[], None]) -> None: ...

    def replica(self, conversation: str) -> Replica | None: ...

    def until_noticed(self, replica: Replica) -> float | None:
        """When it is known that it is dead; None where it lives."""
        ...

    def rouse(self, replica: Replica) -> None: ...


class Seat:
    def __init__(self, hall: Hall, name: str, chance: Chance) -> None:
        self.line, self.broken = Line(), 0
        self.name = name
        self._hall, self._chance, self._standing = hall, chance, Standing()
        self._typist = Typist(chance, room=len(WORD) * hall.case.context, turning=hall.case.turning)
        self._turn: Turn
        self._heard: tuple[Replica, Heard] | None = None
        self._words = self._got = 0
        self._came = 0.0

    def sit(self) -> None:
        """Think, type, press RETURN."""
        hall, turn = self._hall, self._typist.turn()
        self._turn = turn
        begun = hall.now + turn.think_s
        for after, text in turn.heard if hall.case.listening else ():
            hall.later(begun + after, partial(self._hear, text))
        hall.later(begun + turn.typing_s, self._ask)

    def _hear(self, text: str) -> None:
        """One at a time: while one is read, the next word waits for the one after it."""
        if self._heard is None and (replica := self._hall.replica(self.name)):
            self._heard = replica, Heard(ids(settled(text)), self.name, self._told)
            replica.hear(self._hall.now + self._hall.case.way_s, self._heard[1])
            self._hall.rouse(replica)

    def _told(self, read: int) -> None:
        self._heard = None

    def _ask(self) -> None:
        if self._heard is not None:
            replica, heard = self._heard
            replica.forget(self._hall.now, heard)
            self._hall.rouse(replica)
            self._heard = None
        self._words, self._got = ceil(self._turn.answer / len(WORD)), 0
        self.line.wheel.ask(self._hall.now)
        self._post()

    def _post(self) -> None:
        if (replica := self._hall.replica(self.name)) is None:
            self._lost(0.0)
        else:
            self._hall.later(self._hall.now + self._hall.case.way_s, lambda: self._enter(replica))

    def _enter(self, replica: Replica) -> None:
        hall = self._hall
        if (noticed := hall.until_noticed(replica)) is not None:
            hall.later(max(noticed, hall.now), lambda: self._lost(0.0))
        elif len(replica.lines) >= hall.case.places:
            self.line.errors.append((hall.now, "429"))
            self._lost(1.0)
        else:
            replica.enter(hall.now, self._said())
            hall.rouse(replica)

    def _said(self) -> Said:
        prompt, words, before = self._turn.prompt, self._words, self._got
        pace, now = 1 / CHARACTER_S, self._hall.now
        return Said(prompt, words, pace=pace, conversation=self.name, arrived=now, whose=self, before=before)

    def take(self, piece: Piece, at: float) -> None:
        """What was made by then comes here, some moments later."""
        case, wheel = self._hall.case, self.line.wheel
        came = max(self._came, at + case.way_s + case.unsteady_s * self._chance.random())
        self._came = came
        self._got += 1
        self._standing.answered()
        wheel.hand(came, len(piece.text), 1)
        if piece.finish:
            self._typist.answered(self._turn.prompt, self._words * WORD)
            self._hall.later(wheel.end(came) + self._turn.read_s, self.sit)

    def break_off(self) -> None:
        """The stream ends before the answer does."""
        self.broken += 1
        self._lost(0.0)

    def _lost(self, again_s: float) -> None:
        error = ServerLost("it does not answer")
        error.again_s = again_s
        self._standing.lost(error, self._hall.now, self._chance.random())
        self._hall.later(self._standing.not_before, self._post)
