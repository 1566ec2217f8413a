"""An answer in float32 on the real engine is the same to the bit, however it was prefilled or resumed."""

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
    """Records the logits of each token."""

    def __init__(self, session: BatchedSession, batch_size: int = 4) -> None:
        super().__init__(session, batch_size=batch_size, clock=lambda: 0.0)
        self.recorded: dict[BatchSequence, list[NDArray[np.float32]]] = {}

    def _emit_token(self, sequence: BatchSequence, logits: Logits) -> None:
        self.recorded.setdefault(sequence, []).append(logits.copy())
        super()._emit_token(sequence, logits)

    def run_until_idle(self) -> None:
        """Runs all answers to their end. The clients take their text at once."""
        while self.run_pass() != float("inf"):
            outputs, self.outputs = self.outputs, []
            for sequence, output in outputs:
                if hasattr(output, "text"):
                    self.mark_delivered(sequence, 0.0, len(output.text))


@cache
def make_session() -> BatchedSession:
    return BatchedSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), count=6, context=CONTEXT, threads=1)


@cache
def make_encoder() -> RequestEncoder:
    return RequestEncoder(BatchEngine(make_session(), tiny_tokenizer(), TINY.vocab_size), {})


def make_request(tokens: int, resumed: Sequence[int] = ()) -> CompletionRequest:
    sampling = Sampling(max_tokens=tokens, seed=1, temperature=1.0, top_k=20)
    return CompletionRequest(PROMPT, sampling, tuple(resumed), chars_per_second=0.0, conversation="a")


def logits_and_tokens(
    request: CompletionRequest, *, neighbours: int = 0, prefills: Sequence[int] = ()
) -> tuple[list[NDArray[np.float32]], list[int]]:
    """Generates an answer beside `neighbours` others, after prefills of these lengths. Returns logits and tokens."""
    loop = RecordingLoop(make_session())
    ids = make_encoder().encode_prompt(request.prompt)
    for length in prefills:
        loop.add_prefill(PrefillJob(ids[:length], request.conversation, lambda count: None))
        loop.run_until_idle()
    for n in range(neighbours):
        sampling = replace(request.sampling, seed=n)
        neighbour = replace(request, resume_tokens=(), conversation=f"{n}", sampling=sampling)
        loop.add_sequence(make_encoder().make_sequence(neighbour, 0.0))
    sequence = make_encoder().make_sequence(request, 0.0)
    loop.add_sequence(sequence)
    loop.run_until_idle()
    return loop.recorded[sequence], sequence._generation.window.ids[len(ids) :]


@cache
def undisturbed_logits(tokens: int) -> tuple[list[NDArray[np.float32]], list[int]]:
    return logits_and_tokens(make_request(tokens))


@settings(max_examples=40)
@given(st.integers(0, 59), st.integers(0, 3), st.lists(st.integers(1, 20), max_size=3))
def test_a_resumed_answer_is_the_same_to_the_bit(position: int, neighbours: int, prefills: list[int]) -> None:
    """Sixty tokens in a context of fifty, so the resume position may lie before or behind dropped text."""
    expected, tokens = undisturbed_logits(60)
    request = make_request(60, tokens[:position])
    logits, all_tokens = logits_and_tokens(request, neighbours=neighbours, prefills=sorted(prefills))
    assert all_tokens == tokens
    assert len(logits) == 60 - position
    for row, expected_row in zip(logits, expected[position:], strict=True):
        assert np.array_equal(row, expected_row)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 28), min_size=1, max_size=4).map(sorted))
def test_a_prompt_is_the_same_to_the_bit_however_it_was_prefilled(prefills: list[int]) -> None:
    assert np.array_equal(logits_and_tokens(make_request(1), prefills=prefills)[0][0], undisturbed_logits(60)[0][0])


@pytest.mark.parametrize("remaining", [1, 2])
def test_the_last_token_of_a_prompt_is_never_computed_alone(remaining: int) -> None:
    length = len(make_encoder().encode_prompt(PROMPT))
    for prefills in ([length - remaining], [5, 5 + remaining]):
        logits = logits_and_tokens(make_request(1), prefills=prefills)[0][0]
        assert np.array_equal(logits, undisturbed_logits(60)[0][0])


def test_a_token_computed_alone_does_differ_so_that_the_care_is_needed() -> None:
    ids, different = make_encoder().encode_prompt(PROMPT), 0
    whole = make_session().prefill(0, 0, ids).copy()
    for index in range(1, len(ids) - 1):
        make_session().prefill(1, 0, ids[:index])
        make_session().prefill(1, index, ids[index : index + 1])
        different += not np.array_equal(make_session().prefill(1, index + 1, ids[index + 1 :]), whole)
    assert different


def test_an_answer_that_lost_its_row_and_cache_goes_on_unchanged() -> None:
    loop = RecordingLoop(make_session(), batch_size=1)
    sequence = make_encoder().make_sequence(make_request(30), 0.0)
    loop.add_sequence(sequence)
    while sequence.generated_tokens < 12:
        loop.run_pass()
        loop.mark_delivered(sequence, 0.0, sequence.scheduled.buffer.undelivered_chars)
    loop._active.clear()
    loop._allocator.release(sequence.scheduled, keep_cache=False)
    loop.outputs.clear()
    loop._waiting.append(sequence)
    loop.run_until_idle()
    for row, expected_row in zip(loop.recorded[sequence], undisturbed_logits(60)[0], strict=False):
        assert np.array_equal(row, expected_row)
    assert len(loop.recorded[sequence]) == 30


@pytest.mark.parametrize("rng", [random.Random(n) for n in range(3)])
def test_a_cancelled_answer_is_in_no_step_and_leaves_its_cache_for_the_next_turn(rng: random.Random) -> None:
    """A BREAK at the client cancels the answer. The counters of the real engine show the effect."""
    loop = RecordingLoop(make_session())
    gone = make_encoder().make_sequence(make_request(20), 0.0)
    stays = make_encoder().make_sequence(replace(make_request(20), conversation="b"), 0.0)
    loop.add_sequence(gone)
    loop.add_sequence(stays)
    until = rng.randint(2, 6)
    while gone.generated_tokens < until:
        loop.run_pass()
        loop.outputs.clear()
        for sequence in (gone, stays):
            loop.mark_delivered(sequence, 0.0, sequence.scheduled.buffer.undelivered_chars)
    loop.cancel(gone)
    before, others = loop.counters(), stays.generated_tokens
    loop.run_until_idle()
    after = loop.counters()
    assert after.tokens - before.tokens == after.rows - before.rows == 20 - others
    assert (after.padding_rows, after.cut, after.active, gone.generated_tokens) == (before.padding_rows, 1, 0, until)
    token_ids = make_encoder().encode_prompt(PROMPT) + gone._generation.window.ids[-until:]
    following = BatchSequence(make_request(1), token_ids, tiny_tokenizer(), None, context=CONTEXT, arrived_at=0.0)
    loop.add_sequence(following)
    loop.run_until_idle()
    assert loop.counters().read - after.read == 2, "all but the last token is cached, and none is computed alone"
