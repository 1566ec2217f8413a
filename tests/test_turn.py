"""An answer in fp32 on the real engine: to the bit the same however its prompt was cut, and where it goes on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from fakes_model import TINY, tiny_tokenizer, tiny_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.build import graph
from model.interface import CompletionRequest, Sampling
from model.server.engine.batched_session import BatchedSession
from model.server.engine.encoder import BatchEngine, RequestEncoder
from model.server.engine.engine_loop import EngineLoop, PrefillJob
from model.server.engine.sequence import BatchSequence
from model.server.engine.timed_engine import Logits

CONTEXT = 50
PROMPT = "The operator sat down at the machine and typed a line."


class RecordingLoop(EngineLoop):
    """Keeps what each token was drawn from."""

    def __init__(self, session: BatchedSession, batch_size: int = 4) -> None:
        super().__init__(session, batch_size=batch_size, clock=lambda: 0.0)
        self.seen: dict[BatchSequence, list[NDArray[np.float32]]] = {}

    def _emit_token(self, sequence: BatchSequence, logits: Logits) -> None:
        self.seen.setdefault(sequence, []).append(logits.copy())
        super()._emit_token(sequence, logits)

    def run_until_idle(self) -> None:
        """To the end of all answers, with readers who take everything at once."""
        while self.run_pass() != float("inf"):
            made, self.outputs = self.outputs, []
            for turn, load in made:
                if hasattr(load, "text"):
                    self.mark_delivered(turn, 0.0, len(load.text))


@cache
def make_session() -> BatchedSession:
    return BatchedSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), count=6, context=CONTEXT, threads=1)


@cache
def make_encoder() -> RequestEncoder:
    return RequestEncoder(BatchEngine(make_session(), tiny_tokenizer(), TINY.vocab_size), {})


def make_request(tokens: int, said: Sequence[int] = (), prompt: str = PROMPT, seed: int = 1) -> CompletionRequest:
    sampling = Sampling(max_tokens=tokens, seed=seed, temperature=1.0, top_k=20)
    return CompletionRequest(prompt, sampling, tuple(said), chars_per_second=0.0, conversation="a")


def logits_and_tokens(
    ask: CompletionRequest, *, beside: int = 0, heard: Sequence[int] = ()
) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Each token's logits, and the tokens; `beside` others are answered at once, so much was read ahead before."""
    recorder = RecordingLoop(make_session())
    ids = make_encoder().encode_prompt(ask.prompt)
    for length in heard:
        recorder.add_prefill(PrefillJob(ids[:length], ask.conversation, lambda read: None))
        recorder.run_until_idle()
    turns = [
        make_encoder().make_sequence(
            replace(ask, resume_tokens=(), conversation=f"{n}", sampling=replace(ask.sampling, seed=n)), 0.0
        )
        for n in range(beside)
    ]
    turn = make_encoder().make_sequence(ask, 0.0)
    for one in [*turns, turn]:
        recorder.add(one)
    recorder.run_until_idle()
    return recorder.seen[turn], turn._generation.window.ids[len(ids) :]


@cache
def undisturbed_logits(tokens: int) -> tuple[list[NDArray[np.float32]], list[int]]:
    return logits_and_tokens(make_request(tokens))


@settings(max_examples=40)
@given(st.integers(0, 59), st.integers(0, 3), st.lists(st.integers(1, 20), max_size=3))
def test_an_answer_goes_on_to_the_bit_as_it_would_have(place: int, beside: int, heard: list[int]) -> None:
    """Of sixty tokens in a context of fifty: it is cut before and behind places where the oldest lines went."""
    wanted, tokens = undisturbed_logits(60)
    found, all_tokens = logits_and_tokens(make_request(60, tokens[:place]), beside=beside, heard=sorted(heard))
    assert all_tokens == tokens
    assert len(found) == 60 - place
    for one, other in zip(found, wanted[place:], strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 28), min_size=1, max_size=4).map(sorted))
def test_a_prompt_is_to_the_bit_the_same_however_it_was_cut(heard: list[int]) -> None:
    assert np.array_equal(logits_and_tokens(make_request(1), heard=heard)[0][0], undisturbed_logits(60)[0][0])


@pytest.mark.parametrize("left", [1, 2])
def test_what_is_left_of_a_prompt_is_never_one_token(left: int) -> None:
    ids = make_encoder().encode_prompt(PROMPT)
    assert np.array_equal(
        logits_and_tokens(make_request(1), heard=[len(ids) - left])[0][0], undisturbed_logits(60)[0][0]
    )
    assert np.array_equal(logits_and_tokens(make_request(1), heard=[5, 5 + left])[0][0], undisturbed_logits(60)[0][0])


def test_a_token_alone_is_not_to_the_bit_what_it_is_among_others_or_none_of_this_were_needed() -> None:
    ids, different = make_encoder().encode_prompt(PROMPT), 0
    whole = make_session().prefill(0, 0, ids).copy()
    for at in range(1, len(ids) - 1):
        make_session().prefill(1, 0, ids[:at])
        make_session().prefill(1, at, ids[at : at + 1])
        different += not np.array_equal(make_session().prefill(1, at + 1, ids[at + 1 :]), whole)
    assert different


def test_a_turn_whose_row_and_cache_were_lost_goes_on_as_if_they_had_not_been() -> None:
    recorder = RecordingLoop(make_session(), batch_size=1)
    turn = make_encoder().make_sequence(make_request(30), 0.0)
    recorder.add(turn)
    while turn.generated_tokens < 12:
        recorder.run_pass()
        recorder.mark_delivered(turn, 0.0, turn.scheduled.buffer.undelivered_chars)
    recorder._active.clear()
    recorder._allocator.release(turn.scheduled, keep_cache=False)
    recorder.outputs.clear()
    recorder._waiting.append(turn)
    recorder.run_until_idle()
    for one, other in zip(recorder.seen[turn], undisturbed_logits(60)[0], strict=False):
        assert np.array_equal(one, other)
    assert len(recorder.seen[turn]) == 30


@pytest.mark.parametrize("luck", [random.Random(n) for n in range(3)])
def test_a_stream_that_is_cut_is_in_no_step_and_leaves_its_cache_for_the_next_turn(luck: random.Random) -> None:
    """The issue's BREAK, on the real engine: its counters tell."""
    recorder = RecordingLoop(make_session())
    gone, stays = (
        make_encoder().make_sequence(make_request(20), 0.0),
        make_encoder().make_sequence(replace(make_request(20), conversation="b"), 0.0),
    )
    recorder.add(gone)
    recorder.add(stays)
    until = luck.randint(2, 6)
    while gone.generated_tokens < until:
        recorder.run_pass()
        recorder.outputs.clear()
        for turn in (gone, stays):
            recorder.mark_delivered(turn, 0.0, turn.scheduled.buffer.undelivered_chars)
    recorder.cancel(gone)
    before, others = recorder.counters(), stays.generated_tokens
    recorder.run_until_idle()
    after = recorder.counters()
    assert after.tokens - before.tokens == after.rows - before.rows == 20 - others
    assert (after.padding_rows, after.cut, after.active, gone.generated_tokens) == (before.padding_rows, 1, 0, until)
    heard = make_encoder().encode_prompt(PROMPT) + gone._generation.window.ids[-until:]
    following = BatchSequence(make_request(1), heard, tiny_tokenizer(), None, context=CONTEXT, arrived_at=0.0)
    recorder.add(following)
    recorder.run_until_idle()
    assert recorder.counters().read - after.read == 2, "all but the last was known, and none is read alone"
