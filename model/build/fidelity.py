"""How far a session strays from the weights it was made of: logits, KL divergence, perplexity.

The judge is numpy in float32, which shares nothing with the graph but the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.build import numpy_gpt2
from model.interface import GPT2Config
from model.errors import TextDamaged
from model.build.numpy_gpt2 import Floats, Weights

ROWS_AT_ONCE = 8  # tokens whose logits are compared at once: so many stay in the cache


class ComparableSession(Protocol):
    """What is asked of the session."""

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class LineEncoder(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class ModelFidelity:
    """Of a session against float32, on `tokens` tokens of a text that it was not rounded by.

    `logits` is the largest difference of any logit, `kl` nats a token, `agree` how often both have the same likeliest
    token; `ratio` is the perplexity over that of float32.
    """

    tokens: int
    logits: float
    kl: float
    agree: float
    perplexity: float
    ratio: float


def cut_windows(tokenizer: LineEncoder, documents: Iterable[str], length: int, max_tokens: int) -> NDArray[np.int64]:
    """Windows [B, length] of a text, each after an end of text, at most `most` tokens in all and evenly from it.

    Raises TextDamaged where the text does not fill one.
    """
    ids = [token for text in documents for token in [tokenizer.end_of_text, *tokenizer.encode_lines(text)]]
    count = min(len(ids) // (length - 1), max(1, max_tokens // length))
    if not count:
        raise TextDamaged(f"the text has {len(ids)} tokens; give one of at least {length - 1}, better of thousands")
    starts = np.linspace(0, len(ids) - (length - 1), count).astype(np.int64)
    rows = [[tokenizer.end_of_text, *ids[start : start + length - 1]] for start in starts]
    return np.array(rows, np.int64)


def compare_to_float32(
    session: ComparableSession,
    weights: Weights,
    shape: GPT2Config,
    windows: NDArray[np.int64],
    on_progress: Callable[[int, int], None] | None = None,
) -> ModelFidelity:
    """Judge a session on windows [B, S] of ids."""
    sums = np.zeros(4)  # nats of float32, of the session, between them, agreements
    furthest, wanted = 0.0, np.empty((windows.shape[1] - 1, shape.vocab_size), np.float32)
    for done, row in enumerate(windows, start=1):
        seen = numpy_gpt2.hidden_states(weights, shape, row[None, :-1], numpy_gpt2.plain_linear(weights))
        numpy_gpt2.logits(weights, seen, wanted)
        session.rewind(0)
        found = session.forward_from([int(token) for token in row[:-1]], 0)
        for start in range(0, len(wanted), ROWS_AT_ONCE):
            ours, true = found[start : start + ROWS_AT_ONCE], wanted[start : start + ROWS_AT_ONCE]
            furthest = max(furthest, float(np.abs(ours - true).max()))
            sums += _compare_rows(_log_softmax(true), _log_softmax(ours), row[start + 1 : start + 1 + ROWS_AT_ONCE])
        if on_progress is not None:
            on_progress(done, len(windows))
    tokens = windows.shape[0] * (windows.shape[1] - 1)
    least, most, between, agree = (sums / tokens).tolist()
    return ModelFidelity(tokens, furthest, between, agree, float(np.exp(most)), float(np.exp(most - least)))


def _compare_rows(expected: Floats, actual: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of logarithms of chances [R, V]: what each loses on the targets, what lies between them, where they agree."""
    at = np.arange(len(expected))
    true, ours = -expected[at, targets].sum(dtype=np.float64), -actual[at, targets].sum(dtype=np.float64)
    agree = (expected.argmax(axis=1) == actual.argmax(axis=1)).sum()
    apart = expected - actual
    apart *= np.exp(expected)
    return np.array([true, ours, apart.sum(dtype=np.float64), agree], np.float64)


def _log_softmax(logits: Floats) -> Floats:
    logs: Floats = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
