from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.generate.prefix_cache import PREFILL_CHUNK
from model.server.engine.cost_model import LinearCost
from model.server.engine.scheduler import (
    ALLOWED_STALL_S,
    COMFORTABLE_BUFFER_S,
    FIRST_TOKEN_S,
    LOW_BUFFER_S,
    MAX_BUFFER_S,
    MAX_PREFILL_WAIT_S,
    MAX_UNDELIVERED_CHARS,
    UNPACED_INTERVAL_S,
    DecodeStep,
    Idle,
    PassCosts,
    PlayoutBuffer,
    Prefill,
    ScheduledSequence,
    SchedulingPolicy,
    prefill_chunk_size,
    schedule,
)

PACE = 10.0


def make_buffer(left: float, now: float = 0.0, untaken: int = 0, pace: float = PACE) -> PlayoutBuffer:
    """One that has so many seconds left."""
    made = PlayoutBuffer(pace, now - 10)
    made.last_token_at, made.undelivered_chars, made.runs_out_at = now, untaken, now + left
    return made


def make_sequence(left: float, slot: int = 0, unread: int = 1, pace: float = PACE) -> ScheduledSequence:
    return ScheduledSequence(make_buffer(left, pace=pace), unread, slot)


def make_prompt(unread: int = 50, arrived: float = 0.0, pace: float = PACE) -> ScheduledSequence:
    return ScheduledSequence(PlayoutBuffer(pace, arrived), unread)


def test_a_deadline_is_when_the_wheel_would_stand_still() -> None:
    sheet = PlayoutBuffer(PACE, arrived_at=5.0)
    assert sheet.next_deadline(6.0) == 5.0 + FIRST_TOKEN_S
    sheet.add_generated(7.0, 4)
    assert sheet.next_deadline(8.0) == pytest.approx(8.4), "what lies ready counts as taken now"
    assert sheet.mark_delivered(9.0, 4) == 0
    assert sheet.next_deadline(9.1) == pytest.approx(9.4)
    sheet.add_generated(9.2, 10)
    assert sheet.next_deadline(9.2) == pytest.approx(10.4)
    assert sheet.mark_delivered(10.0, 10) == pytest.approx(0.6)
    assert sheet.next_deadline(10.0) == pytest.approx(11.0), "a wheel that stood still begins anew"
    assert sheet.undelivered_chars == 0


def test_a_reader_without_a_wheel_has_room_for_what_it_takes() -> None:
    sheet = PlayoutBuffer(0.0, arrived_at=5.0)
    assert sheet.next_deadline(5.0) == 5.0 + UNPACED_INTERVAL_S
    sheet.add_generated(6.0, MAX_UNDELIVERED_CHARS - 1)
    assert sheet.has_room(6.0)
    sheet.add_generated(7.0, 1)
    assert not sheet.has_room(1e9)
    assert sheet.mark_delivered(8.0, MAX_UNDELIVERED_CHARS) == 0
    assert (sheet.has_room(8.0), sheet.next_deadline(8.0)) == (True, 7.0 + UNPACED_INTERVAL_S)


def test_nothing_is_made_until_a_paper_is_low_and_then_for_all_that_have_room() -> None:
    lines = [
        make_sequence(LOW_BUFFER_S + 0.5, 0),
        make_sequence(MAX_BUFFER_S - 0.1, 1),
        make_sequence(MAX_BUFFER_S + 0.1, 2),
    ]
    assert schedule(0.0, lines, PassCosts.initial_guess()) == Idle(0.5)
    assert schedule(0.5, lines, PassCosts.initial_guess()) == DecodeStep(lines, is_early=True)
    lines[0] = make_sequence(LOW_BUFFER_S - 0.1, 0)
    assert schedule(0.0, lines, PassCosts.initial_guess()) == DecodeStep(lines[:2], is_early=True)
    assert schedule(0.0, [], PassCosts.initial_guess()) == Idle(inf)


def test_a_step_is_early_while_no_paper_is_near_its_end() -> None:
    lines = [make_sequence(COMFORTABLE_BUFFER_S + 0.1, 0), make_sequence(COMFORTABLE_BUFFER_S + 5, 1)]
    assert schedule(0.0, lines, PassCosts.initial_guess()) == DecodeStep(lines, is_early=True)
    assert schedule(0.2, lines, PassCosts.initial_guess()) == DecodeStep(lines)


def test_what_is_not_taken_is_not_waited_for_by_the_clock() -> None:
    stuck = ScheduledSequence(make_buffer(-5.0, untaken=int(LOW_BUFFER_S * PACE)), 1, 0)
    assert schedule(100.0, [stuck], PassCosts.initial_guess()) in (Idle(inf), DecodeStep([stuck], is_early=True))
    stuck.buffer.add_generated(0.0, 3)
    assert schedule(100.0, [stuck], PassCosts.initial_guess()) == Idle(inf)


def test_a_prompt_goes_before_a_step_if_every_paper_can_bear_it() -> None:
    costs, new, low = PassCosts(LinearCost(0.1, 0.0), LinearCost(0.3, 0.0)), make_prompt(), make_sequence(0.4)
    long = make_prompt(1000, -MAX_PREFILL_WAIT_S - 1)
    assert schedule(0.0, [make_sequence(0.45), new], costs) == Prefill(new, 50)
    assert schedule(0.0, [low, new], costs) == DecodeStep([low])
    assert schedule(0.0, [make_sequence(-5), long], costs) == Prefill(long, 128)
    low.buffer.runs_out_at = 0.36
    assert schedule(0.0, [low, long], costs, may_prefill=False) == DecodeStep([low]), "two pieces with no step between"
    low.buffer.runs_out_at = 0.4
    assert schedule(0.0, [low, long], costs, may_prefill=False) == Prefill(long, 128), (
        "nobody hears the tenth of a fifth of a second"
    )


def test_a_prompt_is_borne_where_those_who_are_low_could_go_by_themselves() -> None:
    lines, new = [make_sequence(3.0, slot) for slot in range(100)], make_prompt()
    lines[5].buffer.runs_out_at = 0.1
    assert schedule(0.0, [*lines, new], PassCosts.initial_guess()) == Prefill(new, 50)
    for one in lines[:60]:
        one.buffer.runs_out_at = 0.1
    todo = schedule(0.0, [*lines, new], PassCosts.initial_guess())
    assert isinstance(todo, DecodeStep)


@given(st.integers(1, 1000))
def test_no_token_of_a_prompt_is_read_alone(unread: int) -> None:
    sizes = []
    while unread > sum(sizes):
        sizes.append(prefill_chunk_size(unread - sum(sizes)))
    assert max(sizes) <= PREFILL_CHUNK
    assert len(sizes) <= 1 + unread // (PREFILL_CHUNK - 1)
    assert 1 not in sizes or sizes == [1]


def test_a_text_that_was_rolled_is_read_when_its_own_wheel_is_the_first_to_stand_still() -> None:
    costs = PassCosts(LinearCost(0.1, 0.0), LinearCost(0.3, 0.0))
    rolled, other = make_sequence(0.1, 0, unread=60), make_sequence(0.2, 1)
    assert schedule(0.0, [rolled, other], costs) == Prefill(rolled, 60)
    rolled.buffer.runs_out_at = 0.3
    assert schedule(0.0, [rolled, other], costs) == DecodeStep([other])


def test_those_that_cannot_bear_a_large_step_go_before_it_if_they_are_few() -> None:
    lines = [make_sequence(0.9, slot) for slot in range(100)]
    lines[98].buffer.runs_out_at = lines[99].buffer.runs_out_at = 0.1
    assert schedule(0.0, lines, PassCosts.initial_guess()) == DecodeStep(lines[98:])
    for one in lines:
        one.buffer.runs_out_at = 0.1
    assert schedule(0.0, lines, PassCosts.initial_guess()) == DecodeStep(lines), (
        "where all are late the largest step is the quickest way"
    )


def test_where_many_are_close_behind_a_prompt_gives_way_to_one_step_for_all() -> None:
    lines, new = [make_sequence(0.32 if slot % 10 else 0.2, slot) for slot in range(100)], make_prompt()
    assert schedule(0.0, [*lines, new], PassCosts.initial_guess()) == DecodeStep(lines)
    for one in lines[20:]:
        one.buffer.runs_out_at = 3.0
    assert schedule(0.0, [*lines, new], PassCosts.initial_guess()) == Prefill(new, 50), (
        "these few would be served in time"
    )


def test_where_the_first_cannot_wait_for_all_it_waits_for_its_block_alone() -> None:
    lines, costs = [make_sequence(0.1, slot) for slot in range(100)], PassCosts.initial_guess()
    lines[70].buffer.runs_out_at = 0.03
    block = costs.step.max_items_in(ALLOWED_STALL_S)
    assert 50 < block < 70
    assert schedule(0.0, lines, costs) == DecodeStep(lines[block:])
    lines[70].buffer.runs_out_at = -2 * ALLOWED_STALL_S
    assert schedule(0.0, lines, costs) == DecodeStep(lines), (
        "it has stood still for so long that the quickest way is the best"
    )
    slow = PassCosts(LinearCost(0.008, 0.005), LinearCost(0.01, 0.001))
    lines[70].buffer.runs_out_at = 0.03
    assert schedule(0.0, lines, slow) == DecodeStep(lines), "all fall behind, whatever is done"


def test_a_gap_costs_less_than_a_pass_until_it_is_wide() -> None:
    near = [make_sequence(0.5, slot) for slot in (0, 3, 4)]
    assert schedule(0.0, near, PassCosts(LinearCost(0.006, 0.002), LinearCost(0.1, 0))) == DecodeStep(near)
    far = [make_sequence(0.5, 0), make_sequence(0.4, 9), make_sequence(0.5, 10)]
    assert schedule(0.0, far, PassCosts(LinearCost(0.006, 0.002), LinearCost(0.1, 0))) == DecodeStep(far[1:])


def test_those_without_a_wheel_take_what_is_left() -> None:
    free, costs = make_sequence(0, 1, pace=0), PassCosts(LinearCost(0.1, 0.1), LinearCost(0.1, 0))
    free.buffer.last_token_at = -0.1
    assert schedule(0.0, [make_sequence(LOW_BUFFER_S + 1, 0), free], costs) == DecodeStep([free])
    wheel = make_sequence(0.31, 0)
    assert schedule(0.0, [wheel, free], costs) == DecodeStep([wheel])
    wheel.buffer.runs_out_at = 0.4
    assert schedule(0.0, [wheel, free], costs) == DecodeStep([wheel, free]), (
        "a step that is made anyhow has room for it"
    )
    wheel.buffer.runs_out_at, free.buffer.last_token_at = 0.05, -UNPACED_INTERVAL_S - 0.1
    assert schedule(0.0, [wheel, free], costs) == DecodeStep([wheel, free]), "it starves"


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
    given: list[tuple[float, int, float, int, bool]], turn: bool, order: SchedulingPolicy
) -> None:
    lines = []
    for slot, (left, unread, pace, untaken, begun) in enumerate(given):
        made = PlayoutBuffer(pace, left - 3)
        if begun:
            made = make_buffer(left, untaken=untaken, pace=pace)
        lines.append(ScheduledSequence(made, unread, slot))
    todo = schedule(0.0, lines, PassCosts.initial_guess(), order, turn)
    if isinstance(todo, Prefill):
        assert todo.sequence in lines
        assert 0 < todo.token_count <= todo.sequence.pending_tokens
    elif isinstance(todo, DecodeStep):
        assert todo.sequences
        assert all(one.pending_tokens == 1 for one in todo.sequences)
        assert order == "arrival" or all(one.buffer.has_room(0.0) for one in todo.sequences)
        assert [one.slot for one in todo.sequences] == sorted(one.slot for one in todo.sequences)
    else:
        assert todo.until > 0
        assert not [one for one in lines if one.pending_tokens > 1]


@dataclass
class SimulatedOperator:
    """A line and the person at it: asks, reads what is printed, thinks, types, asks again."""

    draw: random.Random
    asks_at: float
    sequence: ScheduledSequence | None = None
    remaining_tokens: int = 0  # tokens of the answer
    stall_s: float = 0.0
    first_token_delays: list[float] = field(default_factory=list)
    answers: int = 0


@dataclass
class SchedulerSimulation:
    """Lines on a clock that jumps, with the real plan and an engine that takes what `step` and `piece` say."""

    operators: list[SimulatedOperator]
    step: Callable[[int], float]
    prefill: Callable[[int], float]
    policy: SchedulingPolicy = "paper"
    tokens: int = 100
    prompt: int = 40
    now: float = 0.0
    steps: int = 0
    rows: int = 0
    padding_rows: int = 0
    costs: PassCosts = field(default_factory=PassCosts.initial_guess)

    def run(self, until: float) -> None:
        turn = True
        while self.now < until:
            self._start_answers()
            lines = [one.sequence for one in self.operators if one.sequence]
            for slot, one in enumerate(lines):  # they are kept side by side
                one.slot = slot
            todo = schedule(self.now, lines, self.costs, self.policy, turn)
            if isinstance(todo, Idle):
                coming = min((one.asks_at for one in self.operators if not one.sequence), default=inf)
                assert min(todo.until, coming) > self.now, "it would not rest"
                self.now = min(todo.until, coming, until)
                continue
            turn = isinstance(todo, DecodeStep)
            self._run_pass(todo)

    def _start_answers(self) -> None:
        for slot, one in enumerate(self.operators):
            if not one.sequence and one.asks_at <= self.now:
                one.sequence, one.remaining_tokens = (
                    ScheduledSequence(PlayoutBuffer(PACE, one.asks_at), self.prompt, slot),
                    self.tokens,
                )

    def _run_pass(self, todo: Prefill | DecodeStep) -> None:
        if isinstance(todo, Prefill):
            took = self.prefill(todo.token_count)
            self.costs.prefill.add_measurement(todo.token_count, took)
            self.now += took
            todo.sequence.pending_tokens -= todo.token_count
            made = [] if todo.sequence.pending_tokens else [todo.sequence]
        else:
            span = todo.sequences[-1].slot - todo.sequences[0].slot + 1
            took = self.step(span)
            self.costs.step.add_measurement(span, took)
            self.now += took
            made = list(todo.sequences)
            self.steps, self.rows, self.padding_rows = (
                self.steps + 1,
                self.rows + span,
                self.padding_rows + span - len(made),
            )
        for one in self.operators:
            if one.sequence in made:
                self._emit_token(one, one.sequence)

    def _emit_token(self, one: SimulatedOperator, line: ScheduledSequence) -> None:
        line.pending_tokens = 1
        if not line.buffer.has_started:
            one.first_token_delays.append(self.now - line.buffer.arrived_at)
        size = one.draw.choice((1, 2, 3, 4, 4, 5, 5, 6, 6))
        line.buffer.add_generated(self.now, size)
        one.stall_s += line.buffer.mark_delivered(self.now, size)
        one.remaining_tokens -= 1
        if not one.remaining_tokens:
            assert line.buffer.runs_out_at is not None
            one.sequence, one.asks_at = None, line.buffer.runs_out_at + one.draw.uniform(5, 25)
            one.answers += 1


def make_simulation(
    count: int, speed: float = 1.0, order: SchedulingPolicy = "paper", **more: int
) -> SchedulerSimulation:
    draw = random.Random(33)
    typists = [SimulatedOperator(random.Random(n), draw.uniform(0, 30)) for n in range(count)]
    return SchedulerSimulation(
        typists, lambda n: (0.008 + 0.0016 * n) / speed, lambda n: (0.01 + 0.0011 * n) / speed, order, **more
    )


def test_a_hundred_lines_never_stand_still_for_a_fifth_of_a_second() -> None:
    full = make_simulation(100)
    full.run(120)
    firsts = sorted(first for one in full.operators for first in one.first_token_delays)
    assert max(one.stall_s for one in full.operators) < 0.2
    assert firsts[len(firsts) * 99 // 100] < 1.5
    assert min(one.answers for one in full.operators) >= 1


def test_first_come_order_carries_fewer() -> None:
    dry = {}
    orders: tuple[SchedulingPolicy, ...] = ("paper", "arrival")
    for order in orders:
        full = make_simulation(180, 1.0, order)
        full.run(75)
        dry[order] = sum(one.stall_s > 0.2 for one in full.operators)
    assert dry["paper"] == 0 < dry["arrival"]


def test_where_more_is_wanted_than_can_be_made_all_fall_behind_alike() -> None:
    full = make_simulation(100, 0.35, tokens=10_000)
    full.run(60)
    before = [(one.remaining_tokens, one.stall_s) for one in full.operators]
    full.run(130)
    got = [left - one.remaining_tokens for one, (left, _) in zip(full.operators, before, strict=True)]
    late = [one.stall_s - dry_s for one, (_, dry_s) in zip(full.operators, before, strict=True)]
    assert max(got) - min(got) <= 3
    mean = sum(late) / len(late)
    assert mean > 8, "the engine was too quick for this test"
    assert 0.4 * mean < min(late) <= max(late) < 1.6 * mean


def test_after_a_pause_of_the_machine_all_wheels_turn_again() -> None:
    full = make_simulation(150)
    full.run(30)
    full.now += 6
    full.run(45)
    late = sum(one.stall_s for one in full.operators)
    assert late > 100
    full.run(75)
    assert sum(one.stall_s for one in full.operators) - late < ALLOWED_STALL_S, "all wheels together"


def test_prompts_come_to_their_turn_where_all_run_dry() -> None:
    full = make_simulation(60, 0.2, tokens=10_000)
    for one in full.operators[50:]:
        one.asks_at = 60.0
    full.run(100)
    assert all(one.first_token_delays and one.first_token_delays[0] < 30 for one in full.operators)


@pytest.mark.parametrize("speed", [0.05, 100.0])
def test_the_plan_learns_how_quick_the_engine_is(speed: float) -> None:
    full = make_simulation(30, speed)
    full.run(60)
    assert full.costs.step.seconds_for(20) == pytest.approx(full.step(20), rel=0.2)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 2)), max_size=60))
def test_an_estimate_is_never_less_than_nothing_nor_less_for_more(measured: list[tuple[int, float]]) -> None:
    cost = LinearCost(0.008, 0.0016)
    for size, seconds in measured:
        cost.add_measurement(size, seconds)
    assert cost.per_item >= 0
    assert cost.fixed >= -1e-9
    assert 0 <= cost.seconds_for(1) <= cost.seconds_for(200)


def test_sizes_that_are_all_alike_still_have_a_slope_and_an_odd_pass_does_little() -> None:
    cost = LinearCost(0.008, 0.0016)
    for _ in range(300):
        cost.add_measurement(100, 0.0168)
    assert cost.seconds_for(100) == pytest.approx(0.0168, rel=0.01)
    assert cost.seconds_for(10) == pytest.approx(0.0024, rel=0.2), "as fast as it is, so is a small step"
    cost.add_measurement(100, 60.0)
    assert cost.seconds_for(100) < 0.02
