"""How far the logits of a candidate are from those of the same weights in float32. Pure: arrays in, figures out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tools.bench.figures import CandidateQuality

Logits = NDArray[np.float32]
CHUNK_ROWS = 64  # at once: in float64, and the vocabulary may be long


def split_windows(ids: Sequence[int], length: int) -> list[list[int]]:
    """Runs of `length` inputs, one behind the other, each with the id that follows it."""
    return [list(ids[start : start + length + 1]) for start in range(0, len(ids) - length, length)]


def compute_quality(pairs: Iterable[tuple[Logits, Logits, Sequence[int]]], *, is_text: bool) -> CandidateQuality:
    """Of (reference [S, V], candidate [S, V], the S ids that truly came)."""
    divergence, agreed, positions, surprise = 0.0, 0, 0, 0.0
    for reference, candidate, targets in pairs:
        for p, q, wanted in _log_probabilities(reference, candidate, targets):
            divergence += float((np.exp(p) * (p - q)).sum())
            agreed += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
            at = np.arange(len(wanted))
            surprise += float((p[at, wanted] - q[at, wanted]).sum())
            positions += len(wanted)
    perplexity = math.exp(surprise / positions) if is_text else None
    return CandidateQuality(divergence / positions, agreed / positions, positions, perplexity)


def _log_probabilities(
    reference: Logits, candidate: Logits, targets: Sequence[int]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]:
    if reference.shape != candidate.shape:
        raise ValueError(f"logits of {list(candidate.shape)} where {list(reference.shape)} should be")
    for start in range(0, len(targets), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        yield _log_softmax(reference[part]), _log_softmax(candidate[part]), np.asarray(targets[part], np.int64)


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x
