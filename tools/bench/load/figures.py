"""What N lines came to: stalls, waits, tokens and characters a second, errors, and the cost. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.bench.load.print_buffer import PrintBuffer

MIN_ANSWER_INTERVAL_S = 8.0  # from RETURN to RETURN: more answers than one in so many seconds no line gets
MAX_WAIT_S = 1.5  # from RETURN to the first strike, for 99 of 100


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """Processor seconds in the time that counts, and bytes of memory at its end and at most."""

    cpu_s: float
    resident: int = 0
    peak: int = 0


@dataclass(slots=True)
class ClientRecord:
    """One typist's wheel, and what went wrong, each with its moment."""

    print_buffer: PrintBuffer = field(default_factory=PrintBuffer)
    errors: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """What counts: from `begun` to `ended`, in seconds of one clock."""

    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.started_at

    def contains(self, moment: float) -> bool:
        return self.started_at <= moment < self.ended_at


@dataclass(frozen=True, slots=True)
class WaitTimes:
    """Seconds from RETURN to the first strike. One that is still waiting at the end counts as long as it waited."""

    median: float
    of_90: float
    of_99: float
    worst: float


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One run of N lines. `server` is None where it runs elsewhere; `driver` is this program itself.

    `engine` is what the server's did, by the names of `model.server.engine.counters`; empty where it does not tell.
    """

    lines: int
    seconds: float
    stalls: int
    stalled_s: float
    stalled_lines: int
    answers: int
    waits: WaitTimes | None
    tokens_per_s: float
    characters_per_s: float
    errors: Mapping[str, int]
    driver: ProcessCost
    late_s: float  # the most that the driver itself came too late
    server: ProcessCost | None = None
    engine: Mapping[str, float] = field(default_factory=dict)

    def meets_limits(self, max_wait_s: float = MAX_WAIT_S) -> bool:
        """No wheel stood still, nothing failed, and 99 of 100 waited no longer than that; 0 asks nothing of waits."""
        patient = not max_wait_s or self.waits is None or self.waits.of_99 <= max_wait_s
        return not self.stalls and not self.errors and patient

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compute_figures(
    records: Sequence[ClientRecord],
    span: TimeSpan,
    driver: ProcessCost,
    server: ProcessCost | None = None,
    *,
    late_s: float = 0.0,
    engine: Mapping[str, float] | None = None,
) -> LoadFigures:
    """The figures of what happened in the span."""
    stalls = [
        [stall for stall in line.print_buffer.stalls if span.contains(stall.started_at + stall.seconds)]
        for line in records
    ]
    answers = [answer for line in records for answer in line.print_buffer.answers]
    waited = [
        answer.first_strike_at - answer.requested_at
        for answer in answers
        if answer.first_strike_at is not None and span.contains(answer.requested_at)
    ]
    waited += [span.ended_at - asked for line in records if (asked := line.print_buffer.waiting_since()) is not None]
    handed = [
        handed for line in records for handed in line.print_buffer.deliveries if span.contains(handed.delivered_at)
    ]
    return LoadFigures(
        lines=len(records),
        seconds=span.seconds,
        stalls=sum(map(len, stalls)),
        stalled_s=sum(stall.seconds for line in stalls for stall in line),
        stalled_lines=sum(map(bool, stalls)),
        answers=sum(span.contains(answer.last_strike_at) for answer in answers),
        waits=summarise_waits(waited),
        tokens_per_s=sum(one.tokens for one in handed) / span.seconds,
        characters_per_s=sum(one.characters for one in handed) / span.seconds,
        errors=dict(Counter(kind for line in records for at, kind in line.errors if span.contains(at)).most_common()),
        driver=driver,
        late_s=late_s,
        server=server,
        engine=engine or {},
    )


def subtract_counters(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each counter has grown."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def is_limit_exceeded(records: Sequence[ClientRecord], span: TimeSpan, max_wait_s: float) -> bool:
    """Whether it is sure before the end of the span that these will not have held."""
    if any(span.contains(stall.started_at + stall.seconds) for line in records for stall in line.print_buffer.stalls):
        return True
    if any(span.contains(at) for line in records for at, _ in line.errors):
        return True
    answers = [answer for line in records for answer in line.print_buffer.answers if span.contains(answer.requested_at)]
    late = sum(
        one.first_strike_at is not None and one.first_strike_at - one.requested_at > max_wait_s for one in answers
    )
    return bool(max_wait_s) and late > 0.01 * (1 + len(records) * span.seconds / MIN_ANSWER_INTERVAL_S)


def summarise_waits(seconds: Sequence[float]) -> WaitTimes | None:
    """None where nobody waited."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return WaitTimes(*(percentile(ordered, part) for part in (0.5, 0.9, 0.99, 1.0)))


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest of these that so large a part of them is not above."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
