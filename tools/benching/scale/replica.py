"""One replica of the real scheduler on a clock that jumps: `model.serving.distributor`, an engine that only takes time.

Its caches, its rows, its plan and its reading ahead are the server's own; the engine's passes last as long as a table
says, and every token is the same word. Knows no network, no typists and no other replicas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from model.base import Piece
from model.serving.counters import Counters
from model.serving.deadlines import Line, Order, Paper
from model.serving.distributor import Distributor, Heard
from model.serving.turn import Turn
from tools.benching.scale.engines import Engine
from tools.benching.scale.guests import Guests

WORD = " and"  # the one that all answers are made of: four characters, a token
COPIED_S = 1e-10  # a byte of a cache from slot to slot: 20 MB in 2 ms
_WORDS = re.compile(r"\s?\S+")

_known: dict[str, int] = {}
_ON, _OVER = Piece(WORD, (1,), 0.0), Piece(WORD, (1,), 0.0, "length")


def ids(text: str) -> list[int]:
    """A token for a word with the blank before it, and one for the end of text before all."""
    return [0, *(_known.setdefault(word, len(_known) + 1) for word in _WORDS.findall(text))]


class Said(Turn):
    """An answer of so many words; `whose` is for whoever asked."""

    def __init__(
        self, prompt: str, words: int, *, pace: float, conversation: str, arrived: float, whose: object, before: int = 0
    ) -> None:
        """`before` words of it were said elsewhere: they are taken again one by one, and not said."""
        self.conversation, self.whose = conversation, whose
        self.line = Line(Paper(pace, arrived), 0)
        self.said = 0
        self.window = ids(prompt)
        self.given = len(self.window)
        self.window += ids(before * WORD)[1:]
        self._left = words - before

    def finished(self, now: float) -> Piece | None:
        return _OVER if self._left <= 0 else None

    def say(self, logits: NDArray[np.float32], now: float) -> Piece | None:
        self.said += 1
        self._left -= 1
        self.line.paper.made(now, len(WORD))
        self.window.append(_known.setdefault(WORD, len(_known) + 1))
        return _ON if self._left else _OVER


@dataclass(slots=True)
class _Slots:
    """As `distributor.Slots`; a pass, with the tokens drawn from it, moves the clock and does nothing else."""

    engine: Engine
    count: int
    context: int
    now: float = 0.0
    guests: Guests | None = None
    busy_s: float = 0.0

    def read(self, slot: int, past: int, ids: Sequence[int]) -> NDArray[np.float32]:
        self.take(self.engine.piece_s(len(ids)) + self.engine.draw_ms / 1000)
        return np.zeros(1, np.float32)

    def step(self, first: int, past: Sequence[int], ids: Sequence[int], wanted: Sequence[int]) -> NDArray[np.float32]:
        self.take(self.engine.step_s(len(ids), sum(past) / len(past)) + len(wanted) * self.engine.draw_ms / 1000)
        return np.zeros((len(wanted), 1), np.float32)

    def copy(self, source: int, target: int, length: int) -> None:
        self.take(COPIED_S * length * self.engine.a_token)

    def take(self, seconds: float) -> None:
        if self.guests:
            seconds *= self.guests.slower(self.now)
        self.now += seconds
        self.busy_s += seconds


Tell = Callable[[Distributor], object]


class Replica:
    """`wakes` is when it next does something by itself; what it is told before the end of a pass waits for that."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        rows: int,
        caches: int,
        context: int,
        now: float = 0.0,
        order: Order = "paper",
        guests: Guests | None = None,
    ) -> None:
        self.name, self.wakes = name, inf
        self.lines: set[Said] = set()
        self._slots = _Slots(engine, caches, context, now, guests)
        self._distributor = Distributor(self._slots, rows=rows, clock=lambda: self._slots.now, order=order)
        self._told: list[Tell] = []

    @property
    def busy_s(self) -> float:
        """How long it has been at work so far."""
        return self._slots.busy_s

    def counters(self) -> Counters:
        return self._distributor.counters()

    def enter(self, now: float, turn: Said) -> None:
        self.lines.add(turn)
        self._tell(now, lambda distributor: distributor.enter(turn))

    def cut(self, now: float, turn: Said) -> None:
        self.lines.discard(turn)
        self._tell(now, lambda distributor: distributor.cut(turn))

    def hear(self, now: float, heard: Heard) -> None:
        self._tell(now, lambda distributor: distributor.hear(heard))

    def forget(self, now: float, heard: Heard) -> None:
        self._tell(now, lambda distributor: distributor.forget(heard))

    def _tell(self, now: float, what: Tell) -> None:
        self._told.append(what)
        self.wakes = min(self.wakes, max(now, self._slots.now))

    def work(self, now: float) -> tuple[float, list[tuple[Said, Piece]]]:
        """One pass, begun now: when it is over, and what was made by then."""
        slots, distributor = self._slots, self._distributor
        slots.now = max(now, slots.now)
        told, self._told = self._told, []
        for what in told:
            what(distributor)
        until = distributor.work()
        slots.take(sum(load is not None for _, load in distributor.made) * slots.engine.front_ms / 1000)
        made, distributor.made = distributor.made, []
        handed: list[tuple[Said, Piece]] = []
        for turn, load in made:
            assert isinstance(turn, Said)
            if isinstance(load, Exception):
                raise load
            if load is not None:
                distributor.took(turn, slots.now, len(load.text))
                handed.append((turn, load))
                if load.finish:
                    self.lines.discard(turn)
        self.wakes = max(until, slots.now)
        return slots.now, handed
