"""Whose paper runs out first, and what the engine does next. Pure; the time is an argument.

A line's deadline is the moment at which its wheel would stand still: what its reader has taken, at the pace at which
it is printed. Few large passes are cheaper than many small ones, so nothing is made until a paper is near its end,
and then for all that have room. Knows no tokens and no caches, only how many tokens are unread, and of slots only that
those of one pass lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Literal

from model.prefix import CHUNK
from model.serving.costs import Cost

FIRST_S = 0.5  # from RETURN to the first character: a person who has just looked up
LOW_S = 12.0  # of paper: below it a line wants a token, and waits until many do, so that steps are large
EASY_S = 1.0  # of paper: while all have more, what is just being typed is read before more is made
PRESSING_S = 0.8  # of paper: below it a line gets a token even if it is the only one
MANY = 4  # one in so many is low: then all that have room go together
FEW = 3  # times what a step takes in any case: in fewer rows than make up for that, nobody is served by haste
AHEAD_S = 20.0  # of paper: above it a line gets none; bridges a machine's slow spells; what a BREAK throws away
LATE_S = 0.1  # a wheel may stand still where there is too much to do: half of what anybody hears
TOKEN_S = 0.4  # of paper: where a step takes longer all fall behind, and all together fall behind least
REST_S = 2.0  # a reader without a wheel has a token at least so often
PATIENCE_S = 5.0  # a prompt that has waited longer takes turns with the steps, whoever runs dry
UNTAKEN = 256  # characters for a reader without a wheel
MARGIN_S = 0.02  # for all that is not the engine: draws, copies, the network's own moods

Order = Literal["paper", "arrival"]


class Paper:
    """The paper of one line: what was made for it, what was taken, and until when that lasts."""

    __slots__ = ("arrived", "made_at", "out", "pace", "untaken")

    def __init__(self, pace: float, arrived: float) -> None:
        self.pace = pace
        self.arrived = arrived
        self.out: float | None = None  # when the wheel stands still if nothing more is taken
        self.untaken = 0  # characters made and not yet taken
        self.made_at: float | None = None  # the last token

    def made(self, now: float, characters: int) -> None:
        self.made_at = now
        self.untaken += characters

    def took(self, at: float, characters: int) -> float:
        """The reader has these now; for how many seconds the wheel had stood still."""
        self.untaken -= characters
        dry = max(0.0, at - self.out) if self.out is not None else 0.0
        if self.pace:
            self.out = max(at, self.out or at) + characters / self.pace
        return dry

    @property
    def begun(self) -> bool:
        return self.made_at is not None

    def due(self, now: float) -> float:
        """When the next token must be there; what lies ready counts as taken now."""
        if not self.pace:
            return (self.arrived if self.made_at is None else self.made_at) + REST_S
        if self.out is None:
            return now + self.untaken / self.pace if self.untaken else self.arrived + FIRST_S
        return max(self.out, now) + self.untaken / self.pace if self.untaken else self.out

    def has_room(self, now: float) -> bool:
        """Whether a token may be made: the reader is not too far ahead, and takes what it gets."""
        return self.due(now) < now + AHEAD_S if self.pace else self.untaken < UNTAKEN

    def low(self, now: float) -> float:
        """When it falls under the low mark if nothing is taken; what is not taken does not grow less."""
        if not self.pace or self.untaken / self.pace >= LOW_S:
            return inf
        return self.due(now) - LOW_S


@dataclass(slots=True, eq=False)
class Line:
    """One answer being made: the slot of its cache, and how many tokens the engine has to read for the next."""

    paper: Paper
    unread: int
    slot: int = -1


@dataclass(slots=True)
class Costs:
    """What the engine takes, in seconds: a step of so many rows, a piece of so many tokens. A guess at first."""

    step: Cost
    piece: Cost

    @classmethod
    def guessed(cls) -> Costs:
        """GPT-2 of 124M in 8 bits on two cores; the first measurements say how far off that is."""
        return cls(Cost(0.008, 0.0016), Cost(0.01, 0.0011))


@dataclass(frozen=True, slots=True)
class Read:
    """The next tokens of one line's prompt, so many."""

    line: Line
    count: int


@dataclass(frozen=True, slots=True)
class Step:
    """A token for each of these lines, in the order of their slots. `early`: no paper is near its end."""

    lines: Sequence[Line]
    early: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing, until then or until something happens."""

    until: float


Due = tuple[float, Line]
DUE = itemgetter(0)


def plan(
    now: float, lines: Iterable[Line], costs: Costs, order: Order = "paper", turn: bool = True
) -> Read | Step | Rest:
    """What the engine does next. `turn`: the last pass was not a piece of a prompt, so it may be one's turn."""
    lines = list(lines)
    if order == "arrival":
        return _first_come(now, lines, costs)
    wheels: list[Due] = []  # that may have a token
    others: list[Due] = []  # the same, with no wheel behind them
    unread: list[Due] = []
    for line in lines:
        if line.unread > 1:
            unread.append((line.paper.due(now), line))
        elif line.paper.has_room(now):
            (wheels if line.paper.pace else others).append((line.paper.due(now), line))
    first = min(wheels, key=DUE)[0] if wheels else inf
    if unread and (read := _piece(now, min(unread, key=DUE), wheels, first, costs, turn)):
        return read
    rows = _wanting(now, wheels, first, costs)
    if unread and not rows:
        rows = wheels  # a piece takes so long that no paper can bear it: there is nothing to wait for
    if rows:
        early = first - EASY_S > now
        return Step(_run(_together(now, rows, others, first, costs), wheels + others, costs), early)
    if others:
        return Step(_run(others, others, costs))
    return Rest(_wanted(now, lines, len(wheels), costs))


def portion(unread: int) -> int:
    """How many to read in one pass; never all but one, since one alone comes out a little otherwise."""
    return min(CHUNK - (unread == CHUNK + 1), unread)


def _wanting(now: float, wheels: list[Due], first: float, costs: Costs) -> list[Due]:
    """Nobody until many are low, and then all that have room; or those few of whom one can wait no longer."""
    low = [one for one in wheels if one[0] - LOW_S <= now]
    if len(low) * MANY >= len(wheels):
        return wheels if low else []
    return low if first - PRESSING_S <= now else []


def _wanted(now: float, lines: list[Line], room: int, costs: Costs) -> float:
    """When somebody will be wanting, if nothing happens before."""
    low = sorted(line.paper.low(now) for line in lines)
    if not low:
        return inf
    many = low[max(0, -(-room // MANY) - 1)]
    pressing = low[0] + LOW_S - PRESSING_S + 1e-6  # sums are not exact: a moment later than that it surely is
    return min(many if many > now else inf, max(pressing, now + 1e-6))


def _first_come(now: float, lines: list[Line], costs: Costs) -> Read | Step | Rest:
    """Prompts as they came, then a token for all that take them: what a server does that knows no paper."""
    unread = [(line.paper.arrived, line) for line in lines if line.unread > 1]
    if unread:
        line = min(unread, key=DUE)[1]
        return Read(line, portion(line.unread))
    ready = [(line.paper.made_at or 0.0, line) for line in lines if line.paper.untaken < UNTAKEN]
    return Step(_run(ready, ready, costs)) if ready else Rest(inf)


def _piece(now: float, next_read: Due, wheels: list[Due], first: float, costs: Costs, turn: bool) -> Read | None:
    """The piece, if every paper can bear it before the next step, or if it can wait no longer."""
    due, line = next_read
    count = portion(line.unread)
    ready = now + costs.piece.of(count) + MARGIN_S
    latest = first + (LATE_S / 2 if due < now else 0.0)
    bearable = not wheels or latest > ready + costs.step.of(len(_next(ready, wheels, costs)))
    # A text that was rolled has a wheel of its own; a prompt has a person, who has waited before.
    pressing = due < first if line.paper.begun else turn and due + PATIENCE_S < now
    return Read(line, count) if bearable or pressing else None


def _next(now: float, wheels: list[Due], costs: Costs) -> list[Due]:
    """Those that would stand still while all go together, if they are few; all, where many are close behind them.

    One small step after the other, each for those who can wait no longer, would take a machine that has much to do
    twice as long.
    """
    whole = costs.step.of(len(wheels))
    soon = sum(one[0] < now + 2 * whole for one in wheels)
    if FEW * costs.step.of(soon) < whole:
        return [one for one in wheels if one[0] < now + whole]
    return wheels


def _together(now: float, wheels: list[Due], others: list[Due], first: float, costs: Costs) -> list[Due]:
    """All that have room; but those that would stand still meanwhile before them, as many as the first can bear."""
    step, left_s = costs.step, first - now - MARGIN_S
    whole = step.of(len(wheels))
    if left_s > step.of(len(wheels) + len(others)):
        return wheels + others
    if left_s < whole and len(rows := _next(now + MARGIN_S, wheels, costs)) < len(wheels):
        return rows or wheels
    starving = [one for one in others if one[0] < now]
    if -LATE_S < left_s < whole - LATE_S and whole < TOKEN_S:
        return _block(wheels, max(step.most(LATE_S), FEW * step.bridge)) + starving
    return wheels + starving


def _block(wheels: list[Due], size: float) -> list[Due]:
    """Those in the same block of so many slots as the one that is due first: each time the same ones, so it is fair."""
    first = min(wheels, key=DUE)
    return [one for one in wheels if _slot(one) // size == _slot(first) // size]


def _run(rows: list[Due], room: list[Due], costs: Costs) -> list[Line]:
    """Of rows with gaps between them the run of the one that is due first; a small gap costs less than a pass.

    Whoever has room in the gaps goes along, since it costs the same.
    """
    rows = sorted(rows, key=_slot)
    bridge = costs.step.bridge
    runs: list[list[Due]] = []
    for row in rows:
        if runs and _slot(row) - _slot(runs[-1][-1]) - 1 <= bridge:
            runs[-1].append(row)
        else:
            runs.append([row])
    run = min(runs, key=lambda run: min(run, key=DUE)[0])
    first, last = _slot(run[0]), _slot(run[-1])
    return [line for _, line in sorted((one for one in room if first <= _slot(one) <= last), key=_slot)]


def _slot(one: Due) -> int:
    return one[1].slot
