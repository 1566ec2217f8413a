"""The laws of the spool: budgets, order, places, expiry and records, with the time as an argument."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import SpoolRefused
from daemon.spool.budget import BudgetLimits
from daemon.spool.job import JobRequest, SpoolJob, count_characters
from daemon.spool.layout import lay_out
from daemon.spool.paper_supply import PaperSupply
from daemon.spool.quiet_hours import QuietHours, parse_quiet_rule
from daemon.spool.report import format_digest, format_queue
from daemon.spool.rules import SpoolRules, check_pattern, parse_duration
from daemon.spool.spool import Spool
from drivers.clock import CHARACTER_S
from drivers.profile import Profile

T0 = datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp()  # a Monday
HOUR = 3600.0
NIGHT = QuietHours([parse_quiet_rule("22:00-07:00")], ZoneInfo("Europe/Berlin"))


def job(person: str, chars: int = 100, source: str = "irc", **options: object) -> JobRequest:
    """A job of one line that costs `chars`."""
    return JobRequest(source, person, ("X" * (chars - 2),), **options)  # type: ignore[arg-type]


def print_next(spool: Spool, now: float) -> tuple[SpoolJob | None, float]:
    """Strikes one line of the next job; returns it, and when the line ended."""
    found = spool.next_job(now)
    if found is None:
        return None, now
    now += count_characters(found.lines[found.lines_done]) * CHARACTER_S
    spool.note_line(now, found.id)
    return found, now


def print_all(spool: Spool, now: float) -> list[int]:
    printed: list[int] = []
    while (step := print_next(spool, now))[0] is not None:
        assert step[0] is not None
        printed += [] if printed[-1:] == [step[0].id] else [step[0].id]
        now = step[1]
    return printed


# Admission.


def test_the_same_line_by_the_same_person_within_a_minute_is_one_job() -> None:
    spool = Spool(SpoolRules())
    first = spool.add(T0, job("Ada"))
    again = spool.add(T0 + 60, job("ADA"))
    assert (again.job_id, again.is_repeat, again.place) == (first.job_id, True, 1)
    assert spool.add(T0 + 61, job("Ada")).job_id != first.job_id
    assert spool.add(T0 + 1, job("Bob")).job_id != first.job_id
    assert spool.add(T0 + 1, job("Ada", source="mail")).job_id != first.job_id


def test_a_repeated_line_is_one_job_after_it_is_printed_too() -> None:
    spool = Spool(SpoolRules())
    first = spool.add(T0, job("Ada"))
    print_all(spool, T0)
    assert spool.add(T0 + 30, job("Ada")).job_id == first.job_id
    assert spool.add(T0 + 30, job("Ada")).place == 0
    assert not spool.jobs


def test_a_key_is_one_job_for_ever_and_a_cancelled_line_may_be_sent_again() -> None:
    spool = Spool(SpoolRules())
    first = spool.add(T0, job("Ada", once="news-1"))
    print_all(spool, T0)
    assert spool.add(T0 + 9 * HOUR, job("Ada", 50, once="news-1")).job_id == first.job_id
    assert spool.add(T0 + 9 * HOUR, job("Ada", 50, once="news-2")).job_id != first.job_id
    line = spool.add(T0, job("Bob"))
    spool.cancel(line.job_id)
    assert spool.add(T0 + 1, job("Bob")).job_id != line.job_id


@pytest.mark.parametrize(
    ("rules", "request_", "code"),
    [
        (SpoolRules(deny=("irc/ada",)), job("Ada"), 77),
        (SpoolRules(allow=("mail/*",)), job("Ada"), 77),
        (SpoolRules(allow=("*/ada",), deny=("irc/*",)), job("Ada"), 77),
        (SpoolRules(), job(""), 65),
        (SpoolRules(), job("A\nB"), 65),
        (SpoolRules(), job("X" * 33), 65),
        (SpoolRules(), JobRequest("irc", "ada", ("", " ")), 65),
        (SpoolRules(max_job_chars=99), job("Ada"), 65),
        (SpoolRules(person_budget=BudgetLimits(hour=99)), job("Ada"), 65),
        (SpoolRules(max_jobs=0), job("Ada"), 75),
        (SpoolRules(max_jobs_per_person=0), job("Ada"), 75),
    ],
)
def test_a_job_that_may_not_print_is_refused_with_its_exit_code(
    rules: SpoolRules, request_: JobRequest, code: int
) -> None:
    with pytest.raises(SpoolRefused) as refusal:
        Spool(rules).add(T0, request_)
    assert refusal.value.exit_code == code


def test_a_nick_with_brackets_is_denied_as_it_is_written() -> None:
    rules = SpoolRules(deny=("irc/[ada]",))
    assert not rules.is_allowed(("irc", "[ada]"))
    assert rules.is_allowed(("irc", "a"))


def test_a_spent_budget_says_when_to_try_again() -> None:
    spool = Spool(SpoolRules(person_budget=BudgetLimits(hour=250)))
    spool.add(T0, job("Ada", 100))
    spool.add(T0, job("Ada", 101))
    with pytest.raises(SpoolRefused) as refusal:
        spool.add(T0, job("Ada", 102))
    assert refusal.value.retry_after_s == HOUR  # the operator decides when they print
    print_all(spool, T0)
    with pytest.raises(SpoolRefused) as refusal:
        spool.add(T0 + 600, job("Ada", 102))
    assert refusal.value.retry_after_s is not None
    spool.add(T0 + 600 + refusal.value.retry_after_s, job("Ada", 102))
    spool.add(T0 + 600, job("Bob", 250))


def test_a_cancelled_job_costs_no_budget_and_strikes_nothing() -> None:
    spool = Spool(SpoolRules(person_budget=BudgetLimits(hour=100)))
    first = spool.add(T0, job("Ada"))
    spool.cancel(first.job_id)
    assert spool.add(T0 + 1, job("Ada")).place == 1
    with pytest.raises(SpoolRefused, match="no job 1"):
        spool.cancel(first.job_id)


def test_a_source_without_budget_is_a_caller_who_has_the_machine_anyway() -> None:
    rules = SpoolRules(person_budget=BudgetLimits(hour=10), without_budget=frozenset({"print"}))
    assert Spool(rules).add(T0, job("Ada", source="print")).place == 1


@pytest.mark.parametrize("second", [0, 1, 30, 58, 59])
def test_a_line_counts_for_a_whole_hour_after_any_second_of_a_minute(second: int) -> None:
    spool = Spool(SpoolRules(person_budget=BudgetLimits(hour=100)))
    spool.add(T0, job("Ada"))
    spool.note_line(T0 + second, 1)
    with pytest.raises(SpoolRefused):
        spool.add(T0 + second + HOUR - 1, job("Ada", 99))
    assert spool.add(T0 + second + HOUR + 60, job("Ada", 99)).job_id == 2


# Order, place and time.


def test_ten_jobs_of_three_people_come_in_turn_without_the_cancelled_and_the_held_one() -> None:
    spool = Spool(SpoolRules())
    people = ["ann", "ann", "ann", "ann", "bob", "bob", "bob", "cat", "cat", "cat"]
    ids = [spool.add(T0 + number, job(person, 100 + number)).job_id for number, person in enumerate(people)]
    spool.cancel(ids[1])
    spool.hold(ids[4])
    names = [people[found - 1] for found in print_all(spool, T0 + 20)]
    assert names == ["ann", "bob", "cat", "ann", "bob", "cat", "ann", "cat"]
    assert [job.id for job in spool.jobs] == [ids[4]]
    spool.release(T0 + 500, ids[4])
    assert print_all(spool, T0 + 500) == [ids[4]]


def test_a_hundred_jobs_of_one_person_delay_another_by_one() -> None:
    spool = Spool(SpoolRules(max_jobs_per_person=100))
    for number in range(100):
        spool.add(T0 + number, job("ann", 100 + number % 7))
    print_next(spool, T0 + 100)
    place = spool.add(T0 + 120, job("bob"))
    assert (place.place, place.seconds) == (2, pytest.approx(10.1, abs=0.01))


def test_newcomers_cannot_keep_a_person_waiting() -> None:
    spool = Spool(SpoolRules())
    spool.add(T0, job("ann", 1000))
    print_next(spool, T0)
    late = spool.add(T0 + 100, job("ann", 100)).job_id
    spool.add(T0 + 100, job("first"))  # so that there is always a newcomer who waits
    printed: list[int] = []
    for number in range(40):  # each of them came today for the first time
        spool.add(T0 + 100 + number, job(f"new{number}", 100))
        found, _ = print_next(spool, T0 + 100 + number)
        printed.append(found.id if found else 0)
    assert late in printed[:25]  # as often as it takes them to have as much as Ann


def test_a_place_tells_the_seconds_until_the_paper_through_a_night() -> None:
    spool = Spool(SpoolRules(quiet=NIGHT))
    evening = datetime(2026, 5, 4, 21, 59, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    for number in range(5):
        spool.add(evening, JobRequest("irc", f"p{number}", ("X" * 98,)))
    seconds = [place.seconds for place in spool.places(evening)]
    assert seconds == pytest.approx([0, 10, 20, 9 * HOUR + 30, 9 * HOUR + 40])
    assert spool.block_reason(evening + 30) == "quiet hours"
    assert spool.next_job(evening + 30) is None


def test_hush_and_paper_hold_the_spool_and_never_lose_a_job() -> None:
    spool = Spool(SpoolRules(), PaperSupply(31))
    spool.add(T0, job("ann"))
    spool.hush(T0, HOUR)
    assert spool.next_job(T0 + HOUR - 1) is None
    assert spool.places(T0)[0].seconds == HOUR
    assert spool.next_job(T0 + HOUR) is not None
    spool.hush(T0, HOUR)
    spool.hush(T0, 0)
    assert spool.next_job(T0) is not None
    spool.paper.note_struck(0x0A)
    assert (spool.paper.state, spool.block_reason(T0), spool.places(T0)[0].seconds) == ("held", "paper", float("inf"))
    spool.paper.lines_left = 1000
    assert print_all(spool, T0) == [1]


def test_paper_is_counted_from_the_line_feeds() -> None:
    paper = PaperSupply()
    paper.note_struck(0x0A)
    assert paper.state == "uncounted"
    paper.lines_left = 102
    states = []
    for _ in range(73):
        for byte in b"HI\r\n":
            paper.note_struck(byte)
        states.append(paper.state)
    assert (states.index("low"), states.index("held")) == (1, 71)
    assert paper.ribbon_chars == 2 * 73


# Expiry.


def test_after_fourteen_hours_off_sixty_jobs_are_one_digest_line() -> None:
    spool = Spool(SpoolRules(max_jobs=60, max_jobs_per_person=60))
    for number in range(60):
        spool.add(T0 + number * 840, job(f"{['ann', 'bob', 'cat', 'dan'][number % 4]}", 60 + number, keep_s=HOUR))
    now = T0 + 14 * HOUR
    printed = print_all(spool, now)
    assert printed == [57, 58, 59, 60]  # of the last hour
    line = format_digest(spool.count_expired(), 72)
    assert line == "-- 56 JOBS CAME TOO LATE: ANN 14, BOB 14, CAT 14 AND OTHERS --"
    spool.note_digest()
    assert not spool.count_expired()
    assert not spool.jobs


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=40), st.integers(1, 10**6), min_size=1, max_size=6), st.integers(20, 132))
def test_a_digest_is_one_line(expired: dict[str, int], columns: int) -> None:
    assert len(format_digest(Counter(expired), columns)) <= columns


# The clock.


def test_a_clock_that_is_set_three_minutes_after_the_start_moves_this_runs_times() -> None:
    spool, boot = Spool(SpoolRules(quiet=NIGHT, person_budget=BudgetLimits(hour=300))), 20.0
    spool.restore(boot, [{"ev": "add", "once": "", "job": plain_job(1, "old", T0 - 2 * HOUR, HOUR)}])
    spool.restore(boot, [{"ev": "add", "once": "", "job": plain_job(2, "young", T0 - HOUR / 2, HOUR)}])
    spool.is_clock_set = False
    spool.add(boot + 10, job("ann", keep_s=HOUR))
    assert spool.block_reason(boot) == "the clock is not set"
    assert spool.next_job(boot + 30) is None
    spool.shift_times(T0 - boot)
    spool.is_clock_set = True
    now = T0 + 180
    assert spool.add(T0 + 15, job("ann", keep_s=HOUR)).is_repeat
    assert print_all(spool, now) == [2, 3]
    assert spool.count_expired() == {"old": 1}


def test_a_clock_that_is_not_set_makes_no_job_of_an_earlier_run_expire() -> None:
    spool = Spool(SpoolRules())
    spool.restore(T0, [{"ev": "add", "once": "", "job": plain_job(1, "ann", T0, HOUR)}])
    spool.is_clock_set = False
    spool.expire(T0 + 1000 * HOUR)  # the battery of the clock is empty
    assert not spool.count_expired()
    spool.is_clock_set = True
    spool.expire(T0 + 2 * HOUR)
    assert spool.count_expired() == {"ann": 1}


def test_without_quiet_hours_new_jobs_print_by_any_clock_and_old_ones_wait() -> None:
    spool = Spool(SpoolRules())
    spool.restore(20.0, [{"ev": "add", "once": "", "job": plain_job(1, "old", T0, HOUR)}])
    spool.restore(20.0, [{"ev": "add", "once": "", "job": plain_job(2, "kept", T0, None)}])
    spool.is_clock_set = False
    spool.add(25.0, job("ann", keep_s=HOUR))
    assert print_all(spool, 30.0) == [2, 3]
    assert [one.id for one in spool.jobs] == [1]
    spool.release(40.0, 1)
    assert print_all(spool, 50.0) == [1]


def plain_job(number: int, person: str, at: float, keep_s: float | None) -> dict[str, object]:
    return {
        "id": number,
        "source": "irc",
        "person": person,
        "lines": ["HELLO"],
        "added_at": at,
        "keep_s": keep_s,
        "state": "waiting",
        "lines_done": 0,
    }


# Laws for any evening.


@dataclass
class Evening:
    """A spool through random events, with all that was struck and all that was cancelled."""

    spool: Spool
    now: float = T0
    struck: list[tuple[float, str, int]] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    records: list[dict[str, object]] = field(default_factory=list)

    def step(self, kind: str, person: str, number: int, seconds: float) -> None:
        self.now += seconds
        ids = [one.id for one in self.spool.jobs]
        chosen = ids[number % len(ids)] if ids else 0
        match kind:
            case "add":
                lines = tuple("X" * (number % 50 + 1) for _ in range(number % 3 + 1))
                with suppress(SpoolRefused):
                    self.spool.add(self.now, JobRequest("irc", person, lines, keep_s=2 * HOUR))
            case "print":
                self.print_lines(number)
            case "cancel" if chosen:
                self.spool.cancel(chosen)
                self.cancelled.add(chosen)
            case "hold" if chosen:
                self.spool.hold(chosen)
            case "release" if chosen:
                self.spool.release(self.now, chosen)
            case "clear":
                self.cancelled.update(one.id for one in self.spool.jobs if one.person == person)
                self.spool.clear(person)
            case "digest":
                self.spool.note_digest()
        self.records += self.spool.take_changes()

    def print_lines(self, count: int) -> None:
        for _ in range(count):
            found, self.now = print_next(self.spool, self.now)
            if found is None:
                return
            assert found.id not in self.cancelled
            assert found.state == "waiting"
            assert self.now - found.added_at <= 2 * HOUR + 60
            self.struck.append((self.now, found.person, count_characters(found.lines[found.lines_done])))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add"] * 8 + ["print"] * 3 + ["cancel", "hold", "release", "clear", "digest"]),
        st.sampled_from(["ann", "bob", "cat"]),
        st.integers(0, 99),
        st.sampled_from([0.0, 1.0, 61.0, 900.0, 4000.0]),
    ),
    max_size=60,
)


@settings(max_examples=50)
@given(STEPS)
def test_no_hour_of_paper_has_more_of_a_person_or_a_source_than_the_budget(
    steps: Sequence[tuple[str, str, int, float]],
) -> None:
    evening = Evening(Spool(SpoolRules(person_budget=BudgetLimits(300, 900), source_budget=BudgetLimits(500, 1200))))
    for step in steps:
        evening.step(*step)
    evening.step("print", "ann", 500, 0.0)
    for window_s, per_person, per_source in ((HOUR, 300, 500), (24 * HOUR, 900, 1200)):
        for end, _, _ in evening.struck:
            sums: dict[str, int] = defaultdict(int)
            for at, person, chars in evening.struck:
                if end - window_s < at <= end:
                    sums[person] += chars
            assert max(sums.values()) <= per_person
            assert sum(sums.values()) <= per_source


@settings(max_examples=50)
@given(STEPS)
def test_the_records_of_a_spool_make_the_same_spool_and_so_does_its_snapshot(
    steps: Sequence[tuple[str, str, int, float]],
) -> None:
    evening = Evening(Spool(SpoolRules(person_budget=BudgetLimits(2000))))
    for step in steps:
        evening.step(*step)
    now, spool = evening.now, evening.spool
    spool.expire(now)
    evening.records += spool.take_changes()
    replayed, reloaded = Spool(spool.rules), Spool(spool.rules)
    replayed.restore(now, evening.records)
    reloaded.restore(now, spool.snapshot())
    for other in (replayed, reloaded):
        other.expire(now)
        assert other.places(now) == spool.places(now)
        assert [one.id for one in other.jobs] == [one.id for one in spool.jobs]
        assert other.count_expired() == spool.count_expired()
    assert reloaded.snapshot() == spool.snapshot()
    assert print_all(replayed, now) == print_all(reloaded, now) == print_all(spool, now)


@settings(max_examples=50)
@given(STEPS)
def test_a_place_is_kept_when_the_operator_leaves_the_machine_alone(
    steps: Sequence[tuple[str, str, int, float]],
) -> None:
    evening = Evening(Spool(SpoolRules()))
    for step in steps:
        evening.step(*step)
    evening.spool.expire(evening.now)
    promised = {place.job_id: evening.now + place.seconds for place in evening.spool.places(evening.now)}
    started: dict[int, float] = {}
    now = evening.now
    while True:
        found, end = print_next(evening.spool, now)
        if found is None:
            break
        started.setdefault(found.id, now)
        now = end
    for job_id in started:
        assert started[job_id] == pytest.approx(promised[job_id], abs=0.01)


LENGTHS = st.lists(st.integers(3, 72), min_size=12, max_size=12)


@settings(max_examples=30)
@given(LENGTHS, LENGTHS)
def test_two_persons_who_both_wait_get_the_same_share_within_their_longest_jobs(
    first: list[int], second: list[int]
) -> None:
    spool = Spool(SpoolRules(max_jobs_per_person=30))
    for number, (ann, bob) in enumerate(zip(first, second, strict=True)):
        spool.add(T0, JobRequest("irc", "ann", ("A" * ann, f"{number}")))
        spool.add(T0, JobRequest("irc", "bob", ("B" * bob, f"{number}")))
    got, now, longest = Counter[str](), T0, max(first) + max(second) + 12
    while {one.person for one in spool.jobs} == {"ann", "bob"}:
        found, now = print_next(spool, now)
        assert found is not None
        got[found.person] += count_characters(found.lines[found.lines_done])
        assert abs(got["ann"] - got["bob"]) <= longest


# Lines, texts and durations.


@settings(max_examples=60)
@given(st.text(max_size=200), st.booleans(), st.sampled_from([20, 72]))
def test_a_text_becomes_lines_that_fit_the_machine(text: str, raw: bool, columns: int) -> None:
    lines = lay_out(text, Profile(columns=columns), raw=raw)
    for line in lines:
        assert all(len(one_pass) <= columns for one_pass in line.split("\r"))
        assert all(char == "\r" or 0x20 <= ord(char) < 0x60 for char in line)
    assert lay_out("\n".join(lines), Profile(columns=columns), raw=True) == lines


def test_prose_wraps_by_words_and_bold_is_a_second_pass() -> None:
    assert lay_out("Now is the time for all\n\ngood men.\n\n", Profile(columns=20)) == (
        "NOW IS THE TIME FOR",
        "ALL",
        "",
        "GOOD MEN.",
    )
    assert lay_out("a\bab", Profile(), overstrike=True) == ("AB\rA",)
    assert lay_out("{", Profile(), style="code") == ("\\(",)


def test_the_queue_is_a_table_of_lines_that_fit() -> None:
    spool = Spool(SpoolRules())
    spool.add(T0, job("a" * 32, 600))
    spool.add(T0, job("bob", 600))
    spool.add(T0, job("cat", 700))
    spool.hold(2)
    text = format_queue(spool.jobs, spool.places(T0), "")
    assert [line.split() for line in text.splitlines()] == [
        ["ID", "WHO", "LENGTH", "PLACE", "MINUTES"],
        ["1", "irc/" + "a" * 20, "600", "1", "0"],
        ["3", "irc/cat", "700", "2", "1"],
        ["2", "irc/bob", "600", "-", "HELD"],
    ]
    assert all(len(line) <= 72 for line in text.splitlines())
    assert format_queue([], [], "") == "THE SPOOL IS EMPTY.\n"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1H", 3600), ("7d", 7 * 86400)])
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0s", "1 h", "-1h", "9999d", "1w"])
def test_a_duration_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_duration(text)


def test_a_pattern_needs_a_source_and_a_person() -> None:
    assert check_pattern("irc/*") == "irc/*"
    with pytest.raises(ValueError, match="such as"):
        check_pattern("ada")
