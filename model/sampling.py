"""Logits -> the next token. Pure: its random number is a function of the seed and the token's position alone.

So a text is the same on every start, and one that was cut and goes on from its ids goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from model.base import Sampling
from model.errors import ModelDamaged

Scores = NDArray[np.float64]
Order = NDArray[np.intp]

COLD = 1e-6  # below it a temperature is 0: a division by it overflows, and the likeliest takes all in any case
HEAD = 1024  # the likeliest tokens, sorted first; all of GPT-2's 50,257 are sorted only when these do not suffice


def choose(logits: NDArray[np.float32], sampling: Sampling, position: int, recent: Sequence[int] = ()) -> int:
    """The token for `position`, counted from 0 at the start of the context.

    logits [V]; `recent` are the tokens that `repetition_penalty` makes less likely. Tokens of equal logits are taken
    in the order of their ids. Raises ModelDamaged if the logits are no numbers.
    """
    scores = _penalised(logits.astype(np.float64), recent, sampling.repetition_penalty)
    best = int(scores.argmax())
    if not np.isfinite(scores[best]):
        raise ModelDamaged("the model gives no numbers (NaN or infinite logits): its file or its training is broken")
    if sampling.temperature < COLD:
        return best
    weights = np.exp((scores - scores[best]) / sampling.temperature)
    return _drawn(scores, weights, sampling, uniform(sampling.seed, position))


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) for each pair, the same on every machine and for ever."""
    digest = blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _penalised(scores: Scores, recent: Sequence[int], penalty: float) -> Scores:
    """Divide what speaks for a token, multiply what speaks against it (Keskar et al. 2019, CTRL, 4.1)."""
    if penalty != 1.0 and recent:
        ids = np.asarray(recent, np.intp)
        scores[ids] = np.where(scores[ids] > 0, scores[ids] / penalty, scores[ids] * penalty)
    return scores


def _drawn(scores: Scores, weights: Scores, sampling: Sampling, random: float) -> int:
    """Walk down from the likeliest token until `random` of the kept weight is behind us."""
    keep = min(sampling.top_k, len(scores)) if sampling.top_k > 0 else len(scores)
    for size in (HEAD, keep) if HEAD < keep == len(scores) else (keep,):
        order = _likeliest(scores, size)
        behind = np.cumsum(weights[order])
        whole = behind[-1] if size == keep else weights.sum()
        if sampling.top_p < 1.0:
            # The smallest set of the likeliest that has top_p of the weight; its last member counts.
            last = int(np.searchsorted(behind, sampling.top_p * whole))
            if last >= size < keep:
                continue
            whole = behind[min(last, size - 1)]
        place = int(np.searchsorted(behind, random * whole, side="right"))
        if place < size or size == keep:
            break
    return int(order[min(place, size - 1)])


def _likeliest(scores: Scores, count: int) -> Order:
    """The ids of the `count` highest scores, highest first, equal ones by id."""
    if count < len(scores):
        border = np.partition(scores, len(scores) - count)[len(scores) - count]
        ids = np.flatnonzero(scores >= border)
    else:
        ids = np.arange(len(scores))
    return ids[np.argsort(-scores[ids], kind="stable")][:count]
