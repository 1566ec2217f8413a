"""How far a session strays from the weights it was made of: logits, KL divergence, perplexity.

The judge is numpy in float32, which shares nothing with the graph but the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model import reference
from model.base import Shape
from model.errors import TextDamaged
from model.reference import Floats, Weights

AT_ONCE = 4  # windows whose logits are held at a time


class Judged(Protocol):
    """What is asked of the session."""

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class Encoder(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Quality:
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


def windows(words: Encoder, documents: Iterable[str], length: int, most: int) -> NDArray[np.int64]:
    """Windows [B, length] of a text, each after an end of text, at most `most` tokens in all and evenly from it.

    Raises TextDamaged where the text does not fill one.
    """
    ids = [token for text in documents for token in [words.end_of_text, *words.encode_lines(text)]]
    count = min(len(ids) // (length - 1), max(1, most // length))
    if not count:
        raise TextDamaged(f"the text has {len(ids)} tokens; give one of at least {length - 1}, better of thousands")
    starts = np.linspace(0, len(ids) - (length - 1), count).astype(np.int64)
    rows = [[words.end_of_text, *ids[start : start + length - 1]] for start in starts]
    return np.array(rows, np.int64)


def compare(
    session: Judged,
    weights: Weights,
    shape: Shape,
    rows: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Judge a session on windows [B, S] of ids."""
    sums = np.zeros(4)  # nats of float32, of the session, between them, agreements
    furthest, done = 0.0, 0
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE, :-1]
        for row, wanted in zip(rows[start : start + AT_ONCE], reference.logits(weights, shape, some), strict=True):
            session.rewind(0)
            found = session.forward_from([int(token) for token in row[:-1]], 0)
            furthest = max(furthest, float(np.abs(found - wanted).max()))
            sums += _nats(_log_softmax(wanted), _log_softmax(found), row[1:])
            done += 1
            if progress is not None:
                progress(done, len(rows))
    tokens = rows.shape[0] * (rows.shape[1] - 1)
    true, ours, between, agree = (sums / tokens).tolist()
    return Quality(tokens, furthest, between, agree, float(np.exp(ours)), float(np.exp(ours - true)))


def _nats(wanted: Floats, found: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    at = np.arange(len(targets))
    between = (np.exp(wanted) * (wanted - found)).sum(dtype=np.float64)
    agree = (wanted.argmax(axis=1) == found.argmax(axis=1)).sum()
    true, ours = -wanted[at, targets].sum(dtype=np.float64), -found[at, targets].sum(dtype=np.float64)
    return np.array([true, ours, between, agree], np.float64)


def _log_softmax(logits: Floats) -> Floats:
    below = logits - logits.max(axis=1, keepdims=True)
    logs: Floats = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    return logs
