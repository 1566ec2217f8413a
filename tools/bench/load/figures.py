"""The figures of a load test: stalls, waits, tokens and characters per second, errors, cost. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.bench.load.print_buffer import PrintBuffer

MIN_ANSWER_INTERVAL_S = 8.0  # from RETURN to RETURN: no client gets more answers than one in this time
MAX_WAIT_S = 1.5  # from RETURN to the first character, for 99 of 100 answers


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """Processor seconds in the measured span, bytes of memory at its end and at most. The fields are JSON keys."""

    cpu_s: float
    resident: int = 0
    peak: int = 0


@dataclass(slots=True)
class ClientRecord:
    """The print buffer of one client, and its errors with their moments."""

    print_buffer: PrintBuffer = field(default_factory=PrintBuffer)
    errors: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The measured time, in seconds of one clock."""

    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.started_at

    def contains(self, moment: float) -> bool:
        return self.started_at <= moment < self.ended_at


@dataclass(frozen=True, slots=True)
class WaitTimes:
    """Seconds from RETURN to the first character. A wait that is not over at the end counts so far."""

    median: float
    of_90: float
    of_99: float
    worst: float


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One run of N clients (`lines`). The fields are JSON keys.

    `driver` is the cost of this program, `server` that of the server, or None if it runs elsewhere. `engine` has the
    counters of `model.server.engine.counters`, or is empty.
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
    late_s: float  # the longest delay of the load generator itself
    server: ProcessCost | None = None
    engine: Mapping[str, float] = field(default_factory=dict)

    def meets_limits(self, max_wait_s: float = MAX_WAIT_S) -> bool:
        """Whether there were no stalls, no errors, and 99 of 100 waits within the limit; 0: no limit."""
        waited_briefly = not max_wait_s or self.waits is None or self.waits.of_99 <= max_wait_s
        return not self.stalls and not self.errors and waited_briefly


def compute_figures(
    records: Sequence[ClientRecord],
    span: TimeSpan,
    driver: ProcessCost,
    server: ProcessCost | None = None,
    *,
    late_s: float = 0.0,
    engine: Mapping[str, float] | None = None,
) -> LoadFigures:
    """Computes the figures of the events in the span."""
    buffers = [record.print_buffer for record in records]
    stalls = [[stall for stall in buffer.stalls if span.contains(stall.ended_at)] for buffer in buffers]
    answers = [answer for buffer in buffers for answer in buffer.answers]
    waits = [answer.wait_s for answer in answers if answer.wait_s is not None and span.contains(answer.requested_at)]
    open_requests = [since for buffer in buffers if (since := buffer.waiting_since()) is not None]
    waits += [span.ended_at - since for since in open_requests]
    deliveries = [each for buffer in buffers for each in buffer.deliveries if span.contains(each.delivered_at)]
    errors = Counter(kind for record in records for at, kind in record.errors if span.contains(at))
    return LoadFigures(
        lines=len(records),
        seconds=span.seconds,
        stalls=sum(map(len, stalls)),
        stalled_s=sum(stall.seconds for client_stalls in stalls for stall in client_stalls),
        stalled_lines=sum(map(bool, stalls)),
        answers=sum(span.contains(answer.last_strike_at) for answer in answers),
        waits=summarise_waits(waits),
        tokens_per_s=sum(each.tokens for each in deliveries) / span.seconds,
        characters_per_s=sum(each.characters for each in deliveries) / span.seconds,
        errors=dict(errors.most_common()),
        driver=driver,
        late_s=late_s,
        server=server,
        engine=engine or {},
    )


def subtract_counters(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Returns how much each counter has grown."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def is_limit_exceeded(records: Sequence[ClientRecord], span: TimeSpan, max_wait_s: float) -> bool:
    """Whether it is sure, before the end of the span, that the run will not meet the limits."""
    buffers = [record.print_buffer for record in records]
    if any(span.contains(stall.ended_at) for buffer in buffers for stall in buffer.stalls):
        return True
    if any(span.contains(at) for record in records for at, _ in record.errors):
        return True
    answers = [answer for buffer in buffers for answer in buffer.answers if span.contains(answer.requested_at)]
    late = sum(answer.wait_s is not None and answer.wait_s > max_wait_s for answer in answers)
    return bool(max_wait_s) and late > 0.01 * (1 + len(records) * span.seconds / MIN_ANSWER_INTERVAL_S)


def summarise_waits(seconds: Sequence[float]) -> WaitTimes | None:
    """Returns None if there were no waits."""
    ordered = sorted(seconds)
    return WaitTimes(*(percentile(ordered, part) for part in (0.5, 0.9, 0.99, 1.0))) if ordered else None


def percentile(ordered: Sequence[float], part: float) -> float:
    """Returns the smallest value such that this part of the values is not above it."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
