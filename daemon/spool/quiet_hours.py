"""Quiet hours: spans of a week in local time, in which the spool prints nothing. Pure: the time is an argument.

A span begins when the local clock first shows its start, and ends when the local clock last shows a time before its
end. So it is one span in a night in which the clock goes back, and it is not lost in a night in which the clock skips
its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXAMPLE = '"22:00-07:00" or "mon-fri 22:00-07:00" or "sat,sun 13:00-15:00"'
_HORIZON_DAYS = 9  # a week and its edges: who is quiet for so long is quiet for ever
_DAY_S = 86_400

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class QuietRule:
    """A span on some weekdays (0: Monday). An `end` at or before the `start` is on the next day; both in minutes."""

    weekdays: frozenset[int]
    start: int
    end: int


def parse_quiet_rule(text: str) -> QuietRule:
    """Returns the rule of a text such as "mon-fri 22:00-07:00". Raises ValueError with an example."""
    match = re.fullmatch(r"(?:([a-z,\s-]+?)\s+)?(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no span of quiet hours, such as {EXAMPLE}")
    start, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (2, 4))
    if start >= 24 * 60 or end > 24 * 60 or int(match[3]) > 59 or int(match[5]) > 59 or start == end:
        raise ValueError(f"{text!r}: the times are from 00:00 to 24:00 and differ, such as {EXAMPLE}")
    return QuietRule(_parse_weekdays(match[1], text), start, end)


def _parse_weekdays(words: str | None, text: str) -> frozenset[int]:
    if words is None:
        return frozenset(range(7))
    days: set[int] = set()
    for word in re.sub(r"\s*-\s*", "-", words).replace(",", " ").split():
        ends = [DAYS.index(name[:3]) for name in word.split("-") if name[:3] in DAYS]
        if len(ends) != word.count("-") + 1 or len(ends) > 2:
            raise ValueError(f"{text!r}: the days are {', '.join(DAYS)}, such as {EXAMPLE}")
        first, last = ends[0], ends[-1]
        days.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return frozenset(days)


class QuietHours:
    """The quiet hours of one place."""

    def __init__(self, rules: Sequence[QuietRule], zone: tzinfo = UTC) -> None:
        self._rules, self._zone = rules, zone
        self._cached_day, self._spans = -1, list[Span]()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def quiet_until(self, now: float) -> float:
        """Returns the end of the quiet span around `now`; `now` itself outside one; infinity if it never ends."""
        return next((end for start, end in self._spans_near(now) if start <= now < end), now)

    def next_quiet(self, now: float) -> float:
        """Returns the start of the next quiet span after `now`; infinity without one."""
        return next((start for start, _ in self._spans_near(now) if start > now), float("inf"))

    def _spans_near(self, now: float) -> list[Span]:
        if (day := int(now // _DAY_S)) != self._cached_day:
            self._cached_day, self._spans = day, self._compute_spans(day)
        return self._spans

    def _compute_spans(self, day: int) -> list[Span]:
        today = datetime.fromtimestamp(day * _DAY_S, UTC).date()
        dates = [today + timedelta(days=offset) for offset in range(-2, _HORIZON_DAYS + 1)]
        spans = merge_spans(
            self._span_on(rule, date) for date in dates for rule in self._rules if date.weekday() in rule.weekdays
        )
        horizon = (day + _HORIZON_DAYS - 1) * _DAY_S
        return [(start, float("inf") if start <= day * _DAY_S and end > horizon else end) for start, end in spans]

    def _span_on(self, rule: QuietRule, day: date) -> Span:
        start = _wall_time(day, rule.start)
        end = _wall_time(day, rule.end + (24 * 60 if rule.end <= rule.start else 0))
        return first_instant(start, self._zone), last_instant(end, self._zone)


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Returns the spans in order; those that touch or overlap become one, and empty ones are dropped."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif start < end:
            merged.append((start, end))
    return merged


def first_instant(wall: datetime, zone: tzinfo) -> float:
    """Returns the first second of the epoch at which the local clock shows `wall`, or skips it."""
    early, late = _instants(wall, zone)
    return early if early <= late else _skip_instant(wall, zone, late, early)


def last_instant(wall: datetime, zone: tzinfo) -> float:
    """Returns the second of the epoch before which the local clock last shows a time before `wall`."""
    early, late = _instants(wall, zone)
    if early > late:
        return _skip_instant(wall, zone, late, early)
    # The clock that goes back to `wall` itself shows no time before it again.
    return late if _local(late - 1, zone) < wall else early


def _wall_time(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time()) + timedelta(minutes=minutes)


def _instants(wall: datetime, zone: tzinfo) -> tuple[float, float]:
    """Returns both readings of a local time (PEP 495): equal; in order if it comes twice; reversed if it is skipped."""
    return wall.replace(tzinfo=zone, fold=0).timestamp(), wall.replace(tzinfo=zone, fold=1).timestamp()


def _skip_instant(wall: datetime, zone: tzinfo, before: float, after: float) -> float:
    """Returns the second at which the local clock skips `wall`, by bisection."""
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if _local(middle, zone) < wall else (before, middle)
    return after


def _local(moment: float, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None)
