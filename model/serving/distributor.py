"""One engine for many answers: a pass at a time, for those whose paper runs out first.

Does what `deadlines` decides, in the thread of whoever calls it; the clock is given. Knows no event loop: what
was made lies in `made` until it is fetched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.base import Piece
from model.prefix import CHUNK
from model.serving.caches import Caches, Copy
from model.serving.counters import Counters, Tally
from model.serving.deadlines import Costs, Line, Order, Read, Rest, plan
from model.serving.turn import Turn

STOPPED_S = 2.0  # without taking anything, and others wait for a row

Logits = NDArray[np.float32]
Load = Piece | Exception | None  # None after the last


class Slots(Protocol):
    """What is asked of the engine: `count` caches side by side, of `context` tokens each."""

    @property
    def context(self) -> int: ...

    @property
    def count(self) -> int: ...

    def read(self, slot: int, past: int, ids: Sequence[int]) -> Logits: ...

    def step(self, first: int, past: Sequence[int], ids: Sequence[int], wanted: Sequence[int]) -> Logits: ...

    def copy(self, source: int, target: int, length: int) -> None: ...


@dataclass(eq=False, slots=True)
class Heard:
    """A prompt to be read ahead when there is nothing better to do; `told` how many of its tokens were read."""

    ids: list[int]
    conversation: str
    told: Callable[[int], None]
    read: int = field(default=0)


class Distributor:
    """The answers that are being made, those that wait for a row, and the caches of those that were."""

    def __init__(self, slots: Slots, *, rows: int, clock: Callable[[], float], order: Order = "paper") -> None:
        self.rows = min(rows, slots.count)
        self.made: list[tuple[Turn, Load]] = []
        self.tally = Tally()
        self._slots, self._clock, self._order = slots, clock, order
        self._caches = Caches(slots.count)
        self._costs = Costs.guessed()
        self._turns: dict[Line, Turn] = {}
        self._waiting: deque[Turn] = deque()
        self._parked: set[Turn] = set()  # whose readers have stopped, and others wanted the row
        self._heard: list[Heard] = []
        self._stepped = True  # the last pass was no piece of a prompt
        self._failed: Exception | None = None

    def counters(self) -> Counters:
        return self.tally.counters(active=len(self._turns), waiting=len(self._waiting), caches=self._caches.resting)

    # What it is told:

    def enter(self, turn: Turn) -> None:
        """One more answer is wanted."""
        if self._failed:
            self._end(turn, self._failed)
        elif last := turn.finished(self._clock()):
            self.made.append((turn, last))
            self._end(turn, None)
        else:
            self._forget(turn.conversation)
            self._waiting.append(turn)

    def took(self, turn: Turn, at: float, characters: int) -> None:
        """Its reader has these characters now."""
        still = turn.line.paper.took(at, characters)
        self.tally.dry += still > 0
        self.tally.dry_s += still
        if turn in self._parked:
            self._parked.remove(turn)
            self._waiting.append(turn)

    def cut(self, turn: Turn) -> None:
        """Its reader is gone: it is in no pass from here on, and its cache waits for the next turn."""
        if turn.line in self._turns:
            self.tally.cut += 1
            self._leave(turn)
        elif turn in self._waiting:
            self._waiting.remove(turn)
            self.tally.cut += 1
        elif turn in self._parked:
            self._parked.remove(turn)
            self.tally.cut += 1

    def hear(self, heard: Heard) -> None:
        """So far has a prompt been typed; what was heard of this conversation before is forgotten."""
        self._forget(heard.conversation)
        self._heard.append(heard)

    def forget(self, heard: Heard) -> None:
        """It is read no further."""
        if heard in self._heard:
            self._heard.remove(heard)
            heard.told(heard.read)

    def end(self) -> None:
        """All that is being made ends here."""
        self._drop(None)

    # What it does:

    def work(self) -> float:
        """One pass, or none: the moment at which to come back if nothing is told before, which may be now."""
        try:
            return self._work()
        except Exception as error:  # of the engine, and so of everybody
            self._failed = error
            self._drop(error)
            return inf

    @property
    def untaken(self) -> bool:
        """Whether somebody has not taken all that was made."""
        return bool(self._parked) or any(line.paper.untaken for line in self._turns)

    def _work(self) -> float:
        self._seat()
        now = self._clock()
        todo = plan(now, self._turns, self._costs, self._order, self._stepped)
        if isinstance(todo, Read):
            self._read(self._turns[todo.line], todo.count)
        elif isinstance(todo, Rest):
            until = min(todo.until, now + STOPPED_S) if self._waiting else todo.until
            return now if self._read_ahead() else until
        elif not self._close_up():
            self._step([self._turns[line] for line in todo.lines])
        return now

    def _seat(self) -> None:
        """Rows for those who have waited for one, the most pressing first."""
        if self._waiting and len(self._turns) >= self.rows:
            self._park(self._clock())
        while self._waiting and len(self._turns) < self.rows:
            turn = self._waiting[0]
            if self._order == "paper":
                now = self._clock()
                turn = min(self._waiting, key=lambda one: one.line.paper.due(now))
            self._waiting.remove(turn)
            self._turns[turn.line] = turn
            self._copy(self._caches.take(turn.line, turn.window, turn.conversation))
            self._turn_to(turn, at_first=True)

    def _park(self, now: float) -> None:
        """Take their rows from those whose readers have stopped, until they read again; their caches rest."""
        for turn in list(self._turns.values()):
            paper = turn.line.paper
            if paper.untaken and (paper.made_at or now) + STOPPED_S <= now:
                self._parked.add(turn)
                del self._turns[turn.line]
                self._caches.release(turn.line)

    def _turn_to(self, turn: Turn, at_first: bool = False) -> None:
        """Forget what the window does not begin with; the last of it is read again if all is known."""
        line, known = turn.line, self._caches.ids(turn.line.slot)
        if known != turn.window[: len(known)] or len(known) >= len(turn.window):
            self._caches.shorten(line.slot, _alike(known, turn.window))
        line.unread = len(turn.window) - len(known)
        self.tally.reused += len(known) if at_first else 0

    def _read(self, turn: Turn, count: int) -> None:
        known = self._caches.ids(turn.line.slot)
        logits = self._piece(turn.line.slot, turn.window[len(known) : len(known) + count])
        self._stepped = False
        turn.line.unread -= count
        if not turn.line.unread:
            self._say(turn, logits, self._clock())

    def _piece(self, slot: int, ids: list[int]) -> Logits:
        known, begun = self._caches.ids(slot), self._clock()
        logits = self._slots.read(slot, len(known), ids)
        known += ids
        took = self._clock() - begun
        self._costs.piece.measured(len(ids), took)
        self.tally.pieces += 1
        self.tally.read += len(ids)
        self.tally.read_s += took
        return logits

    def _step(self, turns: list[Turn]) -> None:
        """A token for each, of slots that lie side by side; those between them go along for nothing."""
        at = [turn.line.slot for turn in turns]
        span = range(at[0], at[-1] + 1)
        ids = [0] * len(span)
        past = [len(self._caches.ids(slot)) for slot in span]
        for turn, slot in zip(turns, at, strict=True):
            ids[slot - span[0]] = turn.window[-1]
        begun = self._clock()
        logits = self._slots.step(span[0], past, ids, [slot - span[0] for slot in at])
        now = self._clock()
        self._costs.step.measured(len(span), now - begun)
        self._stepped = True
        self.tally.steps += 1
        self.tally.stepped += len(span)
        self.tally.along += len(span) - len(turns)
        self.tally.step_s += now - begun
        for turn, row in zip(turns, logits, strict=True):
            self._caches.ids(turn.line.slot).append(turn.window[-1])
            self._say(turn, row, now)

    def _say(self, turn: Turn, logits: Logits, now: float) -> None:
        """What goes wrong here is this answer's alone."""
        try:
            piece = turn.say(logits, now)
        except Exception as error:
            self._leave(turn, keep=False)
            self._end(turn, error)
            return
        self.tally.tokens += 1
        if piece:
            self.made.append((turn, piece))
        if piece and piece.finish:
            self._leave(turn)
            self._end(turn, None)
        else:
            self._turn_to(turn)

    def _leave(self, turn: Turn, keep: bool = True) -> None:
        del self._turns[turn.line]
        self._caches.release(turn.line, keep)

    def _forget(self, conversation: str) -> None:
        for heard in [one for one in self._heard if conversation and one.conversation == conversation]:
            self.forget(heard)

    def _drop(self, error: Exception | None) -> None:
        for turn in [*self._turns.values(), *self._waiting, *self._parked]:
            self._end(turn, error)
        self._turns, self._waiting, self._parked = {}, deque(), set()
        for heard in list(self._heard):
            self.forget(heard)

    def _end(self, turn: Turn, error: Exception | None) -> None:
        self.tally.failed += error is not None
        self.tally.finished += error is None
        self.made.append((turn, error))

    def _read_ahead(self) -> bool:
        """A piece of what was heard last; False if there is nothing to read."""
        while self._heard:
            heard = self._heard[-1]
            found = self._caches.find(heard.ids, heard.conversation)
            if found is None:
                return False
            slot, copies = found
            self._copy(copies)
            known = len(self._caches.ids(slot))
            if part := heard.ids[known : known + CHUNK]:
                self._piece(slot, part)
                heard.read += len(part)
                return True
            self.forget(heard)
        return False

    def _close_up(self) -> bool:
        """Whether slots had to be moved, so that somebody may have been cut meanwhile."""
        copies = self._caches.close_up()
        self._copy(copies)
        return bool(copies)

    def _copy(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            self._slots.copy(copy.source, copy.target, copy.length)
            self.tally.copied += 1


def _alike(known: list[int], window: list[int]) -> int:
    """How much of the cache can stay; the last token of a window is read in any case, for what comes after it."""
    at = 0
    for one, other in zip(known, window[:-1], strict=False):
        if one != other:
            break
        at += 1
    return at
