"""How well a model foretells a text, in bits a byte: models with different vocabularies compare.

Each document begins after an end of text, whose own prediction does not count. It is read in windows of the whole
context, each half over the one before; but for the first, a window scores only its second half, so that every token
is foretold from at least half a context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.errors import TextDamaged


class ScorableSession(Protocol):
    """What is asked of the session."""

    context: int

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class LineEncoder(Protocol):
    """What is asked of the tokenizer."""

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
    tokenizer: LineEncoder,
    documents: Iterable[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> TextScore:
    """Score the documents; `progress` hears (tokens done, tokens in all). Raises TextDamaged if there is no text."""
    texts = list(documents)
    rows = [[tokenizer.end_of_text, *tokenizer.encode_lines(text)] for text in texts]
    tokens = sum(len(row) - 1 for row in rows)
    size = sum(len(text.encode("utf-8")) for text in texts)
    if not tokens:
        raise TextDamaged("there is no text to score")
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
    """Windows over `count` inputs: (start, index in the window of the first that scores, stop)."""
    half = context // 2
    start = scored = 0
    while scored < count:
        stop = min(start + context, count)
        yield start, scored - start, stop
        scored, start = stop, start + half


def _sum_nats(logits: NDArray[np.float32], targets: Sequence[int]) -> float:
    """The sum over rows of -log p(target)."""
    below = logits - logits.max(axis=1, keepdims=True)
    wanted = below[np.arange(len(targets)), targets]
    return float((np.log(np.exp(below).sum(axis=1)) - wanted).sum(dtype=np.float64))
