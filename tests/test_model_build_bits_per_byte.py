from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import reference_gpt2
from fakes_model import TEXT, TINY, Floats, tiny_tokenizer, tiny_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from model.build import graph
from model.build.bits_per_byte import overlapping_windows, score_documents
from model.errors import ModelError
from model.onnx.session import OnnxSession


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(2, 60))
def test_every_token_is_scored_once_with_half_a_context_before_it(count: int, context: int) -> None:
    scored = []
    for start, first, stop in overlapping_windows(count, context):
        assert stop - start <= context
        assert first >= (context // 2 if start else 0)
        scored += range(start + first, stop)
    assert scored == list(range(count))


def score_by_hand(documents: Sequence[str], context: int) -> tuple[float, int]:
    """The definition: each token scored in its window, by the reference in numpy."""
    weights, nats, tokens = tiny_weights(), 0.0, 0
    for document in documents:
        row = [tiny_tokenizer().end_of_text, *tiny_tokenizer().encode_lines(document)]
        for at in range(1, len(row)):
            half = context // 2
            start = 0 if at <= context else (at - context - 1) // half * half + half
            logits = reference_gpt2.logits(weights, row[start:at], TINY.n_head)[-1]
            nats += float(np.log(np.exp(logits).sum()) - logits[row[at]])
            tokens += 1
    return nats, tokens


def test_the_score_matches_its_definition() -> None:
    documents = [TEXT[:150], "Short.\n", TEXT[100:] + "“é”\n"]
    session = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)
    progress: list[tuple[int, int]] = []
    score = score_documents(session, tiny_tokenizer(), documents, lambda done, total: progress.append((done, total)))
    nats, tokens = score_by_hand(documents, TINY.n_positions)
    assert score.tokens == tokens > 2 * TINY.n_positions
    assert score.bytes == sum(len(text.encode()) for text in documents)
    assert score.nats_per_token == pytest.approx(nats / tokens, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / score.bytes, rel=1e-5)
    assert progress[-1] == (tokens, tokens)
    assert progress == sorted(progress)


class UniformSession:
    """A model with the same probability for every token."""

    context = 8

    def __init__(self) -> None:
        self.length = 0

    def rewind(self, length: int) -> None:
        self.length = length

    def forward_from(self, ids: Sequence[int], first: int) -> Floats:
        assert self.length + len(ids) <= self.context
        self.length += len(ids)
        return np.full((len(ids) - first, TINY.vocab_size), 1000.0, np.float32)


def test_a_uniform_model_costs_the_log_of_the_vocabulary() -> None:
    score = score_documents(UniformSession(), tiny_tokenizer(), iter([TEXT, TEXT]))
    assert score.nats_per_token == pytest.approx(math.log(TINY.vocab_size), rel=1e-6)


@pytest.mark.parametrize("documents", [[], [""]])
def test_scoring_no_text_is_an_error(documents: list[str]) -> None:
    with pytest.raises(ModelError, match="no text to score") as caught:
        score_documents(UniformSession(), tiny_tokenizer(), documents)
    assert caught.value.kind == "damaged"
