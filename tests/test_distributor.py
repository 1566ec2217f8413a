from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from fakes_slots import (
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
    """Its mask is half a second's work."""
    return RequestEncoder(make_engine(FakeBatchedSession(1, context)), {"vowels": set("aeiou \n’").__contains__})


class LoopHarness:
    """A distributor on a clock of its own, with readers who take what they get at once, or do not."""

    def __init__(self, count: int = 4, context: int = 60, rows: int = 4, order: SchedulingPolicy = "paper") -> None:
        self.now = 100.0
        self.session = FakeBatchedSession(count, context, self._advance_clock)
        self.engine_loop = EngineLoop(self.session, batch_size=rows, clock=lambda: self.now, policy=order)
        self.encoder = make_encoder(context)
        self.outputs: dict[BatchSequence, list[SequenceOutput]] = {}
        self.stalled: set[BatchSequence] = set()  # readers who take nothing

    def _advance_clock(self, rows: int, tokens: int) -> None:
        self.now += 0.008 + 0.0016 * rows if rows > 1 else 0.01 + 0.0011 * tokens

    def add(self, asked: CompletionRequest) -> BatchSequence:
        turn = self.encoder.make_sequence(asked, self.now)
        self.outputs[turn] = []
        self.engine_loop.add(turn)
        return turn

    def deliver(self) -> None:
        made, self.engine_loop.outputs = self.engine_loop.outputs, []
        for turn, load in made:
            self.outputs[turn].append(load)
            if isinstance(load, TextChunk) and turn not in self.stalled:
                self.engine_loop.mark_delivered(turn, self.now, len(load.text))

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
        raise AssertionError("it never comes to rest")

    def chunks(self, turn: BatchSequence) -> list[TextChunk]:
        return [load for load in self.outputs[turn] if isinstance(load, TextChunk)]

    def mask(self, asked: CompletionRequest) -> TokenMask | None:
        return self.encoder._masks[asked.alphabet]


PROMPTS = st.builds(
    lambda start, size, tail: (
        ("The operator sat down at the machine.\nHe typed a line. " * 4)[start : start + size] + tail
    ),
    st.integers(0, 3),
    st.integers(0, 130),
    st.sampled_from(["", "x", "yz", "\nA: "]),
)
REQUESTS = st.builds(
    lambda prompt, tokens, seed, pace, conversation, alphabet, length, logprobs: CompletionRequest(
        prompt,
        replace(make_request(tokens=tokens, seed=seed).sampling, length=length, logprobs=logprobs, stop=("q", "th ")),
        chars_per_second=pace,
        conversation=conversation,
        alphabet=alphabet,
    ),
    PROMPTS,
    st.integers(1, 80),
    st.integers(0, 9),
    st.sampled_from([0.0, 10.0, 10.0, 30.0]),
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from(["", "vowels"]),
    st.sampled_from([None, None, 5]),
    st.booleans(),
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), REQUESTS),
        st.tuples(st.just("work"), st.integers(1, 12)),
        st.tuples(st.just("cut"), st.integers(0, 20)),
        st.tuples(st.just("stop"), st.integers(0, 20)),
        st.tuples(st.just("hear"), st.tuples(PROMPTS, st.sampled_from(["", "a", "b"]))),
    ),
    max_size=25,
)


def shorten_prompt(asked: CompletionRequest, context: int) -> CompletionRequest:
    return replace(asked, prompt=asked.prompt[-(context - 17) :])


@settings(max_examples=150)
@given(
    ACTIONS,
    st.sampled_from([(2, 2), (3, 2), (6, 4)]),
    st.sampled_from([40, 150]),
    st.sampled_from(["paper", "arrival"]),
)
def test_an_answer_is_the_same_whoever_shares_the_engine(
    deeds: list[tuple[str, Any]], size: tuple[int, int], context: int, order: SchedulingPolicy
) -> None:
    hall = LoopHarness(size[0], context, size[1], order)
    turns: list[tuple[BatchSequence, CompletionRequest]] = []
    cut: set[BatchSequence] = set()
    for deed, what in deeds:
        if deed == "enter":
            asked = shorten_prompt(what, context)
            turns.append((hall.add(asked), asked))
        elif deed == "work":
            hall.run_passes(what)
        elif deed == "hear":
            ids = hall.encoder.encode_prompt(what[0][: context - 20])
            hall.engine_loop.add_prefill(PrefillJob(ids, what[1], lambda read: None))
        elif turns:
            turn = turns[what % len(turns)][0]
            (hall.stalled if deed == "stop" else cut).add(turn)
            if deed == "cut":
                hall.engine_loop.cancel(turn)
    hall.run_until_idle()
    for turn, asked in turns:
        expected = list(generate_alone(asked, context, hall.mask(asked)))
        if turn not in cut | hall.stalled:
            assert join_chunks(hall.chunks(turn)) == join_chunks(expected)
            assert hall.outputs[turn][-1] is None
        else:
            text, tokens, *_ = join_chunks(hall.chunks(turn))
            assert join_chunks(expected)[0].startswith(text)
            assert join_chunks(expected)[1][: len(tokens)] == tokens
    counters = hall.engine_loop.counters()
    assert counters.failed == counters.waiting * bool(not hall.stalled) == 0
    assert counters.active <= len(hall.stalled)


@given(REQUESTS, st.integers(0, 60), st.booleans())
def test_it_goes_on_behind_what_was_said(asked: CompletionRequest, place: int, shared: bool) -> None:
    asked = shorten_prompt(asked, 60)
    hall = LoopHarness()
    pieces = list(generate_alone(asked, 60, hall.mask(asked)))
    steps = list(accumulate((len(piece.tokens) for piece in pieces), initial=0))
    place = min(place, steps[-1])
    said = join_chunks(pieces)[1][:place]
    if shared:
        hall.add(make_request("Somebody else"))
    turn = hall.add(replace(asked, resume_tokens=said))
    hall.run_until_idle()
    rest = [piece for piece, end in zip(pieces, steps[1:], strict=True) if end > place]
    told = join_chunks(hall.chunks(turn))
    assert told[1] == join_chunks(rest)[1]
    assert told[0] == join_chunks(rest)[0]
    assert told[3] == pieces[-1].finish_reason


def test_a_reader_who_is_gone_is_in_no_pass_from_there_on_and_leaves_the_cache_for_the_next_turn() -> None:
    hall = LoopHarness()
    gone, stays = hall.add(make_request("Gone", conversation="a")), hall.add(make_request("Stays", conversation="b"))
    hall.run_passes(10)
    assert gone.generated_tokens > 2
    hall.engine_loop.cancel(gone)
    before, read = len(hall.session.passes), hall.engine_loop.counters().read
    hall.run_until_idle()
    start = tuple(hall.encoder.encode_prompt("Gone"))
    assert not [ids for used in hall.session.passes[before:] for ids in used if ids[: len(start)] == start]
    assert join_chunks(hall.chunks(stays)) == join_chunks(list(generate_alone(make_request("Stays"), 60)))
    heard = join_chunks(hall.chunks(gone))[0]
    again = hall.add(make_request("Gone" + heard, conversation="a", tokens=5))
    hall.run_until_idle()
    assert hall.engine_loop.counters().read - read <= 2, "the next turn read what was known"
    assert join_chunks(hall.chunks(again)) == join_chunks(
        list(generate_alone(make_request("Gone" + heard, tokens=5), 60))
    )
    assert hall.engine_loop.counters().cut == 1


@pytest.mark.parametrize(("pace", "most"), [(10.0, 10 * MAX_BUFFER_S), (0.0, MAX_UNDELIVERED_CHARS)])
def test_a_reader_who_stops_reading_stops_costing_and_holds_up_nobody(pace: float, most: float) -> None:
    hall = LoopHarness(context=400)
    stopped, reads = (
        hall.add(make_request("Stops", pace=pace, tokens=2000)),
        hall.add(make_request("Reads", tokens=300)),
    )
    hall.stalled.add(stopped)
    hall.run_until_idle()
    assert len(join_chunks(hall.chunks(stopped))[0]) in range(int(most), int(most) + 3)
    assert hall.outputs[reads][-1] is None
    assert hall.engine_loop.counters().active == 1
    hall.stalled.clear()
    made = sum(len(piece.text) for piece in hall.chunks(stopped))
    hall.engine_loop.mark_delivered(stopped, hall.now, made)
    hall.run_until_idle()
    assert hall.outputs[stopped][-1] is None


def test_a_row_whose_reader_has_stopped_goes_to_one_who_waits_and_comes_back() -> None:
    hall = LoopHarness(rows=1, context=400)
    stopped = hall.add(make_request("Stops", tokens=300))
    hall.stalled.add(stopped)
    hall.run_passes(40)
    waits = hall.add(make_request("Waits"))
    hall.run_until_idle()
    assert hall.outputs[waits][-1] is None
    assert hall.outputs[stopped][-1] is not None
    hall.stalled.clear()
    hall.engine_loop.mark_delivered(stopped, hall.now, len(join_chunks(hall.chunks(stopped))[0]))
    hall.run_until_idle()
    assert join_chunks(hall.chunks(stopped)) == join_chunks(
        list(generate_alone(make_request("Stops", tokens=300), 400))
    )


def test_nothing_is_made_for_a_paper_that_has_enough() -> None:
    hall = LoopHarness()
    turn = hall.add(make_request("Slow", tokens=400, pace=10.0))
    begun, most = None, 0.0
    while hall.outputs[turn][-1:] != [None]:
        before = turn.generated_tokens
        hall.run_passes()
        if turn.generated_tokens > before and begun is None:
            begun = hall.now
        if begun is not None and turn.generated_tokens:
            most = max(most, len(join_chunks(hall.chunks(turn))[0]) / 10 - (hall.now - begun))
    assert LOW_BUFFER_S - 1 < most <= MAX_BUFFER_S + 0.2
    assert hall.engine_loop.counters().stalls == 0


def test_an_error_in_one_answer_ends_that_one_alone() -> None:
    hall = LoopHarness()
    bad, good = hall.add(make_request("Bad")), hall.add(make_request("Good"))
    hall.run_passes(4)
    # It fails where it is next asked for anything.
    bad._generation = None  # type: ignore[assignment]
    hall.run_until_idle()
    assert isinstance(hall.outputs[bad][-1], AttributeError)
    assert join_chunks(hall.chunks(good)) == join_chunks(list(generate_alone(make_request("Good"), 60)))
    assert hall.engine_loop.counters().failed == 1


def test_an_engine_that_fails_ends_all_and_whoever_asks_next_is_told_the_same() -> None:
    hall = LoopHarness(rows=1)
    turns = [hall.add(make_request(text)) for text in ("one", "two")]
    told: list[int] = []
    hall.engine_loop.add_prefill(PrefillJob([256, 1], "x", told.append))
    hall.session.failing_pass = 5
    hall.run_until_idle()
    turns.append(hall.add(make_request("three")))
    hall.deliver()
    assert all(isinstance(hall.outputs[turn][-1], MemoryError) for turn in turns)
    assert told == [0]
    assert len({id(hall.outputs[turn][-1]) for turn in turns}) == 1


def test_what_is_being_typed_is_read_when_there_is_nothing_better_to_do() -> None:
    hall = LoopHarness(context=300)
    prompt = "A long prompt, " * 15
    told: list[int] = []
    hall.engine_loop.add_prefill(PrefillJob(hall.encoder.encode_prompt(prompt[:200]), "a", told.append))
    turn = hall.add(make_request("Hello", tokens=3))
    hall.run_passes(3)
    assert hall.outputs[turn][-1] is None
    assert told == []
    assert hall.engine_loop.counters().read == 6
    hall.run_until_idle()
    assert told == [201]
    before = hall.engine_loop.counters().read
    hall.add(make_request(prompt, conversation="a", tokens=1))
    hall.run_until_idle()
    assert hall.engine_loop.counters().read - before == len(prompt) - 200


def test_what_is_being_typed_is_read_before_more_is_made_of_what_nobody_waits_for() -> None:
    hall = LoopHarness(context=300)
    turn = hall.add(make_request("Hello", tokens=200, pace=10.0))
    while turn.scheduled.buffer.next_deadline(hall.now) < hall.now + COMFORTABLE_BUFFER_S + 1:
        hall.run_passes()
    made = hall.engine_loop.counters().tokens
    told: list[int] = []
    hall.engine_loop.add_prefill(PrefillJob(hall.encoder.encode_prompt("A prompt, " * 10), "a", told.append))
    hall.run_passes()
    assert hall.engine_loop.counters().tokens == made
    hall.run_passes(2)
    assert told == [101]
    assert hall.engine_loop.counters().tokens > made


def test_a_newer_prompt_of_a_conversation_takes_the_place_of_the_older_and_its_answer_of_both() -> None:
    hall = LoopHarness()
    told: list[str] = []
    hall.engine_loop.add_prefill(PrefillJob([256, 1, 2], "a", lambda read: told.append(f"old {read}")))
    hall.engine_loop.add_prefill(PrefillJob([256, 1, 2, 3], "a", lambda read: told.append(f"new {read}")))
    hall.engine_loop.add_prefill(PrefillJob([256, 1, 2, 3], "b", lambda read: told.append(f"other {read}")))
    assert told == ["old 0"]
    hall.add(make_request("x", conversation="a"))
    assert told == ["old 0", "new 0"]


def test_streams_that_leave_make_room_for_those_who_wait_and_lie_side_by_side() -> None:
    hall = LoopHarness(count=6, rows=3, context=200)
    turns = [hall.add(make_request(f"{n} asks", tokens=20 + 30 * n)) for n in range(5)]
    hall.run_passes(3)
    assert (hall.engine_loop.counters().active, hall.engine_loop.counters().waiting) == (3, 2)
    hall.run_until_idle()
    assert all(hall.outputs[turn][-1] is None for turn in turns)
    counters = hall.engine_loop.counters()
    assert counters.padding_rows <= counters.steps // 10
    assert counters.caches == 5


def test_answers_are_made_in_few_large_steps() -> None:
    hall = LoopHarness(count=8, rows=8, context=400)
    for n in range(8):
        hall.add(make_request(f"{n} asks", tokens=100))
    hall.run_until_idle()
    counters = hall.engine_loop.counters()
    assert counters.tokens == 800
    assert counters.rows / counters.steps > 5
    assert counters.stalls == 0


def test_first_come_order_serves_whoever_came_first_and_paces_nobody() -> None:
    hall = LoopHarness(rows=1, order="arrival", context=300)
    first, second = (
        hall.add(make_request("first", tokens=200)),
        hall.add(make_request("second", tokens=200, pace=100.0)),
    )
    while hall.outputs[first][-1:] != [None]:
        assert not hall.outputs[second]
        hall.run_passes()
    assert hall.now < 105, "it waited for the paper"
    hall.run_until_idle()
    assert join_chunks(hall.chunks(second)) == join_chunks(
        list(generate_alone(make_request("second", tokens=200), 300))
    )


def test_the_fakes_depend_on_all_that_is_in_the_cache() -> None:
    assert (logits_after([256, 1, 2]) != logits_after([256, 2, 2])).any()
    assert ByteVocabulary().bytes_of(256) == b""


def add_for_key(hall: LoopHarness, who: str, count: int, **more: Any) -> list[BatchSequence]:
    turns = []
    for _ in range(count):
        turn = hall.encoder.make_sequence(
            make_request(f"{who} {len(hall.outputs)}", tokens=200, seed=len(hall.outputs), **more), hall.now
        )
        turn.key_name = who
        hall.outputs[turn] = []
        hall.engine_loop.add(turn)
        hall.now += 1e-6
        turns.append(turn)
    return turns


@pytest.mark.parametrize("pace", [0.0, 10.0])
def test_two_greedy_keys_together_leave_a_third_its_share(pace: float) -> None:
    hall = LoopHarness(count=8, rows=6)
    greedy = [add_for_key(hall, who, 6, pace=pace) for who in ("north", "south")]
    hall.run_passes(40)
    east = add_for_key(hall, "east", 3, pace=pace)
    hall.run_passes(60)
    assert hall.engine_loop._rows_by_key() == {"north": 2, "south": 2, "east": 2}
    assert [turn.generated_tokens > 0 for turn in east] == [True, True, False]
    kept = [[turn for turn in turns if turn.scheduled in hall.engine_loop._active] for turns in greedy]
    assert all(set(turns) <= set(key[:3]) for turns, key in zip(kept, greedy, strict=True))  # the first go on
    hall.run_passes(20_000)
    assert all(turn.generated_tokens == 200 for turn in [*greedy[0], *greedy[1], *east])
    for turn in hall.outputs:
        pieces = [load for load in hall.outputs[turn] if isinstance(load, TextChunk)]
        number = list(hall.outputs).index(turn)
        asked = make_request(f"{turn.key_name} {number}", tokens=200, seed=number, pace=pace)
        assert join_chunks(pieces) == join_chunks(list(generate_alone(asked, 60)))
