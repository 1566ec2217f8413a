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

SPEED = 10.0


def make_buffer(left_s: float, now: float = 0.0, undelivered: int = 0, speed: float = SPEED) -> PlayoutBuffer:
    """A buffer that lasts for `left_s` seconds."""
    return PlayoutBuffer(speed, now - 10, now + left_s, undelivered, now)


def make_sequence(left_s: float, slot: int = 0, pending: int = 1, speed: float = SPEED) -> ScheduledSequence:
    return ScheduledSequence(make_buffer(left_s, speed=speed), pending, slot)


def make_prompt(pending: int = 50, arrived_at: float = 0.0) -> ScheduledSequence:
    return ScheduledSequence(PlayoutBuffer(SPEED, arrived_at), pending)


def test_the_deadline_is_when_the_client_runs_out_of_text() -> None:
    buffer = PlayoutBuffer(SPEED, arrived_at=5.0)
    assert buffer.next_deadline(6.0) == 5.0 + FIRST_TOKEN_S
    buffer.add_generated(7.0, 4)
    assert buffer.next_deadline(8.0) == pytest.approx(8.4), "undelivered text counts as delivered now"
    assert buffer.mark_delivered(9.0, 4) == 0
    assert buffer.next_deadline(9.1) == pytest.approx(9.4)
    buffer.add_generated(9.2, 10)
    assert buffer.next_deadline(9.2) == pytest.approx(10.4)
    assert buffer.mark_delivered(10.0, 10) == pytest.approx(0.6)
    assert buffer.next_deadline(10.0) == pytest.approx(11.0), "after a stall the buffer starts anew"
    assert buffer.undelivered_chars == 0


def test_an_unpaced_client_has_room_while_it_takes_its_text() -> None:
    buffer = PlayoutBuffer(0.0, arrived_at=5.0)
    assert buffer.next_deadline(5.0) == 5.0 + UNPACED_INTERVAL_S
    buffer.add_generated(6.0, MAX_UNDELIVERED_CHARS - 1)
    assert buffer.has_room(6.0)
    buffer.add_generated(7.0, 1)
    assert not buffer.has_room(1e9)
    assert buffer.mark_delivered(8.0, MAX_UNDELIVERED_CHARS) == 0
    assert (buffer.has_room(8.0), buffer.next_deadline(8.0)) == (True, 7.0 + UNPACED_INTERVAL_S)


def test_a_low_buffer_starts_a_step_for_all_that_have_room() -> None:
    sequences = [
        make_sequence(LOW_BUFFER_S + 0.5, 0),
        make_sequence(MAX_BUFFER_S - 0.1, 1),
        make_sequence(MAX_BUFFER_S + 0.1, 2),
    ]
    assert schedule(0.0, sequences, PassCosts.initial_guess()) == Idle(0.5)
    assert schedule(0.5, sequences, PassCosts.initial_guess()) == DecodeStep(sequences, is_early=True)
    sequences[0] = make_sequence(LOW_BUFFER_S - 0.1, 0)
    assert schedule(0.0, sequences, PassCosts.initial_guess()) == DecodeStep(sequences[:2], is_early=True)
    assert schedule(0.0, [], PassCosts.initial_guess()) == Idle(inf)


def test_a_step_is_early_while_no_buffer_runs_out_soon() -> None:
    sequences = [make_sequence(COMFORTABLE_BUFFER_S + 0.1, 0), make_sequence(COMFORTABLE_BUFFER_S + 5, 1)]
    assert schedule(0.0, sequences, PassCosts.initial_guess()) == DecodeStep(sequences, is_early=True)
    assert schedule(0.2, sequences, PassCosts.initial_guess()) == DecodeStep(sequences)


def test_undelivered_text_sets_no_wakeup() -> None:
    stalled = ScheduledSequence(make_buffer(-5.0, undelivered=int(LOW_BUFFER_S * SPEED)), 1, 0)
    assert schedule(100.0, [stalled], PassCosts.initial_guess()) in (Idle(inf), DecodeStep([stalled], is_early=True))
    stalled.buffer.add_generated(0.0, 3)
    assert schedule(100.0, [stalled], PassCosts.initial_guess()) == Idle(inf)


def test_a_prompt_goes_before_a_step_if_every_buffer_lasts() -> None:
    costs, new, low = PassCosts(LinearCost(0.1, 0.0), LinearCost(0.3, 0.0)), make_prompt(), make_sequence(0.4)
    long = make_prompt(1000, -MAX_PREFILL_WAIT_S - 1)
    assert schedule(0.0, [make_sequence(0.45), new], costs) == Prefill(new, 50)
    assert schedule(0.0, [low, new], costs) == DecodeStep([low])
    assert schedule(0.0, [make_sequence(-5), long], costs) == Prefill(long, 128)
    low.buffer.runs_out_at = 0.36
    assert schedule(0.0, [low, long], costs, may_prefill=False) == DecodeStep([low]), (
        "no two overdue prefills without a step between"
    )
    low.buffer.runs_out_at = 0.4
    assert schedule(0.0, [low, long], costs, may_prefill=False) == Prefill(long, 128), (
        "a stall of half ALLOWED_STALL_S is allowed for an overdue prompt"
    )


def test_a_prompt_goes_first_if_a_small_step_can_serve_the_low_buffers() -> None:
    sequences, new = [make_sequence(3.0, slot) for slot in range(100)], make_prompt()
    sequences[5].buffer.runs_out_at = 0.1
    assert schedule(0.0, [*sequences, new], PassCosts.initial_guess()) == Prefill(new, 50)
    for sequence in sequences[:60]:
        sequence.buffer.runs_out_at = 0.1
    action = schedule(0.0, [*sequences, new], PassCosts.initial_guess())
    assert isinstance(action, DecodeStep)


@given(st.integers(1, 1000))
def test_no_token_of_a_prompt_is_computed_alone(pending: int) -> None:
    sizes = []
    while pending > sum(sizes):
        sizes.append(prefill_chunk_size(pending - sum(sizes)))
    assert max(sizes) <= PREFILL_CHUNK
    assert len(sizes) <= 1 + pending // (PREFILL_CHUNK - 1)
    assert 1 not in sizes or sizes == [1]


def test_a_moved_window_is_prefilled_when_its_own_buffer_runs_out_first() -> None:
    costs = PassCosts(LinearCost(0.1, 0.0), LinearCost(0.3, 0.0))
    moved, other = make_sequence(0.1, 0, pending=60), make_sequence(0.2, 1)
    assert schedule(0.0, [moved, other], costs) == Prefill(moved, 60)
    moved.buffer.runs_out_at = 0.3
    assert schedule(0.0, [moved, other], costs) == DecodeStep([other])


def test_a_few_urgent_sequences_go_before_a_large_step() -> None:
    sequences = [make_sequence(0.9, slot) for slot in range(100)]
    sequences[98].buffer.runs_out_at = sequences[99].buffer.runs_out_at = 0.1
    assert schedule(0.0, sequences, PassCosts.initial_guess()) == DecodeStep(sequences[98:])
    for sequence in sequences:
        sequence.buffer.runs_out_at = 0.1
    assert schedule(0.0, sequences, PassCosts.initial_guess()) == DecodeStep(sequences), (
        "if all are late, the largest step is the fastest"
    )


def test_a_prompt_waits_for_a_full_step_if_many_deadlines_follow() -> None:
    sequences, new = [make_sequence(0.32 if slot % 10 else 0.2, slot) for slot in range(100)], make_prompt()
    assert schedule(0.0, [*sequences, new], PassCosts.initial_guess()) == DecodeStep(sequences)
    for sequence in sequences[20:]:
        sequence.buffer.runs_out_at = 3.0
    assert schedule(0.0, [*sequences, new], PassCosts.initial_guess()) == Prefill(new, 50), (
        "a small step behind it is in time"
    )


def test_an_urgent_sequence_waits_only_for_its_own_block() -> None:
    sequences, costs = [make_sequence(0.1, slot) for slot in range(100)], PassCosts.initial_guess()
    sequences[70].buffer.runs_out_at = 0.03
    block = costs.step.max_items_in(ALLOWED_STALL_S)
    assert 50 < block < 70
    assert schedule(0.0, sequences, costs) == DecodeStep(sequences[block:])
    sequences[70].buffer.runs_out_at = -2 * ALLOWED_STALL_S
    assert schedule(0.0, sequences, costs) == DecodeStep(sequences), "after a long stall the full step is the fastest"
    slow = PassCosts(LinearCost(0.008, 0.005), LinearCost(0.01, 0.001))
    sequences[70].buffer.runs_out_at = 0.03
    assert schedule(0.0, sequences, slow) == DecodeStep(sequences), "all fall behind in any case"


def test_a_step_spans_small_gaps_and_not_wide_ones() -> None:
    near = [make_sequence(0.5, slot) for slot in (0, 3, 4)]
    assert schedule(0.0, near, PassCosts(LinearCost(0.006, 0.002), LinearCost(0.1, 0))) == DecodeStep(near)
    far = [make_sequence(0.5, 0), make_sequence(0.4, 9), make_sequence(0.5, 10)]
    assert schedule(0.0, far, PassCosts(LinearCost(0.006, 0.002), LinearCost(0.1, 0))) == DecodeStep(far[1:])


def test_unpaced_sequences_take_the_spare_time() -> None:
    unpaced, costs = make_sequence(0, 1, speed=0), PassCosts(LinearCost(0.1, 0.1), LinearCost(0.1, 0))
    unpaced.buffer.last_token_at = -0.1
    assert schedule(0.0, [make_sequence(LOW_BUFFER_S + 1, 0), unpaced], costs) == DecodeStep([unpaced])
    paced = make_sequence(0.31, 0)
    assert schedule(0.0, [paced, unpaced], costs) == DecodeStep([paced])
    paced.buffer.runs_out_at = 0.4
    assert schedule(0.0, [paced, unpaced], costs) == DecodeStep([paced, unpaced]), (
        "it joins a step that has time for it"
    )
    paced.buffer.runs_out_at, unpaced.buffer.last_token_at = 0.05, -UNPACED_INTERVAL_S - 0.1
    assert schedule(0.0, [paced, unpaced], costs) == DecodeStep([paced, unpaced]), "it is overdue"


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
def test_every_action_is_for_sequences_that_may_take_it(
    states: list[tuple[float, int, float, int, bool]], may_prefill: bool, policy: SchedulingPolicy
) -> None:
    sequences = []
    for slot, (left_s, pending, speed, undelivered, has_started) in enumerate(states):
        buffer = PlayoutBuffer(speed, left_s - 3)
        if has_started:
            buffer = make_buffer(left_s, undelivered=undelivered, speed=speed)
        sequences.append(ScheduledSequence(buffer, pending, slot))
    action = schedule(0.0, sequences, PassCosts.initial_guess(), policy, may_prefill)
    if isinstance(action, Prefill):
        assert action.sequence in sequences
        assert 0 < action.token_count <= action.sequence.pending_tokens
    elif isinstance(action, DecodeStep):
        assert action.sequences
        assert all(sequence.pending_tokens == 1 for sequence in action.sequences)
        assert policy == "arrival" or all(sequence.buffer.has_room(0.0) for sequence in action.sequences)
        slots = [sequence.slot for sequence in action.sequences]
        assert slots == sorted(slots)
    else:
        assert action.until > 0
        assert not [sequence for sequence in sequences if sequence.pending_tokens > 1]


@dataclass
class SimulatedOperator:
    """An operator at a machine, who asks, reads the answer, thinks, types, and asks again."""

    rng: random.Random
    asks_at: float
    sequence: ScheduledSequence | None = None
    remaining_tokens: int = 0  # of the answer
    stall_s: float = 0.0
    first_token_delays: list[float] = field(default_factory=list)
    answers: int = 0


@dataclass
class SchedulerSimulation:
    """Runs the real scheduler on a jumping clock. `step` and `prefill` give the seconds of a pass by its size."""

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
        may_prefill = True
        while self.now < until:
            self._start_answers()
            sequences = [operator.sequence for operator in self.operators if operator.sequence]
            for slot, sequence in enumerate(sequences):  # as if the slots were compacted
                sequence.slot = slot
            action = schedule(self.now, sequences, self.costs, self.policy, may_prefill)
            if isinstance(action, Idle):
                next_request = min(
                    (operator.asks_at for operator in self.operators if not operator.sequence), default=inf
                )
                assert min(action.until, next_request) > self.now, "the scheduler must not wake up at once"
                self.now = min(action.until, next_request, until)
                continue
            may_prefill = isinstance(action, DecodeStep)
            self._run_pass(action)

    def _start_answers(self) -> None:
        for slot, operator in enumerate(self.operators):
            if not operator.sequence and operator.asks_at <= self.now:
                operator.sequence = ScheduledSequence(PlayoutBuffer(SPEED, operator.asks_at), self.prompt, slot)
                operator.remaining_tokens = self.tokens

    def _run_pass(self, action: Prefill | DecodeStep) -> None:
        if isinstance(action, Prefill):
            seconds = self.prefill(action.token_count)
            self.costs.prefill.add_measurement(action.token_count, seconds)
            self.now += seconds
            action.sequence.pending_tokens -= action.token_count
            served = [] if action.sequence.pending_tokens else [action.sequence]
        else:
            span = action.sequences[-1].slot - action.sequences[0].slot + 1
            seconds = self.step(span)
            self.costs.step.add_measurement(span, seconds)
            self.now += seconds
            served = list(action.sequences)
            self.steps, self.rows = self.steps + 1, self.rows + span
            self.padding_rows += span - len(served)
        for operator in self.operators:
            if operator.sequence in served:
                self._emit_token(operator, operator.sequence)

    def _emit_token(self, operator: SimulatedOperator, sequence: ScheduledSequence) -> None:
        buffer, sequence.pending_tokens = sequence.buffer, 1
        if not buffer.has_started:
            operator.first_token_delays.append(self.now - buffer.arrived_at)
        size = operator.rng.choice((1, 2, 3, 4, 4, 5, 5, 6, 6))
        buffer.add_generated(self.now, size)
        operator.stall_s += buffer.mark_delivered(self.now, size)
        operator.remaining_tokens -= 1
        if not operator.remaining_tokens:
            assert buffer.runs_out_at is not None
            operator.sequence, operator.asks_at = None, buffer.runs_out_at + operator.rng.uniform(5, 25)
            operator.answers += 1


def make_simulation(
    count: int, speedup: float = 1.0, policy: SchedulingPolicy = "paper", **options: int
) -> SchedulerSimulation:
    rng = random.Random(33)
    operators = [SimulatedOperator(random.Random(n), rng.uniform(0, 30)) for n in range(count)]
    step, prefill = (lambda n: (0.008 + 0.0016 * n) / speedup), (lambda n: (0.01 + 0.0011 * n) / speedup)
    return SchedulerSimulation(operators, step, prefill, policy, **options)


def test_a_hundred_clients_never_stall_for_a_fifth_of_a_second() -> None:
    simulation = make_simulation(100)
    simulation.run(120)
    delays = sorted(delay for operator in simulation.operators for delay in operator.first_token_delays)
    assert max(operator.stall_s for operator in simulation.operators) < 0.2
    assert delays[len(delays) * 99 // 100] < 1.5
    assert min(operator.answers for operator in simulation.operators) >= 1


def test_the_arrival_policy_serves_fewer_clients() -> None:
    stalled = {}
    policies: tuple[SchedulingPolicy, ...] = ("paper", "arrival")
    for policy in policies:
        simulation = make_simulation(180, 1.0, policy)
        simulation.run(75)
        stalled[policy] = sum(operator.stall_s > 0.2 for operator in simulation.operators)
    assert stalled["paper"] == 0 < stalled["arrival"]


def test_under_overload_all_clients_fall_behind_alike() -> None:
    simulation = make_simulation(100, 0.35, tokens=10_000)
    simulation.run(60)
    before = [(operator.remaining_tokens, operator.stall_s) for operator in simulation.operators]
    simulation.run(130)
    pairs = list(zip(simulation.operators, before, strict=True))
    received = [remaining - operator.remaining_tokens for operator, (remaining, _) in pairs]
    stalls_s = [operator.stall_s - stall_s for operator, (_, stall_s) in pairs]
    assert max(received) - min(received) <= 3
    mean = sum(stalls_s) / len(stalls_s)
    assert mean > 8, "the engine was too fast for this test"
    assert 0.4 * mean < min(stalls_s) <= max(stalls_s) < 1.6 * mean


def test_after_a_pause_of_the_machine_all_clients_print_again() -> None:
    simulation = make_simulation(150)
    simulation.run(30)
    simulation.now += 6
    simulation.run(45)
    stall_s = sum(operator.stall_s for operator in simulation.operators)
    assert stall_s > 100
    simulation.run(75)
    assert sum(operator.stall_s for operator in simulation.operators) - stall_s < ALLOWED_STALL_S, "of all together"


def test_prompts_get_their_turn_while_all_clients_stall() -> None:
    simulation = make_simulation(60, 0.2, tokens=10_000)
    for operator in simulation.operators[50:]:
        operator.asks_at = 60.0
    simulation.run(100)
    assert all(operator.first_token_delays and operator.first_token_delays[0] < 30 for operator in simulation.operators)


@pytest.mark.parametrize("speedup", [0.05, 100.0])
def test_the_cost_model_learns_the_speed_of_the_engine(speedup: float) -> None:
    simulation = make_simulation(30, speedup)
    simulation.run(60)
    assert simulation.costs.step.seconds_for(20) == pytest.approx(simulation.step(20), rel=0.2)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 2)), max_size=60))
def test_a_cost_is_never_negative_and_never_less_for_a_larger_pass(measured: list[tuple[int, float]]) -> None:
    cost = LinearCost(0.008, 0.0016)
    for size, seconds in measured:
        cost.add_measurement(size, seconds)
    assert cost.per_item >= 0
    assert cost.fixed >= -1e-9
    assert 0 <= cost.seconds_for(1) <= cost.seconds_for(200)


def test_equal_sizes_still_give_a_slope_and_an_outlier_counts_little() -> None:
    cost = LinearCost(0.008, 0.0016)
    for _ in range(300):
        cost.add_measurement(100, 0.0168)
    assert cost.seconds_for(100) == pytest.approx(0.0168, rel=0.01)
    assert cost.seconds_for(10) == pytest.approx(0.0024, rel=0.2), "the prior is scaled to the measured speed"
    cost.add_measurement(100, 60.0)
    assert cost.seconds_for(100) < 0.02
