"""Scores how well a model predicts a text, in bits per byte, which is comparable between vocabularies.

Each document begins after an end of text, which is not scored. A document is read in windows of the whole context that
overlap by half. All but the first window score only their second half, so each later token has at least half a
context before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError


class ScorableSession(Protocol):
    """The methods of a session that scoring and comparing call."""

    context: int

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class TextEncoder(Protocol):
    """The methods of a tokenizer that scoring and comparing call."""

    end_of_text: int

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class TextScore:
    bits_per_byte: float
    nats_per_token: float
    tokens: int
    bytes: int


def score_documents(
    session: ScorableSession,
    tokenizer: TextEncoder,
    documents: Iterable[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> TextScore:
    """Scores the documents. `on_progress` gets (tokens done, tokens in all). Raises ModelError if there is no text."""
    texts = list(documents)
    rows = [[tokenizer.end_of_text, *tokenizer.encode_lines(text)] for text in texts]
    tokens = sum(len(row) - 1 for row in rows)
    size = sum(len(text.encode("utf-8")) for text in texts)
    if not tokens:
        raise ModelError("there is no text to score", "damaged")
    nats, done = [], 0
    for row in rows:
        for start, first, stop in overlapping_windows(len(row) - 1, session.context):
            session.rewind(0)
            logits = session.forward_from(row[start:stop], first)
            nats.append(_sum_nats(logits, row[start + first + 1 : stop + 1]))
            done += stop - start - first
            if on_progress is not None:
                on_progress(done, tokens)
    total = math.fsum(nats)
    return TextScore(total / math.log(2) / size, total / tokens, tokens, size)


def overlapping_windows(count: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows over `count` inputs: (start, index of the first scored input in the window, stop)."""
    half = context // 2
    start = scored = 0
    while scored < count:
        stop = min(start + context, count)
        yield start, scored - start, stop
        scored, start = stop, start + half


def _sum_nats(logits: NDArray[np.float32], targets: Sequence[int]) -> float:
    """The sum over the rows of -log p(target)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    target_logits = shifted[np.arange(len(targets)), targets]
    return float((np.log(np.exp(shifted).sum(axis=1)) - target_logits).sum(dtype=np.float64))
