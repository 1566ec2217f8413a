"""Logits -> the next token. Pure: its random number is a function of the seed and the token's position alone.

So a text is the same on every start, and one that was cut and goes on from its ids goes on as it would have. The
filters come in the order that transformers has them in: mask, repetition penalty, n-grams, temperature, top-k, top-p,
min-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelDamaged
from model.interface import Sampling

Scores = NDArray[np.float32]
TokenIds = NDArray[np.intp]
Reals = NDArray[np.floating]

GREEDY_BELOW = 1e-6  # below it a temperature is 0: a division by it overflows, and the likeliest takes all in any case
SORTED_FIRST = 1024  # the highest scores, sorted first; all of GPT-2's 50,257 are sorted only when fewer do not suffice
GROUP_SIZE = (
    32  # scores of which one maximum is taken: to sort out the few highest of these first takes a third of the time
)
SORT_GROWTH = 8  # times as many are sorted next
MINUS_INFINITY = np.float32(-np.inf)


@np.errstate(over="ignore")  # a score at the very end of float32 may become infinite: that is never, or damaged
def choose_token(
    logits: Scores, sampling: Sampling, position: int, recent: Sequence[int] = (), forbidden: TokenIds | None = None
) -> int:
    """The token for `position`, counted from 0 at the start of the context.

    logits [V]; `recent` are the tokens that `repetition_penalty` makes less likely and in which `no_repeat_ngram` looks
    for what has been said; `barred` are those that must not come. Tokens of equal logits are taken in the order of
    their ids. Raises ModelDamaged if the logits are no numbers.
    """
    scores = _masked_scores(logits, forbidden)
    _penalise(scores, recent, sampling.repetition_penalty)
    _exclude(scores, _ngram_repeats(recent, sampling.no_repeat_ngram))
    best = _argmax(scores)
    if sampling.temperature < GREEDY_BELOW:
        return best
    values, place = _draw(scores, scores[best], sampling, uniform_random(sampling.seed, position), SORTED_FIRST)
    equal = np.flatnonzero(scores == values[place])
    return int(equal[place - np.count_nonzero(values > values[place])])


@np.errstate(over="ignore")
def logprob(logits: Scores, token: int, forbidden: TokenIds | None = None) -> float:
    """The natural logarithm of the token's probability among those not barred, before any other filter."""
    scores = _masked_scores(logits, forbidden)
    scores -= scores[_argmax(scores)]
    return float(scores[token]) - float(np.log(np.exp(scores).sum(dtype=np.float64)))


def uniform_random(seed: int, position: int) -> float:
    """A number in [0, 1) for each pair, the same on every machine and for ever."""
    digest = blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _masked_scores(logits: Scores, forbidden: TokenIds | None) -> Scores:
    """A copy, in which what is barred has no chance: few, so that they are written one by one."""
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
    """Divide what speaks for a token, multiply what speaks against it (Keskar et al. 2019, CTRL, 4.1)."""
    if penalty != 1.0 and recent:
        ids = np.asarray(recent, np.intp)
        said = scores[ids]
        scores[ids] = np.where(said > 0, said / np.float32(penalty), said * np.float32(penalty))


def _ngram_repeats(recent: Sequence[int], size: int) -> TokenIds:
    """The tokens with which the last `size` tokens would be such as have been there before."""
    if not 0 < size <= len(recent):
        return np.empty(0, np.intp)
    ids = np.asarray(recent, np.intp)
    # For each place: whether the size - 1 tokens that begin there are those that are last.
    same = np.ones(len(ids) - size + 1, np.bool_)
    for back in range(1, size):
        same &= ids[size - 1 - back : len(ids) - back] == ids[len(ids) - back]
    return ids[size - 1 :][same]


def _exclude(scores: Scores, tokens: TokenIds) -> None:
    """None of these, unless they are all there is."""
    if tokens.size:
        before = scores[tokens]
        scores[tokens] = MINUS_INFINITY
        if not np.isfinite(scores.max()):
            scores[tokens] = before


def _draw(scores: Scores, best: np.float32, sampling: Sampling, random: float, size: int) -> tuple[Scores, int]:
    """Walk down from the highest score until `random` of the kept weight is behind us.

    The highest scores, `size` of them if these suffice, and the place reached among them.
    """
    keep = min(sampling.top_k or len(scores), len(scores))
    size = size if size < keep == len(scores) else keep
    values = _highest(scores, size)
    # Doubles take five times as long to raise, and in a long tail they change nothing that could be noticed.
    exact: Reals = values.astype(np.float64) if size <= SORTED_FIRST else values
    weights = _weights(exact, best, sampling.temperature)
    behind = np.cumsum(weights.astype(np.float64, copy=False))
    whole = behind[-1] if size == keep else _weights(scores, best, sampling.temperature).sum(dtype=np.float64)
    kept = int(np.count_nonzero((weights >= sampling.min_p) & (weights > 0)))
    if sampling.top_p < 1:
        # The smallest set of the likeliest that has top_p of the weight; its last member counts.
        kept = min(kept, int(np.searchsorted(behind, sampling.top_p * whole)) + 1)
    if kept < size or size == keep:
        return values, min(_index_at_weight(behind, random * behind[kept - 1]), kept - 1)
    if sampling.top_p == 1 and sampling.min_p == 0 and (place := _index_at_weight(behind, random * whole)) < size:
        return values, place
    return _draw(scores, best, sampling, random, size * SORT_GROWTH if behind[-1] * SORT_GROWTH > whole else keep)


def _highest(scores: Scores, count: int) -> Scores:
    """The highest scores, highest first."""
    columns = len(scores) // GROUP_SIZE
    if count * GROUP_SIZE <= columns:
        # So many groups have a score that is as high as the least of these tops, and none is as high in another.
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
