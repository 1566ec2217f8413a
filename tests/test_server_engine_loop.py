from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from fakes_batch_engine import (
    ByteVocabulary,
    FakeBatchedSession,
    generate_alone,
    join_chunks,
    logits_after,
    make_engine,
    make_request,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, TextChunk
from model.server.engine.encoder import RequestEncoder
from model.server.engine.engine_loop import EngineLoop, PrefillJob, SequenceOutput
from model.server.engine.scheduler import (
    COMFORTABLE_BUFFER_S,
    LOW_BUFFER_S,
    MAX_BUFFER_S,
    MAX_UNDELIVERED_CHARS,
    SchedulingPolicy,
)
from model.server.engine.sequence import BatchSequence


@cache
def make_encoder(context: int) -> RequestEncoder:
    """Cached, because its token mask takes half a second."""
    return RequestEncoder(make_engine(FakeBatchedSession(1, context)), {"vowels": set("aeiou \n’").__contains__})


class LoopHarness:
    """Runs an engine loop on its own clock. Clients take their text at once, except the stalled ones."""

    def __init__(self, count: int = 4, context: int = 60, rows: int = 4, policy: SchedulingPolicy = "paper") -> None:
        self.now = 100.0
        self.session = FakeBatchedSession(count, context, self._advance_clock)
        self.engine_loop = EngineLoop(self.session, batch_size=rows, clock=lambda: self.now, policy=policy)
        self.encoder = make_encoder(context)
        self.outputs: dict[BatchSequence, list[SequenceOutput]] = {}
        self.stalled: set[BatchSequence] = set()

    def _advance_clock(self, rows: int, tokens: int) -> None:
        self.now += 0.008 + 0.0016 * rows if rows > 1 else 0.01 + 0.0011 * tokens

    def add(self, request: CompletionRequest) -> BatchSequence:
        sequence = self.encoder.make_sequence(request, self.now)
        self.outputs[sequence] = []
        self.engine_loop.add_sequence(sequence)
        return sequence

    def deliver(self) -> None:
        outputs, self.engine_loop.outputs = self.engine_loop.outputs, []
        for sequence, output in outputs:
            self.outputs[sequence].append(output)
            if isinstance(output, TextChunk) and sequence not in self.stalled:
                self.engine_loop.mark_delivered(sequence, self.now, len(output.text))

    def run_passes(self, passes: int = 1) -> float:
        until = self.now
        for _ in range(passes):
            until = self.engine_loop.run_pass()
            self.deliver()
            if until > self.now and until < float("inf"):
                self.now = until
        return until

    def run_until_idle(self) -> None:
        for _ in range(20_000):
            if self.run_passes() == float("inf"):
                return
        raise AssertionError("the engine loop never becomes idle")

    def chunks(self, sequence: BatchSequence) -> list[TextChunk]:
        return [output for output in self.outputs[sequence] if isinstance(output, TextChunk)]

    def mask(self, request: CompletionRequest) -> TokenMask | None:
        return self.encoder._masks[request.alphabet]


PROMPTS = st.builds(
    lambda start, size, tail: (
        ("The operator sat down at the machine.\nHe typed a line. " * 4)[start : start + size] + tail
    ),
    st.integers(0, 3),
    st.integers(0, 130),
    st.sampled_from(["", "x", "yz", "\nA: "]),
)
REQUESTS = st.builds(
    lambda prompt, tokens, seed, speed, conversation, alphabet, length, logprobs, gives_way: CompletionRequest(
        prompt,
        replace(make_request(tokens=tokens, seed=seed).sampling, length=length, logprobs=logprobs, stop=("q", "th ")),
        chars_per_second=speed,
        conversation=conversation,
        alphabet=alphabet,
        gives_way=gives_way,
    ),
    PROMPTS,
    st.integers(1, 80),
    st.integers(0, 9),
    st.sampled_from([0.0, 10.0, 10.0, 30.0]),
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from(["", "vowels"]),
    st.sampled_from([None, None, 5]),
    st.booleans(),
    st.booleans(),
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), REQUESTS),
        st.tuples(st.just("run"), st.integers(1, 12)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("stall"), st.integers(0, 20)),
        st.tuples(st.just("prefill"), st.tuples(PROMPTS, st.sampled_from(["", "a", "b"]))),
    ),
    max_size=25,
)


def shorten_prompt(request: CompletionRequest, context: int) -> CompletionRequest:
    return replace(request, prompt=request.prompt[-(context - 17) :])


@settings(max_examples=150)
@given(
    ACTIONS,
    st.sampled_from([(2, 2), (3, 2), (6, 4)]),
    st.sampled_from([40, 150]),
    st.sampled_from(["paper", "arrival"]),
)
def test_an_answer_does_not_depend_on_the_other_answers(
    actions: list[tuple[str, Any]], size: tuple[int, int], context: int, policy: SchedulingPolicy
) -> None:
    harness = LoopHarness(size[0], context, size[1], policy)
    sequences: list[tuple[BatchSequence, CompletionRequest]] = []
    cancelled: set[BatchSequence] = set()
    for action, value in actions:
        if action == "add":
            request = shorten_prompt(value, context)
            sequences.append((harness.add(request), request))
        elif action == "run":
            harness.run_passes(value)
        elif action == "prefill":
            ids = harness.encoder.encode_prompt(value[0][: context - 20])
            harness.engine_loop.add_prefill(PrefillJob(ids, value[1], lambda count: None))
        elif sequences:
            sequence = sequences[value % len(sequences)][0]
            (harness.stalled if action == "stall" else cancelled).add(sequence)
            if action == "cancel":
                harness.engine_loop.cancel(sequence)
    harness.run_until_idle()
    for sequence, request in sequences:
        expected = list(generate_alone(request, context, harness.mask(request)))
        if sequence not in cancelled | harness.stalled:
            assert join_chunks(harness.chunks(sequence)) == join_chunks(expected)
            assert harness.outputs[sequence][-1] is None
        else:
            text, tokens, *_ = join_chunks(harness.chunks(sequence))
            assert join_chunks(expected)[0].startswith(text)
            assert join_chunks(expected)[1][: len(tokens)] == tokens
    counters = harness.engine_loop.counters()
    assert counters.failed == counters.waiting * bool(not harness.stalled) == 0
    assert counters.active <= len(harness.stalled)


@given(REQUESTS, st.integers(0, 60), st.booleans())
def test_an_answer_resumes_behind_its_resume_tokens(request: CompletionRequest, position: int, shared: bool) -> None:
    request = shorten_prompt(request, 60)
    harness = LoopHarness()
    chunks = list(generate_alone(request, 60, harness.mask(request)))
    steps = list(accumulate((len(chunk.tokens) for chunk in chunks), initial=0))
    position = min(position, steps[-1])
    resumed = join_chunks(chunks)[1][:position]
    if shared:
        harness.add(make_request("Another prompt"))
    sequence = harness.add(replace(request, resume_tokens=resumed))
    harness.run_until_idle()
    expected = [chunk for chunk, end in zip(chunks, steps[1:], strict=True) if end > position]
    answer = join_chunks(harness.chunks(sequence))
    assert answer[1] == join_chunks(expected)[1]
    assert answer[0] == join_chunks(expected)[0]
    assert answer[3] == chunks[-1].finish_reason


def test_a_cancelled_answer_is_in_no_further_pass_and_its_cache_is_reused() -> None:
    harness = LoopHarness()
    gone = harness.add(make_request("Gone", conversation="a"))
    stays = harness.add(make_request("Stays", conversation="b"))
    harness.run_passes(10)
    assert gone.generated_tokens > 2
    harness.engine_loop.cancel(gone)
    before, tokens_before = len(harness.session.passes), harness.engine_loop.counters().read
    harness.run_until_idle()
    start = tuple(harness.encoder.encode_prompt("Gone"))
    assert not [ids for caches in harness.session.passes[before:] for ids in caches if ids[: len(start)] == start]
    assert join_chunks(harness.chunks(stays)) == join_chunks(list(generate_alone(make_request("Stays"), 60)))
    text = join_chunks(harness.chunks(gone))[0]
    again = harness.add(make_request("Gone" + text, conversation="a", tokens=5))
    harness.run_until_idle()
    assert harness.engine_loop.counters().read - tokens_before <= 2, "the next turn reuses the cache"
    assert join_chunks(harness.chunks(again)) == join_chunks(
        list(generate_alone(make_request("Gone" + text, tokens=5), 60))
    )
    assert harness.engine_loop.counters().cut == 1


@pytest.mark.parametrize(("speed", "most"), [(10.0, 10 * MAX_BUFFER_S), (0.0, MAX_UNDELIVERED_CHARS)])
def test_a_stalled_client_costs_nothing_and_delays_no_other(speed: float, most: float) -> None:
    harness = LoopHarness(context=400)
    stalled = harness.add(make_request("Stops", speed=speed, tokens=2000))
    reads = harness.add(make_request("Reads", tokens=300))
    harness.stalled.add(stalled)
    harness.run_until_idle()
    assert len(join_chunks(harness.chunks(stalled))[0]) in range(int(most), int(most) + 3)
    assert harness.outputs[reads][-1] is None
    assert harness.engine_loop.counters().active == 1
    harness.stalled.clear()
    undelivered = sum(len(chunk.text) for chunk in harness.chunks(stalled))
    harness.engine_loop.mark_delivered(stalled, harness.now, undelivered)
    harness.run_until_idle()
    assert harness.outputs[stalled][-1] is None


def test_a_stalled_client_loses_its_row_to_a_waiting_answer_and_gets_it_back() -> None:
    harness = LoopHarness(rows=1, context=400)
    stalled = harness.add(make_request("Stops", tokens=300))
    harness.stalled.add(stalled)
    harness.run_passes(40)
    waits = harness.add(make_request("Waits"))
    harness.run_until_idle()
    assert harness.outputs[waits][-1] is None
    assert harness.outputs[stalled][-1] is not None
    harness.stalled.clear()
    harness.engine_loop.mark_delivered(stalled, harness.now, len(join_chunks(harness.chunks(stalled))[0]))
    harness.run_until_idle()
    assert join_chunks(harness.chunks(stalled)) == join_chunks(
        list(generate_alone(make_request("Stops", tokens=300), 400))
    )


def test_no_text_is_generated_beyond_the_largest_buffer() -> None:
    harness = LoopHarness()
    sequence = harness.add(make_request("Slow", tokens=400, speed=10.0))
    started_at, most = None, 0.0
    while harness.outputs[sequence][-1:] != [None]:
        before = sequence.generated_tokens
        harness.run_passes()
        if sequence.generated_tokens > before and started_at is None:
            started_at = harness.now
        if started_at is not None and sequence.generated_tokens:
            most = max(most, len(join_chunks(harness.chunks(sequence))[0]) / 10 - (harness.now - started_at))
    assert LOW_BUFFER_S - 1 < most <= MAX_BUFFER_S + 0.2
    assert harness.engine_loop.counters().stalls == 0


def test_an_error_in_one_answer_ends_that_answer_alone() -> None:
    harness = LoopHarness()
    bad, good = harness.add(make_request("Bad")), harness.add(make_request("Good"))
    harness.run_passes(4)
    bad._generation = None  # type: ignore[assignment]  # so that its next token fails
    harness.run_until_idle()
    assert isinstance(harness.outputs[bad][-1], AttributeError)
    assert join_chunks(harness.chunks(good)) == join_chunks(list(generate_alone(make_request("Good"), 60)))
    assert harness.engine_loop.counters().failed == 1


def test_an_engine_failure_ends_all_answers_and_all_later_ones() -> None:
    harness = LoopHarness(rows=1)
    sequences = [harness.add(make_request(text)) for text in ("one", "two")]
    prefilled: list[int] = []
    harness.engine_loop.add_prefill(PrefillJob([256, 1], "x", prefilled.append))
    harness.session.failing_pass = 5
    harness.run_until_idle()
    sequences.append(harness.add(make_request("three")))
    harness.deliver()
    assert all(isinstance(harness.outputs[sequence][-1], MemoryError) for sequence in sequences)
    assert prefilled == [0]
    assert len({id(harness.outputs[sequence][-1]) for sequence in sequences}) == 1


def test_a_typed_prompt_is_prefilled_while_the_engine_is_idle() -> None:
    harness = LoopHarness(context=300)
    prompt = "A long prompt, " * 15
    prefilled: list[int] = []
    harness.engine_loop.add_prefill(PrefillJob(harness.encoder.encode_prompt(prompt[:200]), "a", prefilled.append))
    sequence = harness.add(make_request("Hello", tokens=3))
    harness.run_passes(3)
    assert harness.outputs[sequence][-1] is None
    assert prefilled == []
    assert harness.engine_loop.counters().read == 6
    harness.run_until_idle()
    assert prefilled == [201]
    before = harness.engine_loop.counters().read
    harness.add(make_request(prompt, conversation="a", tokens=1))
    harness.run_until_idle()
    assert harness.engine_loop.counters().read - before == len(prompt) - 200


def test_a_typed_prompt_is_prefilled_before_an_early_step() -> None:
    harness = LoopHarness(context=300)
    sequence = harness.add(make_request("Hello", tokens=200, speed=10.0))
    while sequence.scheduled.buffer.next_deadline(harness.now) < harness.now + COMFORTABLE_BUFFER_S + 1:
        harness.run_passes()
    tokens = harness.engine_loop.counters().tokens
    prefilled: list[int] = []
    harness.engine_loop.add_prefill(PrefillJob(harness.encoder.encode_prompt("A prompt, " * 10), "a", prefilled.append))
    harness.run_passes()
    assert harness.engine_loop.counters().tokens == tokens
    harness.run_passes(2)
    assert prefilled == [101]
    assert harness.engine_loop.counters().tokens > tokens


def _harness_with_resting_caches(count: int) -> LoopHarness:
    harness = LoopHarness(count=count, rows=4, context=300)
    for number in range(count):
        token_ids = [256, *(number for _ in range(60 + number))]
        harness.engine_loop.add_prefill(PrefillJob(token_ids, str(number), lambda count: None))
        harness.run_until_idle()
    assert harness.engine_loop.counters().caches == count
    return harness


@pytest.mark.parametrize("conversation", ["", "new", "3"])
@pytest.mark.parametrize("length", [1, 2, 4, 8, 9, 17, 128, 129, 130, 299])
def test_a_prefill_takes_one_slot_and_no_pass_twice(length: int, conversation: str) -> None:
    harness = _harness_with_resting_caches(30)
    before = [list(harness.engine_loop._allocator.token_ids(slot)) for slot in range(30)]
    passes, prefilled = len(harness.session.passes), list[int]()
    token_ids = [256, *(77 + number % 90 for number in range(length - 1))]
    harness.engine_loop.add_prefill(PrefillJob(token_ids, conversation, prefilled.append))
    harness.run_until_idle()
    assert len(harness.session.passes) - passes <= -(-length // 128)
    after = [harness.engine_loop._allocator.token_ids(slot) for slot in range(30)]
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1
    assert any(ids[:length] == token_ids for ids in after)
    assert len(prefilled) == 1


def test_a_prefill_of_what_a_resting_cache_begins_with_overwrites_none() -> None:
    harness = _harness_with_resting_caches(10)
    before = [list(harness.engine_loop._allocator.token_ids(slot)) for slot in range(10)]
    for slot in (0, 4, 9):
        for length in (1, 3, 12, 30):
            harness.engine_loop.add_prefill(PrefillJob(before[slot][:length], "", lambda count: None))
    harness.run_until_idle()
    assert [harness.engine_loop._allocator.token_ids(slot) for slot in range(10)] == before


def test_two_prefills_at_once_take_two_slots() -> None:
    harness = _harness_with_resting_caches(30)
    before = [list(harness.engine_loop._allocator.token_ids(slot)) for slot in range(30)]
    passes = len(harness.session.passes)
    harness.engine_loop.add_prefill(PrefillJob([256, *[75] * 199], "", lambda count: None))
    harness.run_passes()
    harness.engine_loop.add_prefill(PrefillJob([256, *[76] * 199], "", lambda count: None))
    harness.run_until_idle()
    after = [harness.engine_loop._allocator.token_ids(slot) for slot in range(30)]
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 2
    assert len(harness.session.passes) - passes == 4


def test_a_newer_prompt_or_an_answer_ends_the_prefill_of_its_conversation() -> None:
    harness = LoopHarness()
    results: list[str] = []
    harness.engine_loop.add_prefill(PrefillJob([256, 1, 2], "a", lambda count: results.append(f"old {count}")))
    harness.engine_loop.add_prefill(PrefillJob([256, 1, 2, 3], "a", lambda count: results.append(f"new {count}")))
    harness.engine_loop.add_prefill(PrefillJob([256, 1, 2, 3], "b", lambda count: results.append(f"other {count}")))
    assert results == ["old 0"]
    harness.add(make_request("x", conversation="a"))
    assert results == ["old 0", "new 0"]


def test_finished_answers_free_rows_and_the_slots_are_compacted() -> None:
    harness = LoopHarness(count=6, rows=3, context=200)
    sequences = [harness.add(make_request(f"{n} asks", tokens=20 + 30 * n)) for n in range(5)]
    harness.run_passes(3)
    assert (harness.engine_loop.counters().active, harness.engine_loop.counters().waiting) == (3, 2)
    harness.run_until_idle()
    assert all(harness.outputs[sequence][-1] is None for sequence in sequences)
    counters = harness.engine_loop.counters()
    assert counters.padding_rows <= counters.steps // 10
    assert counters.caches == 5


def test_answers_are_generated_in_a_few_large_steps() -> None:
    harness = LoopHarness(count=8, rows=8, context=400)
    for n in range(8):
        harness.add(make_request(f"{n} asks", tokens=100))
    harness.run_until_idle()
    counters = harness.engine_loop.counters()
    assert counters.tokens == 800
    assert counters.rows / counters.steps > 5
    assert counters.stalls == 0


def test_the_arrival_policy_serves_in_order_and_without_pacing() -> None:
    harness = LoopHarness(rows=1, policy="arrival", context=300)
    first = harness.add(make_request("first", tokens=200))
    second = harness.add(make_request("second", tokens=200, speed=100.0))
    while harness.outputs[first][-1:] != [None]:
        assert not harness.outputs[second]
        harness.run_passes()
    assert harness.now < 105, "it waited for the client"
    harness.run_until_idle()
    assert join_chunks(harness.chunks(second)) == join_chunks(
        list(generate_alone(make_request("second", tokens=200), 300))
    )


def test_the_logits_of_the_fake_depend_on_the_whole_cache() -> None:
    assert (logits_after([256, 1, 2]) != logits_after([256, 2, 2])).any()
    assert ByteVocabulary().bytes_of(256) == b""


def add_for_key(harness: LoopHarness, key: str, count: int, **options: Any) -> list[BatchSequence]:
    sequences = []
    for _ in range(count):
        number = len(harness.outputs)
        request = make_request(f"{key} {number}", tokens=200, seed=number, **options)
        sequence = harness.encoder.make_sequence(request, harness.now)
        sequence.key_name = key
        harness.outputs[sequence] = []
        harness.engine_loop.add_sequence(sequence)
        harness.now += 1e-6
        sequences.append(sequence)
    return sequences


@pytest.mark.parametrize("speed", [0.0, 10.0])
def test_two_greedy_keys_leave_a_third_its_share(speed: float) -> None:
    harness = LoopHarness(count=8, rows=6)
    greedy = [add_for_key(harness, key, 6, speed=speed) for key in ("north", "south")]
    harness.run_passes(40)
    east = add_for_key(harness, "east", 3, speed=speed)
    harness.run_passes(60)
    assert harness.engine_loop._rows_by_key() == {"north": 2, "south": 2, "east": 2}
    assert [sequence.generated_tokens > 0 for sequence in east] == [True, True, False]
    for sequences in greedy:
        active = [sequence for sequence in sequences if sequence.scheduled in harness.engine_loop._active]
        assert set(active) <= set(sequences[:3]), "the earliest answers keep their rows"
    harness.run_passes(20_000)
    assert all(sequence.generated_tokens == 200 for sequence in [*greedy[0], *greedy[1], *east])
    for sequence in harness.outputs:
        chunks = [output for output in harness.outputs[sequence] if isinstance(output, TextChunk)]
        number = list(harness.outputs).index(sequence)
        request = make_request(f"{sequence.key_name} {number}", tokens=200, seed=number, speed=speed)
        assert join_chunks(chunks) == join_chunks(list(generate_alone(request, 60)))


@pytest.mark.parametrize("speed", [0.0, 10.0])
def test_answers_to_one_prompt_prefill_it_once(speed: float) -> None:
    prompt = "The operator sat down at the machine. " * 6
    requests = [make_request(prompt, tokens=5, seed=seed, speed=speed) for seed in range(6)]
    requests.append(make_request(prompt + "He typed.", tokens=5, speed=speed))
    harness = LoopHarness(count=8, context=300, rows=8)
    sequences = [harness.add(request) for request in requests]
    harness.run_until_idle()
    for sequence, request in zip(sequences, requests, strict=True):
        alone = join_chunks(list(generate_alone(request, 300)))
        assert join_chunks(harness.chunks(sequence)) == alone
    totals = harness.engine_loop.counters()
    assert totals.read < len(prompt) + 60
    assert totals.reused > 6 * (len(prompt) - 10)
