"""What N lines came to: stalls, waits, tokens and characters a second, errors, and the cost. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.benching.lines.wheel import Wheel

AN_ANSWER_S = 8.0  # from RETURN to RETURN: more answers than one in so many seconds no line gets
PATIENCE_S = 1.5  # from RETURN to the first strike, for 99 of 100


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds in the time that counts, and bytes of memory at its end and at most."""

    cpu_s: float
    resident: int = 0
    peak: int = 0


@dataclass(slots=True)
class Line:
    """One typist's wheel, and what went wrong, each with its moment."""

    wheel: Wheel = field(default_factory=Wheel)
    errors: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """What counts: from `begun` to `ended`, in seconds of one clock."""

    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    def has(self, at: float) -> bool:
        return self.begun <= at < self.ended


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from RETURN to the first strike. One that is still waiting at the end counts as long as it waited."""

    median: float
    of_90: float
    of_99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of N lines. `server` is None where it runs elsewhere; `driver` is this program itself.

    `engine` is what the server's did, by the names of `model.serving.counters`; empty where it does not tell.
    """

    lines: int
    seconds: float
    stalls: int
    stalled_s: float
    stalled_lines: int
    answers: int
    waits: Waits | None
    tokens_per_s: float
    characters_per_s: float
    errors: Mapping[str, int]
    driver: Cost
    late_s: float  # the most that the driver itself came too late
    server: Cost | None = None
    engine: Mapping[str, float] = field(default_factory=dict)

    def held(self, patience_s: float = PATIENCE_S) -> bool:
        """No wheel stood still, nothing failed, and 99 of 100 waited no longer than that; 0 asks nothing of waits."""
        patient = not patience_s or self.waits is None or self.waits.of_99 <= patience_s
        return not self.stalls and not self.errors and patient

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def of(
    lines: Sequence[Line],
    span: Span,
    driver: Cost,
    server: Cost | None = None,
    *,
    late_s: float = 0.0,
    engine: Mapping[str, float] | None = None,
) -> Figures:
    """The figures of what happened in the span."""
    stalls = [[stall for stall in line.wheel.stalls if span.has(stall.at + stall.seconds)] for line in lines]
    answers = [answer for line in lines for answer in line.wheel.answers]
    waited = [answer.first - answer.asked for answer in answers if answer.first is not None and span.has(answer.asked)]
    waited += [span.ended - asked for line in lines if (asked := line.wheel.waits_since()) is not None]
    handed = [handed for line in lines for handed in line.wheel.handed if span.has(handed.at)]
    return Figures(
        lines=len(lines),
        seconds=span.seconds,
        stalls=sum(map(len, stalls)),
        stalled_s=sum(stall.seconds for line in stalls for stall in line),
        stalled_lines=sum(map(bool, stalls)),
        answers=sum(span.has(answer.last) for answer in answers),
        waits=waits(waited),
        tokens_per_s=sum(one.tokens for one in handed) / span.seconds,
        characters_per_s=sum(one.characters for one in handed) / span.seconds,
        errors=dict(Counter(kind for line in lines for at, kind in line.errors if span.has(at)).most_common()),
        driver=driver,
        late_s=late_s,
        server=server,
        engine=engine or {},
    )


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each counter has grown."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def hopeless(lines: Sequence[Line], span: Span, patience_s: float) -> bool:
    """Whether it is sure before the end of the span that these will not have held."""
    if any(span.has(stall.at + stall.seconds) for line in lines for stall in line.wheel.stalls):
        return True
    if any(span.has(at) for line in lines for at, _ in line.errors):
        return True
    answers = [answer for line in lines for answer in line.wheel.answers if span.has(answer.asked)]
    late = sum(one.first is not None and one.first - one.asked > patience_s for one in answers)
    return bool(patience_s) and late > 0.01 * (1 + len(lines) * span.seconds / AN_ANSWER_S)


def waits(seconds: Sequence[float]) -> Waits | None:
    """None where nobody waited."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Waits(*(share(ordered, part) for part in (0.5, 0.9, 0.99, 1.0)))


def share(ordered: Sequence[float], part: float) -> float:
    """The smallest of these that so large a part of them is not above."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
