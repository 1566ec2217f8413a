"""Measures how far a session differs from its float32 weights: logits, KL divergence, perplexity.

The reference is GPT-2 in numpy, in float32. It shares only the weights with the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.build import numpy_gpt2
from model.build.bits_per_byte import ScorableSession, TextEncoder
from model.build.gpt2_weights import Weights
from model.build.numpy_gpt2 import Floats, Windows
from model.build.quantise.quantise_model import OnProgress
from model.errors import ModelError
from model.interface import GPT2Config

ROWS_AT_ONCE = 8  # tokens whose logits are compared at once, because they fit the CPU cache


@dataclass(frozen=True, slots=True)
class ModelFidelity:
    """A session compared with float32 on `tokens` tokens of a text that it was not quantised with.

    `logits` is the largest difference of a logit. `kl` is in nats a token. `agree` is the share of tokens where both
    have the same likeliest next token. `ratio` is the perplexity over that of float32.
    """

    tokens: int
    logits: float
    kl: float
    agree: float
    perplexity: float
    ratio: float


def cut_windows(tokenizer: TextEncoder, documents: Iterable[str], length: int, max_tokens: int) -> Windows:
    """Cuts windows [B, length] evenly from a text, at most `max_tokens` in all. Each begins with an end of text.

    Raises ModelError if the text is too short for one window.
    """
    ids = [token for text in documents for token in [tokenizer.end_of_text, *tokenizer.encode_lines(text)]]
    count = min(len(ids) // (length - 1), max(1, max_tokens // length))
    if not count:
        cure = f"give one of at least {length - 1}, better of thousands"
        raise ModelError(f"the text has {len(ids)} tokens; {cure}", "damaged")
    starts = np.linspace(0, len(ids) - (length - 1), count).astype(np.int64)
    rows = [[tokenizer.end_of_text, *ids[start : start + length - 1]] for start in starts]
    return np.array(rows, np.int64)


def compare_to_float32(
    session: ScorableSession,
    weights: Weights,
    shape: GPT2Config,
    windows: Windows,
    on_progress: OnProgress | None = None,
) -> ModelFidelity:
    """Compares a session with float32 on windows [B, S] of ids. `on_progress` gets (windows done, windows)."""
    sums = np.zeros(4)  # nats of float32, nats of the session, KL, agreements
    max_difference, expected = 0.0, np.empty((windows.shape[1] - 1, shape.vocab_size), np.float32)
    for done, row in enumerate(windows, start=1):
        hidden = numpy_gpt2.hidden_states(weights, shape, row[None, :-1], numpy_gpt2.plain_linear(weights))
        numpy_gpt2.logits(weights, hidden, expected)
        session.rewind(0)
        actual = session.forward_from([int(token) for token in row[:-1]], 0)
        for start in range(0, len(expected), ROWS_AT_ONCE):
            stop = start + ROWS_AT_ONCE
            logits, float32_logits = actual[start:stop], expected[start:stop]
            max_difference = max(max_difference, float(np.abs(logits - float32_logits).max()))
            sums += _compare_rows(_log_softmax(float32_logits), _log_softmax(logits), row[start + 1 : stop + 1])
        if on_progress is not None:
            on_progress(done, len(windows))
    tokens = windows.shape[0] * (windows.shape[1] - 1)
    nats_float32, nats, kl, agree = (sums / tokens).tolist()
    return ModelFidelity(tokens, max_difference, kl, agree, float(np.exp(nats)), float(np.exp(nats - nats_float32)))


def _compare_rows(expected: Floats, actual: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over log probabilities [R, V]: nats of both on the targets, KL divergence, equal likeliest tokens."""
    rows = np.arange(len(expected))
    nats = [-logs[rows, targets].sum(dtype=np.float64) for logs in (expected, actual)]
    agree = (expected.argmax(axis=1) == actual.argmax(axis=1)).sum()
    divergence = expected - actual
    divergence *= np.exp(expected)
    return np.array([*nats, divergence.sum(dtype=np.float64), agree], np.float64)


def _log_softmax(logits: Floats) -> Floats:
    logs: Floats = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
