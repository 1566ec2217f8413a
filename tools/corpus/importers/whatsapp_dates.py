"""Reads the stamp that begins each message of a WhatsApp chat, and finds the order of day, month and year. Pure.

A phone writes the stamp in its own language: `3/1/21, 10:00 AM - `, `[01.03.21, 10:00:00] `, `2021/3/1 上午10:00 - `.
Messages copied from WhatsApp Web have the time first: `[10:00, 3/1/2021] `; so has a phone in Vietnamese.
Digits may be Arabic, Persian or Devanagari, and direction marks may stand between the parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

DateOrder = Literal["dmy", "mdy", "ymd"]

FIRST_YEAR, LAST_YEAR = 2009, 2099  # WhatsApp began in 2009
BUDDHIST_OFFSET = 543  # years of the Thai calendar

MARKS = "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff"  # direction marks, and the byte-order mark
_GAP = rf"[\s{MARKS}]*"
_DATE = (
    rf"(?P<first>\d{{1,4}}){_GAP}(?P<separator>[./\-年년]){_GAP}(?P<second>\d{{1,2}}){_GAP}[./\-月월]{_GAP}"
    rf"(?P<third>\d{{1,4}}){_GAP}(?:[.日일]|г\.?)?"
)
# Between date and time: a comma, a word such as klo or à, or the half of the day.
_JOINT = rf"{_GAP}(?P<comma>[,،]?){_GAP}(?P<joint>[^\d\[\]<>,،]{{0,14}}?){_GAP}"
_TIME = (
    rf"(?P<hour>\d{{1,2}}){_GAP}[:.٫h時时]{_GAP}(?P<minute>\d{{2}})"
    rf"(?:{_GAP}(?:[:.٫]|min){_GAP}(?P<seconds>\d{{2}})(?:{_GAP}s\b)?)?"
)
_HALF = rf"{_GAP}(?P<half>[^\d\[\]<>:–-]{{0,14}}?){_GAP}"
_TIME_FIRST = rf"(?P<joint>[^\d\[\]<>,،]{{0,14}}?){_GAP}{_TIME}{_HALF}(?P<comma>[,،、]){_GAP}{_DATE}"
_STAMPS = (
    re.compile(rf"{_GAP}\[{_GAP}{_DATE}{_JOINT}{_TIME}{_HALF}\] ?"),  # iPhone
    re.compile(rf"{_GAP}{_DATE}{_JOINT}{_TIME}{_HALF}[-–] "),  # Android
    re.compile(
        rf"{_GAP}{_DATE}{_JOINT}(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}}):(?P<seconds>\d{{2}}){_HALF}: "
    ),  # iPhone until 2015
    re.compile(rf"{_GAP}\[{_GAP}{_TIME_FIRST}{_GAP}\] ?"),  # copied from WhatsApp Web
    re.compile(rf"{_GAP}{_TIME_FIRST}{_GAP}[-–] "),  # Android in Vietnamese
)
_AFTERNOON = re.compile(
    r"p\.?\s?m\b|م|ب\W?ظ|بعد|अपराह्न|오후|下午|傍晚|晚上|中午|午後|μ\.?μ|i\.?p\b|e\.?m\b|du\b|ös\b|odp|popol|ch\b|nm\b",
    re.IGNORECASE,
)
_MORNING = re.compile(
    r"a\.?\s?m\b|ص|ق\W?ظ|قبل|पूर्वाह्न|오전|上午|早上|凌晨|午前|π\.?μ|a\.?p\b|f\.?m\b|de\b|öö\b|dop|sa\b|vm\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The start of a message. `numbers` is the date as written, `seconds` the time of day, `end` where the stamp ends.

    Two stamps of one file have the same `style`; a line that only resembles a stamp usually has another one.
    """

    numbers: tuple[int, int, int]
    seconds: int
    style: tuple[object, ...]
    has_seconds: bool
    half: str
    end: int


def parse_stamp(line: str) -> Stamp | None:
    """Returns the stamp at the start of a line, or None."""
    start = line[:80]
    if not any(map(str.isdigit, start[:12])):
        return None
    for number, pattern in enumerate(_STAMPS):
        if match := pattern.match(start):
            first, second, third = match["first"], match["second"], match["third"]
            half = (match["half"] or match["joint"] or "").strip()
            seconds = _seconds_of_day(int(match["hour"]), int(match["minute"]), int(match["seconds"] or 0), half)
            if seconds is None:
                return None
            has_seconds = match["seconds"] is not None
            style = (number, match["separator"], len(first) == 4, len(third) == 4, match["comma"], has_seconds)
            return Stamp((int(first), int(second), int(third)), seconds, style, has_seconds, half, match.end())
    return None


def _seconds_of_day(hour: int, minute: int, second: int, half: str) -> int | None:
    if hour > 24 or minute > 59 or second > 60:
        return None
    if half and hour <= 12:
        if _AFTERNOON.match(half):
            hour = hour % 12 + 12
        elif _MORNING.match(half):
            hour %= 12
    return (hour * 60 + minute) * 60 + second


def to_timestamp(stamp: Stamp, order: DateOrder) -> float | None:
    """Returns seconds of UTC since 1970; None for an impossible date. The export has no time zone."""
    numbers = dict(zip(order, stamp.numbers, strict=True))
    year = numbers["y"] + (2000 if numbers["y"] < 100 else 0)
    if year > LAST_YEAR:
        year -= BUDDHIST_OFFSET
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        return datetime(year, numbers["m"], numbers["d"], tzinfo=UTC).timestamp() + stamp.seconds
    except ValueError:
        return None


@dataclass(slots=True)
class _OrderEvidence:
    """What speaks against an order: impossible dates, and steps back in time. `span` is the time from first to last."""

    impossible: int = 0
    steps_back: int = 0
    first: float | None = None
    last: float | None = None
    sum_of_steps: float = 0.0


@dataclass(slots=True)
class DateOrderFinder:
    """Sees all stamps of a file, then tells the order of their dates."""

    _evidence: dict[DateOrder, _OrderEvidence] = field(
        default_factory=lambda: {order: _OrderEvidence() for order in ("dmy", "mdy", "ymd")}
    )
    _first: Stamp | None = None

    def add_stamp(self, stamp: Stamp) -> None:
        self._first = self._first or stamp
        for order, evidence in self._evidence.items():
            when = to_timestamp(stamp, order)
            if when is None:
                evidence.impossible += 1
                continue
            if evidence.last is not None:
                evidence.steps_back += when < evidence.last
                evidence.sum_of_steps += abs(when - evidence.last)
            evidence.last = when

    def find_order(self) -> DateOrder:
        """Returns the order with the fewest impossible dates, then the fewest steps back, then the shortest gaps."""
        preference = list(self._preferred_orders())

        def badness(order: DateOrder) -> tuple[int, int, float, int]:
            evidence = self._evidence[order]
            return evidence.impossible, evidence.steps_back, evidence.sum_of_steps, preference.index(order)

        return min(preference, key=badness)

    def _preferred_orders(self) -> Iterator[DateOrder]:
        """Yields the orders as they are likely for the form of the first stamp."""
        if self._first is not None and self._is_american(self._first):
            yield "mdy"
            yield "dmy"
        else:
            yield "dmy"
            yield "mdy"
        yield "ymd"

    @staticmethod
    def _is_american(stamp: Stamp) -> bool:
        """Whether the date is like 3/1/21: with slashes, and two digits of the year; or the time has AM or PM."""
        return stamp.style[1] == "/" and (stamp.numbers[2] < 100 or stamp.half.replace("\u202f", "") in ("AM", "PM"))
