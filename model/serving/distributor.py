"""One engine for many answers: a pass at a time, for those whose paper runs out first.

Does what `deadlines` decides, in the thread of whoever calls it; the clock is given. Knows no event loop: what
was made lies in `made` until it is fetched.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from model.base import Piece
from model.prefix import shared
from model.serving import share
from model.serving.counters import Counters
from model.serving.deadlines import Line, Order, Read, Rest, plan, portion
from model.serving.passes import Logits, Passes, Slots
from model.serving.turn import Turn

STOPPED_S = 2.0  # without taking anything, and others wait for a row

Load = Piece | Exception | None  # None after the last


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
        self._passes = Passes(slots, clock)
        self._caches, self.tally = self._passes.caches, self._passes.tally
        self._clock, self._order = clock, order
        self._turns: dict[Line, Turn] = {}
        self._waiting: deque[Turn] = deque()
        self._parked: set[Turn] = set()  # whose readers have stopped, and others wanted the row
        self._heard: list[Heard] = []
        self._stepped = True  # the last pass was no piece of a prompt
        self.failed: Exception | None = None

    def counters(self) -> Counters:
        return self.tally.counters(active=len(self._turns), waiting=len(self._waiting), caches=self._caches.resting)

    # What it is told:

    def enter(self, turn: Turn) -> None:
        """One more answer is wanted."""
        if self.failed:
            self._end(turn, self.failed)
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
            self.failed = error
            self._drop(error)
            return inf

    @property
    def untaken(self) -> bool:
        """Whether somebody has not taken all that was made."""
        return bool(self._parked) or any(line.paper.untaken for line in self._turns)

    def _work(self) -> float:
        self._seat()
        now = self._clock()
        todo = plan(now, self._turns, self._passes.costs, self._order, self._stepped)
        if isinstance(todo, Read):
            self._read(self._turns[todo.line], todo.count)
        elif isinstance(todo, Rest):
            until = min(todo.until, now + STOPPED_S) if self._waiting else todo.until
            return now if self._read_ahead() else until
        elif not ((todo.early and self._read_ahead()) or self._close_up()):
            self._step([self._turns[line] for line in todo.lines])
        return now

    def _seat(self) -> None:
        """Rows for those who have waited for one, the most pressing first."""
        if self._waiting and len(self._turns) >= self.rows:
            self._park(self._clock())
        if self._waiting and len(self._turns) >= self.rows:
            self._share()
        while self._waiting and len(self._turns) < self.rows:
            turn = self._waiting[0]
            if self._order == "paper":
                now = self._clock()
                next_ = share.fewest({one.who for one in self._waiting}, self._held())
                due = [one for one in self._waiting if one.who in next_]
                turn = min(due, key=lambda one: one.line.paper.due(now))
            self._waiting.remove(turn)
            self._turns[turn.line] = turn
            self._passes.copy(self._caches.take(turn.line, turn.window, turn.conversation))
            self.tally.reused += self._turn_to(turn)

    def _held(self) -> Counter[str]:
        return Counter(turn.who for turn in self._turns.values())

    def _share(self) -> None:
        """The answer that came last of the key with too many rows waits for another, and its cache rests."""
        who = share.gives(self._held(), {one.who for one in self._waiting})
        if who is not None:
            turn = max((one for one in self._turns.values() if one.who == who), key=lambda one: one.line.paper.arrived)
            del self._turns[turn.line]
            self._caches.release(turn.line)
            self._waiting.append(turn)

    def _park(self, now: float) -> None:
        """Take their rows from those whose readers have stopped, until they read again; their caches rest."""
        for turn in list(self._turns.values()):
            paper = turn.line.paper
            if paper.untaken and (paper.made_at or now) + STOPPED_S <= now:
                self._parked.add(turn)
                del self._turns[turn.line]
                self._caches.release(turn.line)

    def _turn_to(self, turn: Turn) -> int:
        """Forget what the window does not begin with, and what comes last in it; how much of it is known.

        A token that is read alone comes out a little otherwise than as one of several: so that a text does not depend
        on what was known of it, none ever is.
        """
        known = self._caches.ids(turn.line.slot)
        kept = min(shared(known, turn.window), len(turn.window) - 1)
        kept -= turn.given - kept == 1 < turn.given
        self._caches.shorten(turn.line.slot, kept)
        turn.line.unread = max(1, turn.given - kept)
        return kept

    def _read(self, turn: Turn, count: int) -> None:
        known = len(self._caches.ids(turn.line.slot))
        logits = self._passes.read(turn.line.slot, turn.window[known : known + count])
        self._stepped = False
        turn.line.unread = max(1, turn.line.unread - count)
        if known + count == len(turn.window):
            self._say(turn, logits)

    def _step(self, turns: list[Turn]) -> None:
        """A token for each; of an answer that goes on, those that it had come to are taken again one by one."""
        at, begun = [turn.line.slot for turn in turns], self._clock()
        known = [len(self._caches.ids(slot)) for slot in at]
        logits = self._passes.step(at, [turn.window[have] for turn, have in zip(turns, known, strict=True)])
        self._stepped = True
        for turn, have, row in zip(turns, known, logits, strict=True):
            if have + 1 == len(turn.window):
                self._say(turn, row)
        self._passes.stepped(at, begun)

    def _say(self, turn: Turn, logits: Logits) -> None:
        """What goes wrong here is this answer's alone."""
        window = turn.window
        try:
            piece = turn.say(logits, self._clock())
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
        elif turn.window is not window:  # it was rolled
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
            self._passes.copy(copies)
            known = len(self._caches.ids(slot))
            if left := len(heard.ids) - known:
                if left == 1 < len(heard.ids):
                    self._caches.shorten(slot, known := known - 1)
                self._passes.read(slot, heard.ids[known : known + portion(len(heard.ids) - known)])
                heard.read += len(self._caches.ids(slot)) - len(heard.ids) + left
                return True
            self.forget(heard)
        return False

    def _close_up(self) -> bool:
        """Whether slots had to be moved, so that somebody may have been cut meanwhile."""
        copies = self._caches.close_up()
        self._passes.copy(copies)
        return bool(copies)
