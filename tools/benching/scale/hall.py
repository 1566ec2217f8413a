"""Many lines on many replicas, event by event: who is sent where, who dies, who comes, what the wheels do meanwhile.

Replicas are reached as Ray Serve does it: by the ring, to the next where one is full, and to none that is known to be
dead. Pure: chance comes from outside, and the same chance gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from heapq import heappop, heappush
from math import inf
from typing import cast

from tools.benching.lines.figures import Line, Span, grown
from tools.benching.scale.autoscaler import Autoscaler
from tools.benching.scale.case import Case, Chance
from tools.benching.scale.engines import Engine
from tools.benching.scale.guests import Guests
from tools.benching.scale.replica import Replica
from tools.benching.scale.ring import Ring
from tools.benching.scale.seat import Seat


class Hall:
    """All of it; `run` once."""

    def __init__(self, case: Case, engine: Engine, chance: Callable[[str], Chance]) -> None:
        """`chance` for what has this name."""
        self.case, self.now = case, 0.0
        self.moved = 0  # answers that went on at another replica
        self.count: list[tuple[float, int]] = []  # how many replicas there were, from when on
        self.dead: dict[Replica, float] = {}  # and when that was known
        self.all: list[Replica] = []
        self._engine, self._chance, self._chance_of = engine, chance("the hall"), chance
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._pushed = self._made = 0
        self._open: dict[str, Replica] = {}
        names = [f"replica {number}" for number in range(case.replicas)]
        kept = names[: case.sample] if 0 < case.sample < case.replicas else names
        self._ring = Ring(names)
        for name in kept:
            self._add(name)
        self._made = len(names)
        self.seats = self._seated(set(kept) if len(kept) < len(names) else None, chance)
        self._done_before: dict[str, float] = {}
        self.before = [0.0] * len(self.all)  # seconds that each had worked when what counts began
        self._scaler = Autoscaler(case) if case.most else None

    def _seated(self, kept: set[str] | None, chance: Callable[[str], Chance]) -> list[Seat]:
        seats = []
        for number in range(self.case.lines):
            name = f"line-{self.case.seed}-{number}"
            if kept is None or self._ring.home(name) in kept:
                seats.append(Seat(self, name, chance(name)))
                self.later(self.case.sitting_s * number / self.case.lines, seats[-1].sit)
        return seats

    def run(self) -> tuple[list[Line], Span]:
        """To its end: each line, and the time that counts."""
        case = self.case
        span = Span(case.warm_up_s, case.warm_up_s + case.seconds)
        for death in case.deaths:
            self.later(span.begun + death, self._die)
        if self._scaler:
            self.later(self._scaler.tick_s, self._scale)
        self._until(span.begun)
        self.before = [one.busy_s for one in self.all]
        self._done_before = self._done()
        self._until(span.ended)
        for seat in self.seats:
            seat.line.wheel.leave(span.ended)
        return [seat.line for seat in self.seats], span

    def busy(self, span: Span) -> list[float]:
        """Which part of the time each replica was at work that was there from first to last."""
        there = zip(self.all, self.before, strict=False)
        return [(one.busy_s - before) / span.seconds for one, before in there if one not in self.dead]

    def done(self) -> dict[str, float]:
        """What all replicas together did in the time that counts, by the names of `model.serving.counters`."""
        return grown(self._done_before, self._done())

    def _done(self) -> dict[str, float]:
        each = [asdict(one.counters()) for one in self.all]
        return {name: sum(one[name] for one in each) for name in each[0]} if each else {}

    def later(self, at: float, what: Callable[[], None]) -> None:
        self._pushed += 1
        heappush(self._events, (at, self._pushed, what))

    def replica(self, conversation: str) -> Replica | None:
        """Who has it, or the next that has room; None while there is none."""
        if len(self._open) == 1:
            return next(iter(self._open.values()))
        if (first := self._open.get(self._ring.home(conversation))) and len(first.lines) < 4 * self.case.target:
            return first
        ranked = [self._open[name] for name in self._ring.ranked(conversation) if name in self._open]
        room = (one for one in ranked if len(one.lines) < 4 * self.case.target)
        return next(room, ranked[0] if ranked else None)

    def home(self, conversation: str) -> str:
        """Whose it is by the ring as it now is."""
        return self._ring.home(conversation)

    def until_noticed(self, replica: Replica) -> float | None:
        return self.dead.get(replica)

    def rouse(self, replica: Replica) -> None:
        """It may have been told something."""
        if replica.wakes < inf and replica not in self.dead:
            at = replica.wakes
            self.later(at, lambda: self._work(replica, at))

    def _until(self, end: float) -> None:
        events = self._events
        while events and events[0][0] < end:
            self.now, _, what = heappop(events)
            what()

    def _work(self, replica: Replica, at: float) -> None:
        if replica.wakes != at or replica in self.dead:
            return  # it was roused before that
        over, handed = replica.work(at)
        for turn, piece in handed:
            cast(Seat, turn.whose).take(piece, over)
        self.rouse(replica)

    def _add(self, name: str) -> None:
        case = self.case
        guests = None
        if case.spell_s:
            guests = Guests(case.slower, case.spell_s, self._chance_of(f"guests of {name}"), self.now)
        made = Replica(
            name,
            self._engine,
            rows=case.rows,
            caches=case.caches,
            context=case.context,
            now=self.now,
            order=case.order,
            guests=guests,
        )
        self.all.append(made)
        self._open[name] = made
        self.count.append((self.now, len(self._open)))

    def _start(self) -> None:
        """One more, when it has loaded; it has a name of its own, and so its own places on the ring."""

        def ready() -> None:
            self._add(f"replica {self._made}")
            self._made += 1
            self._ring = Ring(self._open)

        self.later(self.now + self.case.load_s, ready)

    def _die(self) -> None:
        """One that lives; its lines hear of it, and it is started anew, as soon as it is missed."""
        alive = [name for name, one in self._open.items() if one not in self.dead]
        if not alive:
            return
        name = alive[self._chance.randrange(len(alive))]
        gone = self._open[name]
        self.dead[gone] = missed = self.now + self.case.noticed_s
        lines = sorted(gone.lines, key=lambda turn: cast(Seat, turn.whose).name)
        self.moved += len(lines)
        for turn in lines:
            self.later(missed, cast(Seat, turn.whose).break_off)

        def noticed() -> None:
            if self._open.pop(name, None) is None:
                return  # there were too many meanwhile, and nobody misses it
            self._ring = Ring(self._open)
            self.count.append((self.now, len(self._open)))
            self._start()

        self.later(missed, noticed)

    def _scale(self) -> None:
        assert self._scaler
        wanted = self._scaler.wanted(self.now, sum(len(one.lines) for one in self._open.values()), len(self._open))
        for _ in range(wanted):
            self._start()
        for name in list(self._open)[len(self._open) + min(wanted, 0) :]:
            del self._open[name]  # it ends what it has, and takes no more
            self.count.append((self.now, len(self._open)))
        if wanted < 0:
            self._ring = Ring(self._open)
        self.later(self.now + self._scaler.tick_s, self._scale)
