"""Quiet hours against an independent calculation: the rule of the European Union by hand, each minute of a year."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.spool.quiet_hours import QuietHours, QuietRule, merge_spans, parse_quiet_rule

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = 2026
DAY_MINUTES = 24 * 60
START = int(datetime(YEAR - 1, 12, 30, tzinfo=UTC).timestamp()) // 60
END = int(datetime(YEAR + 1, 1, 3, tzinfo=UTC).timestamp()) // 60
RULES = [
    ["22:00-07:00"],
    ["mon-fri 22:30-06:45", "sat,sun 23:00-09:30"],
    ["01:59-02:01"],
    ["02:00-03:00"],
    ["02:30-06:00", "sun 13:00-15:00"],
    ["sat 22:00-02:00", "sun 03:00-03:30"],
    ["fri-mon 20:00-02:30"],
    ["00:00-24:00", "mon 12:00-13:00"],
]


def change_minute(month: int) -> int:
    """The minute of the epoch at which Europe changes the clock: on the last Sunday of the month, at 01:00 UTC."""
    last = calendar.monthrange(YEAR, month)[1]
    sunday = next(day for day in range(last, 0, -1) if calendar.weekday(YEAR, month, day) == 6)
    return int(datetime(YEAR, month, sunday, 1, tzinfo=UTC).timestamp()) // 60


@cache
def quiet_minutes(texts: tuple[str, ...]) -> np.ndarray:
    """Whether each minute is quiet: since the local clock showed the start, until it shows no time before the end."""
    rules = [parse_quiet_rule(text) for text in texts]
    utc = np.arange(START, END)
    local = utc + np.where((utc >= change_minute(3)) & (utc < change_minute(10)), 120, 60)
    shown_before = np.maximum.accumulate(local)
    shown_after = np.minimum.accumulate(local[::-1])[::-1]
    quiet = np.zeros(len(utc), dtype=bool)
    for rule in rules:
        for days in (0, 1):  # the span began on the day that the clock shows, or on the day before
            length = rule.end - rule.start + (DAY_MINUTES if rule.end <= rule.start else 0)
            day = shown_before // DAY_MINUTES - days
            start = day * DAY_MINUTES + rule.start
            is_of_rule = np.isin((day + 3) % 7, list(rule.weekdays))  # 1970 began on a Thursday
            quiet |= is_of_rule & (shown_before >= start) & (shown_after < start + length)
    return quiet


@pytest.mark.parametrize("texts", RULES, ids="; ".join)
def test_each_minute_of_a_year_in_berlin_is_quiet_as_an_independent_calculation_says(texts: list[str]) -> None:
    rules = [parse_quiet_rule(text) for text in texts]
    hours, expected = QuietHours(rules, BERLIN), quiet_minutes(tuple(texts))
    found = np.zeros(len(expected), dtype=bool)
    minute = START
    while minute < END:  # from change to change
        until = hours.quiet_until(minute * 60)
        is_quiet = until > minute * 60
        change = until if is_quiet else hours.next_quiet(minute * 60)
        after = END if change == float("inf") else min(END, int(change) // 60)
        found[minute - START : after - START] = is_quiet
        minute = after
    assert np.array_equal(found, expected)


@settings(max_examples=60)
@given(st.sampled_from(RULES), st.integers(START * 60, END * 60 - 1))
def test_any_second_is_quiet_until_the_next_minute_that_is_not(texts: list[str], second: int) -> None:
    expected = quiet_minutes(tuple(texts))
    hours, minute = QuietHours([parse_quiet_rule(text) for text in texts], BERLIN), second // 60 - START
    assert (hours.quiet_until(second) > second) == expected[minute]
    others = np.flatnonzero(expected[minute:] != expected[minute])
    if len(others):
        change = hours.quiet_until(second) if expected[minute] else hours.next_quiet(second)
        assert change == (START + minute + others[0]) * 60


def test_a_night_in_which_the_clock_goes_back_is_one_span() -> None:
    hours = QuietHours([parse_quiet_rule("02:30-06:00")], BERLIN)
    before = datetime(2026, 10, 25, 2, 29, tzinfo=BERLIN, fold=0)
    assert hours.next_quiet(before.timestamp()) == before.timestamp() + 60
    # 02:10 after the change is between them, though the local clock shows no quiet time.
    again = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert hours.quiet_until(again.timestamp()) == datetime(2026, 10, 25, 6, 0, tzinfo=BERLIN).timestamp()


def test_a_start_that_the_clock_skips_is_the_moment_of_the_change() -> None:
    hours = QuietHours([parse_quiet_rule("02:30-06:00")], BERLIN)
    change = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp()
    assert hours.next_quiet(change - 3600) == change
    assert hours.quiet_until(change) == datetime(2026, 3, 29, 6, 0, tzinfo=BERLIN).timestamp()


def test_the_whole_week_is_quiet_for_ever_and_no_rule_never() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
    assert QuietHours([parse_quiet_rule("00:00-24:00")], BERLIN).quiet_until(now) == float("inf")
    assert (QuietHours([]).quiet_until(now), QuietHours([]).next_quiet(now)) == (now, float("inf"))


@pytest.mark.parametrize(
    "text",
    ["", "late", "22-07", "25:00-07:00", "22:00-24:30", "22:60-23:00", "07:00-07:00", "mon-fri", "someday 1:00-2:00"],
)
def test_a_span_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_quiet_rule(text)


def test_days_may_be_written_in_full_and_wrap_around_the_week() -> None:
    assert parse_quiet_rule("Friday-Monday 20:00-02:30").weekdays == {4, 5, 6, 0}
    assert parse_quiet_rule("sat, sun 9:00-10:00").weekdays == {5, 6}
    assert parse_quiet_rule("mon 22:00-7:00") == QuietRule(frozenset({0}), 1320, 420)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_merged_spans_cover_the_same_minutes(spans: list[tuple[float, float]]) -> None:
    merged = merge_spans(spans)
    for minute in range(51):
        assert any(start <= minute < end for start, end in merged) == any(start <= minute < end for start, end in spans)
    assert all(first[1] < second[0] for first, second in pairwise(merged))


def test_other_places_have_their_own_changes() -> None:
    lord_howe = QuietHours([parse_quiet_rule("22:00-07:00")], ZoneInfo("Australia/Lord_Howe"))  # half an hour
    moment = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    spans = []
    for _ in range(300):
        start = lord_howe.next_quiet(moment)
        moment = lord_howe.quiet_until(start)
        spans.append(timedelta(seconds=moment - start))
    assert sorted(set(spans)) == [timedelta(hours=8.5), timedelta(hours=9), timedelta(hours=9.5)]
