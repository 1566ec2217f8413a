"""Logits -> the next token. Pure: the random number depends on the seed and the token's position alone.

The same prompt and seed give the same text, also when an interrupted answer is resumed from its tokens. The filters
have the order of transformers: mask, repetition penalty, n-grams, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged
from model.interface import Sampling, TopLogprobs

Scores = NDArray[np.float32]
TokenIds = NDArray[np.intp]
Reals = NDArray[np.floating]

GREEDY_BELOW = 1e-6  # a lower temperature counts as 0: dividing by it overflows, and the likeliest token wins anyway
SORTED_FIRST = 1024  # highest scores that are sorted first; all of GPT-2's 50,257 only if these do not suffice
GROUP_SIZE = 32  # scores that share one maximum: selecting among the maxima first takes a third of the time
SORT_GROWTH = 8  # factor by which the next sort is larger
MINUS_INFINITY = np.float32(-np.inf)


@np.errstate(over="ignore")  # a score near the limits of float32 may become infinite: excluded, or a damaged model
def choose_token(
    logits: Scores, sampling: Sampling, position: int, recent: Sequence[int] = (), forbidden: TokenIds | None = None
) -> int:
    """The token for `position`, which counts from 0 at the start of the text.

    logits [V]; `repetition_penalty` and `no_repeat_ngram` look at the tokens in `recent`; `forbidden` tokens get no
    probability. Tokens of equal logits have the order of their ids. Raises ModelDamaged if the logits are no numbers.
    """
    scores = _masked_scores(logits, forbidden)
    _penalise(scores, recent, sampling.repetition_penalty)
    _exclude(scores, _ngram_repeats(recent, sampling.no_repeat_ngram))
    best = _argmax(scores)
    if sampling.temperature < GREEDY_BELOW:
        return best
    values, index = _draw(scores, scores[best], sampling, uniform_random(sampling.seed, position), SORTED_FIRST)
    equal = np.flatnonzero(scores == values[index])
    return int(equal[index - np.count_nonzero(values > values[index])])


@np.errstate(over="ignore")
def logprobs(logits: Scores, token: int, top: int = 0, forbidden: TokenIds | None = None) -> tuple[float, TopLogprobs]:
    """The natural logarithm of the token's probability among the allowed tokens, before any other filter.

    Returns it, and the same of the `top` likeliest allowed tokens with them.
    """
    scores = _masked_scores(logits, forbidden)
    scores -= scores[_argmax(scores)]
    log_sum = float(np.log(np.exp(scores).sum(dtype=np.float64)))
    number = float(scores[token]) - log_sum
    if not top:
        return number, ()
    high = np.flatnonzero(scores >= np.partition(scores, -top)[-top])
    best = high[np.argsort(-scores[high], kind="stable")][:top]
    return number, tuple((int(index), float(scores[index]) - log_sum) for index in best if np.isfinite(scores[index]))


def uniform_random(seed: int, position: int) -> float:
    """A number in [0, 1) for each pair, the same on every machine and in every version."""
    digest = blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _masked_scores(logits: Scores, forbidden: TokenIds | None) -> Scores:
    """A copy of the logits in which forbidden tokens have the score minus infinity."""
    scores = logits.astype(np.float32)
    if forbidden is not None:
        scores[forbidden] = MINUS_INFINITY
    return scores


def _argmax(scores: Scores) -> int:
    best = int(scores.argmax())
    if not np.isfinite(scores[best]):
        raise ModelDamaged("the model gives no numbers (NaN or infinite logits): its file or its training is broken")
    return best


def _penalise(scores: Scores, recent: Sequence[int], penalty: float) -> None:
    """Divides positive scores by the penalty and multiplies negative ones (Keskar et al. 2019, CTRL, 4.1)."""
    if penalty != 1.0 and recent:
        ids = np.asarray(recent, np.intp)
        before = scores[ids]
        scores[ids] = np.where(before > 0, before / np.float32(penalty), before * np.float32(penalty))


def _ngram_repeats(recent: Sequence[int], size: int) -> TokenIds:
    """The tokens that would complete an n-gram of `size` tokens which is already in `recent`."""
    if not 0 < size <= len(recent):
        return np.empty(0, np.intp)
    ids = np.asarray(recent, np.intp)
    # For each index: whether the size - 1 tokens from there equal the last size - 1 tokens.
    is_same = np.ones(len(ids) - size + 1, np.bool_)
    for back in range(1, size):
        is_same &= ids[size - 1 - back : len(ids) - back] == ids[len(ids) - back]
    return ids[size - 1 :][is_same]


def _exclude(scores: Scores, tokens: TokenIds) -> None:
    """Excludes these tokens, unless no token would be left."""
    if tokens.size:
        before = scores[tokens]
        scores[tokens] = MINUS_INFINITY
        if not np.isfinite(scores.max()):
            scores[tokens] = before


def _draw(scores: Scores, best: np.float32, sampling: Sampling, random: float, size: int) -> tuple[Scores, int]:
    """Walks down from the highest score until the share `random` of the kept weight is passed.

    Returns the highest scores, `size` of them if these suffice, and the index reached among them.
    """
    limit = min(sampling.top_k or len(scores), len(scores))
    size = size if size < limit == len(scores) else limit
    values = _highest(scores, size)
    # float64 takes five times as long in exp; in a long tail its precision makes no visible difference.
    precise: Reals = values.astype(np.float64) if size <= SORTED_FIRST else values
    weights = _weights(precise, best, sampling.temperature)
    cumulative = np.cumsum(weights.astype(np.float64, copy=False))
    total = cumulative[-1] if size == limit else _weights(scores, best, sampling.temperature).sum(dtype=np.float64)
    kept = int(np.count_nonzero((weights >= sampling.min_p) & (weights > 0)))
    if sampling.top_p < 1:
        # The smallest set of likeliest tokens that has the share top_p of the weight, its last token included.
        kept = min(kept, int(np.searchsorted(cumulative, sampling.top_p * total)) + 1)
    if kept < size or size == limit:
        return values, min(_index_at_weight(cumulative, random * cumulative[kept - 1]), kept - 1)
    if sampling.top_p == 1 and sampling.min_p == 0 and (index := _index_at_weight(cumulative, random * total)) < size:
        return values, index
    return _draw(scores, best, sampling, random, size * SORT_GROWTH if cumulative[-1] * SORT_GROWTH > total else limit)


def _highest(scores: Scores, count: int) -> Scores:
    """The `count` highest scores in descending order."""
    columns = len(scores) // GROUP_SIZE
    if count * GROUP_SIZE <= columns:
        # The `count` highest scores lie in the groups with the `count` highest maxima.
        groups = scores[: columns * GROUP_SIZE].reshape(GROUP_SIZE, columns)
        tops = groups.max(axis=0)
        high = np.flatnonzero(tops >= np.partition(tops, columns - count)[columns - count])
        scores = np.concatenate((groups[:, high].ravel(), scores[columns * GROUP_SIZE :]))
    above = len(scores) - count
    return np.sort(np.partition(scores, above)[above:] if above else scores)[::-1]


def _weights(scores: Reals, best: np.float32, temperature: float) -> Reals:
    weights: Reals = scores - best
    weights /= temperature
    return np.exp(weights, out=weights)


def _index_at_weight(cumulative: NDArray[np.float64], target: float) -> int:
    return int(np.searchsorted(cumulative, target, side="right"))
