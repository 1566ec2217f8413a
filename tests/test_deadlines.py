from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prefix import CHUNK
from model.serving.costs import Cost
from model.serving.deadlines import (
    AHEAD_S,
    EASY_S,
    FIRST_S,
    LATE_S,
    LOW_S,
    PATIENCE_S,
    REST_S,
    UNTAKEN,
    Costs,
    Line,
    Order,
    Paper,
    Read,
    Rest,
    Step,
    plan,
    portion,
)

PACE = 10.0


def paper(left: float, now: float = 0.0, untaken: int = 0, pace: float = PACE) -> Paper:
    """One that has so many seconds left."""
    made = Paper(pace, now - 10)
    made.made_at, made.untaken, made.out = now, untaken, now + left
    return made


def line(left: float, slot: int = 0, unread: int = 1, pace: float = PACE) -> Line:
    return Line(paper(left, pace=pace), unread, slot)


def prompt(unread: int = 50, arrived: float = 0.0, pace: float = PACE) -> Line:
    return Line(Paper(pace, arrived), unread)


def test_a_deadline_is_when_the_wheel_would_stand_still() -> None:
    sheet = Paper(PACE, arrived=5.0)
    assert sheet.due(6.0) == 5.0 + FIRST_S
    sheet.made(7.0, 4)
    assert sheet.due(8.0) == pytest.approx(8.4), "what lies ready counts as taken now"
    assert sheet.took(9.0, 4) == 0
    assert sheet.due(9.1) == pytest.approx(9.4)
    sheet.made(9.2, 10)
    assert sheet.due(9.2) == pytest.approx(10.4)
    assert sheet.took(10.0, 10) == pytest.approx(0.6)
    assert sheet.due(10.0) == pytest.approx(11.0), "a wheel that stood still begins anew"
    assert sheet.untaken == 0


def test_a_reader_without_a_wheel_has_room_for_what_it_takes() -> None:
    sheet = Paper(0.0, arrived=5.0)
    assert sheet.due(5.0) == 5.0 + REST_S
    sheet.made(6.0, UNTAKEN - 1)
    assert sheet.has_room(6.0)
    sheet.made(7.0, 1)
    assert not sheet.has_room(1e9)
    assert sheet.took(8.0, UNTAKEN) == 0
    assert (sheet.has_room(8.0), sheet.due(8.0)) == (True, 7.0 + REST_S)


def test_nothing_is_made_until_a_paper_is_low_and_then_for_all_that_have_room() -> None:
    lines = [line(LOW_S + 0.5, 0), line(AHEAD_S - 0.1, 1), line(AHEAD_S + 0.1, 2)]
    assert plan(0.0, lines, Costs.guessed()) == Rest(0.5)
    assert plan(0.5, lines, Costs.guessed()) == Step(lines, early=True)
    lines[0] = line(LOW_S - 0.1, 0)
    assert plan(0.0, lines, Costs.guessed()) == Step(lines[:2], early=True)
    assert plan(0.0, [], Costs.guessed()) == Rest(inf)


def test_a_step_is_early_while_no_paper_is_near_its_end() -> None:
    lines = [line(EASY_S + 0.1, 0), line(EASY_S + 5, 1)]
    assert plan(0.0, lines, Costs.guessed()) == Step(lines, early=True)
    assert plan(0.2, lines, Costs.guessed()) == Step(lines)


def test_what_is_not_taken_is_not_waited_for_by_the_clock() -> None:
    stuck = Line(paper(-5.0, untaken=int(LOW_S * PACE)), 1, 0)
    assert plan(100.0, [stuck], Costs.guessed()) in (Rest(inf), Step([stuck], early=True))
    stuck.paper.made(0.0, 3)
    assert plan(100.0, [stuck], Costs.guessed()) == Rest(inf)


def test_a_prompt_goes_before_a_step_if_every_paper_can_bear_it() -> None:
    costs, new, low = Costs(Cost(0.1, 0.0), Cost(0.3, 0.0)), prompt(), line(0.4)
    long = prompt(1000, -PATIENCE_S - 1)
    assert plan(0.0, [line(0.45), new], costs) == Read(new, 50)
    assert plan(0.0, [low, new], costs) == Step([low])
    assert plan(0.0, [line(-5), long], costs) == Read(long, 128)
    low.paper.out = 0.36
    assert plan(0.0, [low, long], costs, turn=False) == Step([low]), "two pieces with no step between"
    low.paper.out = 0.4
    assert plan(0.0, [low, long], costs, turn=False) == Read(long, 128), "nobody hears the tenth of a fifth of a second"


def test_a_prompt_is_borne_where_those_who_are_low_could_go_by_themselves() -> None:
    lines, new = [line(3.0, slot) for slot in range(100)], prompt()
    lines[5].paper.out = 0.1
    assert plan(0.0, [*lines, new], Costs.guessed()) == Read(new, 50)
    for one in lines[:60]:
        one.paper.out = 0.1
    todo = plan(0.0, [*lines, new], Costs.guessed())
    assert isinstance(todo, Step)


@given(st.integers(1, 1000))
def test_no_token_of_a_prompt_is_read_alone(unread: int) -> None:
    sizes = []
    while unread > sum(sizes):
        sizes.append(portion(unread - sum(sizes)))
    assert max(sizes) <= CHUNK
    assert len(sizes) <= 1 + unread // (CHUNK - 1)
    assert 1 not in sizes or sizes == [1]


def test_a_text_that_was_rolled_is_read_when_its_own_wheel_is_the_first_to_stand_still() -> None:
    costs = Costs(Cost(0.1, 0.0), Cost(0.3, 0.0))
    rolled, other = line(0.1, 0, unread=60), line(0.2, 1)
    assert plan(0.0, [rolled, other], costs) == Read(rolled, 60)
    rolled.paper.out = 0.3
    assert plan(0.0, [rolled, other], costs) == Step([other])


def test_those_that_cannot_bear_a_large_step_go_before_it_if_they_are_few() -> None:
    lines = [line(0.9, slot) for slot in range(100)]
    lines[98].paper.out = lines[99].paper.out = 0.1
    assert plan(0.0, lines, Costs.guessed()) == Step(lines[98:])
    for one in lines:
        one.paper.out = 0.1
    assert plan(0.0, lines, Costs.guessed()) == Step(lines), "where all are late the largest step is the quickest way"


def test_where_many_are_close_behind_a_prompt_gives_way_to_one_step_for_all() -> None:
    lines, new = [line(0.32 if slot % 10 else 0.2, slot) for slot in range(100)], prompt()
    assert plan(0.0, [*lines, new], Costs.guessed()) == Step(lines)
    for one in lines[20:]:
        one.paper.out = 3.0
    assert plan(0.0, [*lines, new], Costs.guessed()) == Read(new, 50), "these few would be served in time"


def test_where_the_first_cannot_wait_for_all_it_waits_for_its_block_alone() -> None:
    lines, costs = [line(0.1, slot) for slot in range(100)], Costs.guessed()
    lines[70].paper.out = 0.03
    block = costs.step.most(LATE_S)
    assert 50 < block < 70
    assert plan(0.0, lines, costs) == Step(lines[block:])
    lines[70].paper.out = -2 * LATE_S
    assert plan(0.0, lines, costs) == Step(lines), "it has stood still for so long that the quickest way is the best"
    slow = Costs(Cost(0.008, 0.005), Cost(0.01, 0.001))
    lines[70].paper.out = 0.03
    assert plan(0.0, lines, slow) == Step(lines), "all fall behind, whatever is done"


def test_a_gap_costs_less_than_a_pass_until_it_is_wide() -> None:
    near = [line(0.5, slot) for slot in (0, 3, 4)]
    assert plan(0.0, near, Costs(Cost(0.006, 0.002), Cost(0.1, 0))) == Step(near)
    far = [line(0.5, 0), line(0.4, 9), line(0.5, 10)]
    assert plan(0.0, far, Costs(Cost(0.006, 0.002), Cost(0.1, 0))) == Step(far[1:])


def test_those_without_a_wheel_take_what_is_left() -> None:
    free, costs = line(0, 1, pace=0), Costs(Cost(0.1, 0.1), Cost(0.1, 0))
    free.paper.made_at = -0.1
    assert plan(0.0, [line(LOW_S + 1, 0), free], costs) == Step([free])
    wheel = line(0.31, 0)
    assert plan(0.0, [wheel, free], costs) == Step([wheel])
    wheel.paper.out = 0.4
    assert plan(0.0, [wheel, free], costs) == Step([wheel, free]), "a step that is made anyhow has room for it"
    wheel.paper.out, free.paper.made_at = 0.05, -REST_S - 0.1
    assert plan(0.0, [wheel, free], costs) == Step([wheel, free]), "it starves"


@given(
    st.lists(
        st.tuples(
            st.floats(-5, 5), st.integers(1, 200), st.sampled_from([0.0, 10.0]), st.integers(0, 40), st.booleans()
        ),
        max_size=12,
    ),
    st.booleans(),
    st.sampled_from(["paper", "arrival"]),
)
def test_every_plan_is_of_lines_that_may(
    given: list[tuple[float, int, float, int, bool]], turn: bool, order: Order
) -> None:
    lines = []
    for slot, (left, unread, pace, untaken, begun) in enumerate(given):
        made = Paper(pace, left - 3)
        if begun:
            made = paper(left, untaken=untaken, pace=pace)
        lines.append(Line(made, unread, slot))
    todo = plan(0.0, lines, Costs.guessed(), order, turn)
    if isinstance(todo, Read):
        assert todo.line in lines
        assert 0 < todo.count <= todo.line.unread
    elif isinstance(todo, Step):
        assert todo.lines
        assert all(one.unread == 1 for one in todo.lines)
        assert order == "arrival" or all(one.paper.has_room(0.0) for one in todo.lines)
        assert [one.slot for one in todo.lines] == sorted(one.slot for one in todo.lines)
    else:
        assert todo.until > 0
        assert not [one for one in lines if one.unread > 1]


@dataclass
class Typist:
    """A line and the person at it: asks, reads what is printed, thinks, types, asks again."""

    draw: random.Random
    asks_at: float
    line: Line | None = None
    left: int = 0  # tokens of the answer
    dry_s: float = 0.0
    firsts: list[float] = field(default_factory=list)
    answers: int = 0


@dataclass
class Hall:
    """Lines on a clock that jumps, with the real plan and an engine that takes what `step` and `piece` say."""

    typists: list[Typist]
    step: Callable[[int], float]
    piece: Callable[[int], float]
    order: Order = "paper"
    tokens: int = 100
    prompt: int = 40
    now: float = 0.0
    steps: int = 0
    rows: int = 0
    along: int = 0
    costs: Costs = field(default_factory=Costs.guessed)

    def run(self, until: float) -> None:
        turn = True
        while self.now < until:
            self._ask()
            lines = [one.line for one in self.typists if one.line]
            for slot, one in enumerate(lines):  # they are kept side by side
                one.slot = slot
            todo = plan(self.now, lines, self.costs, self.order, turn)
            if isinstance(todo, Rest):
                coming = min((one.asks_at for one in self.typists if not one.line), default=inf)
                assert min(todo.until, coming) > self.now, "it would not rest"
                self.now = min(todo.until, coming, until)
                continue
            turn = isinstance(todo, Step)
            self._pass(todo)

    def _ask(self) -> None:
        for slot, one in enumerate(self.typists):
            if not one.line and one.asks_at <= self.now:
                one.line, one.left = Line(Paper(PACE, one.asks_at), self.prompt, slot), self.tokens

    def _pass(self, todo: Read | Step) -> None:
        if isinstance(todo, Read):
            took = self.piece(todo.count)
            self.costs.piece.measured(todo.count, took)
            self.now += took
            todo.line.unread -= todo.count
            made = [] if todo.line.unread else [todo.line]
        else:
            span = todo.lines[-1].slot - todo.lines[0].slot + 1
            took = self.step(span)
            self.costs.step.measured(span, took)
            self.now += took
            made = list(todo.lines)
            self.steps, self.rows, self.along = self.steps + 1, self.rows + span, self.along + span - len(made)
        for one in self.typists:
            if one.line in made:
                self._token(one, one.line)

    def _token(self, one: Typist, line: Line) -> None:
        line.unread = 1
        if not line.paper.begun:
            one.firsts.append(self.now - line.paper.arrived)
        size = one.draw.choice((1, 2, 3, 4, 4, 5, 5, 6, 6))
        line.paper.made(self.now, size)
        one.dry_s += line.paper.took(self.now, size)
        one.left -= 1
        if not one.left:
            assert line.paper.out is not None
            one.line, one.asks_at = None, line.paper.out + one.draw.uniform(5, 25)
            one.answers += 1


def hall(count: int, speed: float = 1.0, order: Order = "paper", **more: int) -> Hall:
    draw = random.Random(33)
    typists = [Typist(random.Random(n), draw.uniform(0, 30)) for n in range(count)]
    return Hall(typists, lambda n: (0.008 + 0.0016 * n) / speed, lambda n: (0.01 + 0.0011 * n) / speed, order, **more)


def test_a_hundred_lines_never_stand_still_for_a_fifth_of_a_second() -> None:
    full = hall(100)
    full.run(120)
    firsts = sorted(first for one in full.typists for first in one.firsts)
    assert max(one.dry_s for one in full.typists) < 0.2
    assert firsts[len(firsts) * 99 // 100] < 1.5
    assert min(one.answers for one in full.typists) >= 1


def test_first_come_order_carries_fewer() -> None:
    dry = {}
    orders: tuple[Order, ...] = ("paper", "arrival")
    for order in orders:
        full = hall(180, 1.0, order)
        full.run(75)
        dry[order] = sum(one.dry_s > 0.2 for one in full.typists)
    assert dry["paper"] == 0 < dry["arrival"]


def test_where_more_is_wanted_than_can_be_made_all_fall_behind_alike() -> None:
    full = hall(100, 0.35, tokens=10_000)
    full.run(60)
    before = [(one.left, one.dry_s) for one in full.typists]
    full.run(130)
    got = [left - one.left for one, (left, _) in zip(full.typists, before, strict=True)]
    late = [one.dry_s - dry_s for one, (_, dry_s) in zip(full.typists, before, strict=True)]
    assert max(got) - min(got) <= 3
    mean = sum(late) / len(late)
    assert mean > 8, "the engine was too quick for this test"
    assert 0.4 * mean < min(late) <= max(late) < 1.6 * mean


def test_after_a_pause_of_the_machine_all_wheels_turn_again() -> None:
    full = hall(150)
    full.run(30)
    full.now += 6
    full.run(45)
    late = sum(one.dry_s for one in full.typists)
    assert late > 100
    full.run(75)
    assert sum(one.dry_s for one in full.typists) - late < LATE_S, "all wheels together"


def test_prompts_come_to_their_turn_where_all_run_dry() -> None:
    full = hall(60, 0.2, tokens=10_000)
    for one in full.typists[50:]:
        one.asks_at = 60.0
    full.run(100)
    assert all(one.firsts and one.firsts[0] < 30 for one in full.typists)


@pytest.mark.parametrize("speed", [0.05, 100.0])
def test_the_plan_learns_how_quick_the_engine_is(speed: float) -> None:
    full = hall(30, speed)
    full.run(60)
    assert full.costs.step.of(20) == pytest.approx(full.step(20), rel=0.2)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 2)), max_size=60))
def test_an_estimate_is_never_less_than_nothing_nor_less_for_more(measured: list[tuple[int, float]]) -> None:
    cost = Cost(0.008, 0.0016)
    for size, seconds in measured:
        cost.measured(size, seconds)
    assert cost.each >= 0
    assert cost.fixed >= -1e-9
    assert 0 <= cost.of(1) <= cost.of(200)


def test_sizes_that_are_all_alike_still_have_a_slope_and_an_odd_pass_does_little() -> None:
    cost = Cost(0.008, 0.0016)
    for _ in range(300):
        cost.measured(100, 0.0168)
    assert cost.of(100) == pytest.approx(0.0168, rel=0.01)
    assert cost.of(10) == pytest.approx(0.0024, rel=0.2), "as fast as it is, so is a small step"
    cost.measured(100, 60.0)
    assert cost.of(100) < 0.02
