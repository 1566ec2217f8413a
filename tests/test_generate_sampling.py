from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.errors import ModelDamaged
from model.generate.sampling import SORTED_FIRST, choose_token, logprobs, uniform_random
from model.interface import Sampling

Floats = NDArray[np.float32]

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


def brute_force(
    logits: Floats, sampling: Sampling, position: int, recent: list[int], allowed: list[bool] | None = None
) -> int:
    """The definition of all filters, in plain Python numbers."""
    scores = {
        token: float(apply_penalty(value, sampling.repetition_penalty) if token in recent else value)
        for token, value in enumerate(logits)
        if allowed is None or allowed[token]
    }
    repeats = ngram_endings(recent, sampling.no_repeat_ngram)
    if scores.keys() - repeats:
        scores = {token: score for token, score in scores.items() if token not in repeats}
    order = sorted(scores, key=lambda token: (-scores[token], token))
    if sampling.temperature == 0:
        return order[0]
    order = order[: sampling.top_k or None]
    weights = [math.exp((scores[token] - scores[order[0]]) / sampling.temperature) for token in order]
    total, cumulative, kept = sum(weights), 0.0, 0
    for weight in weights:
        if kept and (cumulative >= sampling.top_p * total or weight < sampling.min_p):
            break
        cumulative, kept = cumulative + weight, kept + 1
    random, passed = uniform_random(sampling.seed, position) * sum(weights[:kept]), 0.0
    for token, weight in zip(order[:kept], weights, strict=False):
        passed += weight
        if random < passed:
            return token
    return order[kept - 1]


def apply_penalty(value: np.float32, penalty: float) -> np.float32:
    return value / np.float32(penalty) if value > 0 else value * np.float32(penalty)


def ngram_endings(recent: list[int], size: int) -> set[int]:
    """The tokens that would complete an n-gram of `size` tokens which is in `recent`."""
    if size == 0:
        return set()
    ngrams = {tuple(recent[start : start + size]) for start in range(len(recent) - size + 1)}
    return {ngram[-1] for ngram in ngrams if ngram[:-1] == tuple(recent[len(recent) - size + 1 :])}


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 40, 5000]),
    top_p=st.sampled_from([0.01, 0.3, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.7, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.1, 2.0, 0.5]),
    no_repeat_ngram=st.sampled_from([0, 0, 1, 2, 3, 50]),
    seed=st.integers(-(2**70), 2**70),
)


@settings(deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=60), samplings, st.integers(0, 2000), st.data())
def test_tokens_equal_those_of_brute_force(
    steps: list[int], sampling: Sampling, position: int, data: st.DataObject
) -> None:
    logits = np.array(steps, np.float32) / 4  # with many equal values
    recent = data.draw(st.lists(st.integers(0, min(len(steps), data.draw(st.sampled_from([3, 60]))) - 1), max_size=20))
    allowed = data.draw(st.none() | st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)).filter(any))
    forbidden = None if allowed is None else np.flatnonzero(~np.array(allowed))
    expected = brute_force(logits, sampling, position, recent, allowed)
    assert choose_token(logits, sampling, position, recent, forbidden) == expected


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(k, p, 0.0) for k in (0, 40, SORTED_FIRST, SORTED_FIRST + 1) for p in (0.5, 0.999, 1.0)]
    + [(0, p, 0.001) for p in (0.9, 1.0)],
)
@pytest.mark.parametrize("spread", [0.1, 2.0, 6.0])
def test_brute_force_agrees_at_gpt2s_vocabulary_size(top_k: int, top_p: float, min_p: float, spread: float) -> None:
    """A flat spread puts the sampled token beyond SORTED_FIRST, a steep one does not."""
    logits = (np.random.default_rng(3).standard_normal(50257) * spread).astype(np.float32)
    sampling = replace(PLAIN, top_k=top_k, top_p=top_p, min_p=min_p)
    assert choose_token(logits, sampling, 5) == brute_force(logits, sampling, 5, [])


@pytest.mark.parametrize("top_k", [0, 7, 500])
def test_brute_force_agrees_with_many_equal_logits(top_k: int) -> None:
    logits = np.random.default_rng(4).integers(0, 3, 3000).astype(np.float32)
    for position in range(20):
        sampling = replace(PLAIN, top_k=top_k, top_p=0.8)
        assert choose_token(logits, sampling, position) == brute_force(logits, sampling, position, [])


def test_token_frequencies_match_their_probabilities() -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.log(shares).astype(np.float32)
    counts = Counter(choose_token(logits, PLAIN, position) for position in range(20_000))
    for token, share in enumerate(shares):
        assert abs(counts[token] / 20_000 - share) < 4 * math.sqrt(share * (1 - share) / 20_000)


def test_temperature_0_is_deterministic() -> None:
    logits = np.array([1, 3, 3, 2], np.float32)
    assert {choose_token(logits, replace(PLAIN, temperature=0, seed=seed), 0) for seed in range(50)} == {1}


def test_top_k_keeps_k_tokens_also_with_equal_scores_at_the_border() -> None:
    logits = np.zeros(10, np.float32)
    assert {choose_token(logits, replace(PLAIN, top_k=3), position) for position in range(200)} == {0, 1, 2}


def test_top_p_keeps_the_token_that_crosses_the_limit() -> None:
    logits = np.log([0.6, 0.3, 0.1]).astype(np.float32)
    for top_p, tokens in ((0.5, {0}), (0.7, {0, 1}), (0.95, {0, 1, 2})):
        assert {choose_token(logits, replace(PLAIN, top_p=top_p), position) for position in range(300)} == tokens


def test_min_p_keeps_tokens_with_this_share_of_the_likeliest() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05]).astype(np.float32)
    for min_p, tokens in ((0.05, {0, 1, 2, 3}), (0.2, {0, 1, 2}), (0.5, {0, 1}), (1.0, {0})):
        assert {choose_token(logits, replace(PLAIN, min_p=min_p), position) for position in range(300)} == tokens


def test_no_ngram_repeats() -> None:
    logits = np.array([3.0, 2.0, 1.0], np.float32)
    greedy = replace(PLAIN, temperature=0, no_repeat_ngram=3)
    assert choose_token(logits, greedy, 0, [1, 2, 0, 1, 2]) == 1
    assert choose_token(logits, greedy, 0, [1, 2, 0, 2, 1]) == 0
    assert choose_token(logits, greedy, 0, [1, 2, 0, 1, 2, 1, 1, 2]) == 2
    assert choose_token(logits, greedy, 0, [1, 2]) == 0
    assert choose_token(logits, replace(greedy, no_repeat_ngram=1), 0, [0]) == 1


def test_repeats_are_allowed_if_every_token_would_repeat() -> None:
    logits = np.array([3.0, 2.0, 1.0], np.float32)
    once = replace(PLAIN, temperature=0, no_repeat_ngram=1)
    assert choose_token(logits, once, 0, [0, 1, 2]) == 0
    assert choose_token(logits, once, 0, [1, 2], np.array([0])) == 1


def test_the_repetition_penalty_applies_once_per_token() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    greedy = replace(PLAIN, temperature=0, repetition_penalty=1.3)
    assert choose_token(logits, greedy, 0, []) == 0
    assert choose_token(logits, greedy, 0, [2]) == 0
    assert choose_token(logits, greedy, 0, [0]) == 0  # 2 / 1.3 is more than 1.5
    assert choose_token(logits, replace(greedy, repetition_penalty=1.4), 0, [0]) == 1
    assert choose_token(logits, greedy, 0, [0] * 9) == choose_token(logits, greedy, 0, [0])


def test_the_logits_are_not_modified() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    choose_token(logits, Sampling(no_repeat_ngram=1, min_p=0.5), 0, [0, 1, 2], np.array([2]))
    logprobs(logits, 0)
    assert logits.tolist() == [2.0, 1.5, -1.0]


def test_random_numbers_depend_on_seed_and_position_alone() -> None:
    assert uniform_random(33, 0) == 0.40746331935557745
    assert uniform_random(33, 1) == 0.5995597989540197
    assert uniform_random(-1, 511) == 0.6402525167372665
    grid = {uniform_random(seed, position) for seed in range(-50, 50) for position in range(100)}
    assert len(grid) == 10_000
    assert all(0 <= number < 1 for number in grid)
    assert abs(sum(grid) / len(grid) - 0.5) < 0.01


@pytest.mark.parametrize("sampling", [PLAIN, replace(PLAIN, no_repeat_ngram=1, repetition_penalty=1.3)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(bad: float, sampling: Sampling) -> None:
    logits = np.array([1.0, bad, 0.0], np.float32)
    with pytest.raises(ModelDamaged, match="no numbers"):
        choose_token(logits, sampling, 0, [0, 2])
    with pytest.raises(ModelDamaged, match="no numbers"):
        logprobs(logits, 0)


@pytest.mark.parametrize("temperature", [0.5, 1e-6])
def test_logits_at_the_limits_of_float32_are_valid(temperature: float) -> None:
    least = float(np.finfo(np.float32).min)
    logits = np.array([least, 3.0, least], np.float32)
    assert choose_token(logits, replace(PLAIN, temperature=temperature, repetition_penalty=2.0), 0, [0]) == 1
    assert logprobs(logits, 1)[0] == 0


@pytest.mark.parametrize("temperature", [1e-7, 1e-310])
def test_a_tiny_temperature_counts_as_0(temperature: float) -> None:
    logits = np.array([-3e4, 3.0, 2.0], np.float32)
    assert choose_token(logits, replace(PLAIN, temperature=temperature), 0) == 1


def test_a_forbidden_token_is_never_sampled() -> None:
    logits = np.array([0.0, -np.inf, 0.0], np.float32)
    assert {choose_token(logits, replace(PLAIN, repetition_penalty=1.1), n, [0, 1]) for n in range(100)} == {0, 2}
    forbidden, logits = np.array([1]), np.array([0.0, 9.0, 0.0], np.float32)
    assert {choose_token(logits, PLAIN, n, forbidden=forbidden) for n in range(100)} == {0, 2}
    assert choose_token(logits, replace(PLAIN, temperature=0), 0, forbidden=forbidden) == 0


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=20), st.data())
def test_a_logprob_is_the_logarithm_of_the_probability_among_allowed_tokens(
    steps: list[int], data: st.DataObject
) -> None:
    logits = np.array(steps, np.float32) / 2
    allowed = data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)).filter(any))
    total = math.fsum(math.exp(value) for value, is_allowed in zip(logits, allowed, strict=True) if is_allowed)
    for token, value in enumerate(logits):
        expected = float(value) - math.log(total) if allowed[token] else -math.inf
        number, tops = logprobs(logits, token, len(steps), np.flatnonzero(~np.array(allowed)))
        assert number == pytest.approx(expected, abs=1e-5)
    likeliest = sorted((-float(logits[token]), token) for token in range(len(steps)) if allowed[token])
    assert [token for token, _ in tops] == [token for _, token in likeliest]
    assert [number for _, number in tops] == pytest.approx(
        [-value - math.log(total) for value, _ in likeliest], abs=1e-5
    )
    assert logprobs(logits, 0, 1, np.flatnonzero(~np.array(allowed)))[1] == tops[:1]


CASES = [
    Sampling(temperature=1.0, top_k=0, repetition_penalty=1.0),
    Sampling(temperature=0.7, top_k=40, repetition_penalty=1.1),
    Sampling(temperature=1.3, top_k=0, top_p=0.8, repetition_penalty=1.3),
    Sampling(temperature=0.9, top_k=0, min_p=0.05, no_repeat_ngram=2),
    Sampling(temperature=1.5, top_k=200, top_p=0.9, min_p=0.02, repetition_penalty=1.2, no_repeat_ngram=3),
    Sampling(temperature=0.5, top_k=0, top_p=0.95, min_p=0.1, repetition_penalty=0.8, no_repeat_ngram=1),
]


@pytest.mark.train
@pytest.mark.parametrize("sampling", CASES)
def test_kept_tokens_and_their_probabilities_equal_transformers(sampling: Sampling) -> None:
    random = np.random.default_rng(6)
    for position in range(60):
        logits = (3 * random.standard_normal(600)).astype(np.float32)
        recent = [int(token) for token in random.integers(0, 12 if position % 2 else 600, 40)]
        allowed = random.random(600) < 0.9
        shares = shares_of_transformers(logits, sampling, recent, allowed)
        order = np.argsort(-shares, kind="stable")
        place = np.searchsorted(np.cumsum(shares[order]), uniform_random(sampling.seed, position), side="right")
        assert choose_token(logits, sampling, position, recent, np.flatnonzero(~allowed)) == order[place]


@pytest.mark.train
@pytest.mark.parametrize("penalty", [0.7, 1.1, 2.0])
def test_the_likeliest_token_equals_transformers(penalty: float) -> None:
    random = np.random.default_rng(7)
    sampling = Sampling(temperature=0, top_k=0, repetition_penalty=penalty, no_repeat_ngram=2)
    for position in range(60):
        logits = random.integers(-9, 9, 50).astype(np.float32)
        recent = [int(token) for token in random.integers(0, 8, 40)]
        shares = shares_of_transformers(logits, sampling, recent, np.ones(50, np.bool_))
        assert choose_token(logits, sampling, position, recent) == shares.argmax()


def shares_of_transformers(
    logits: Floats, sampling: Sampling, recent: list[int], allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Probabilities after the processors of `generate`, in its order (transformers 5, `_get_logits_processor`)."""
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers.generation.logits_process")
    steps = [processors.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    if sampling.no_repeat_ngram:
        steps.append(processors.NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram))
    if sampling.temperature:
        steps.append(processors.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(processors.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(processors.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(processors.MinPLogitsWarper(sampling.min_p))
    scores = torch.from_numpy(np.where(allowed, logits, np.float32(-np.inf)))[None]
    for step in steps:
        scores = step(torch.tensor([recent]), scores)
    shares: NDArray[np.float64] = scores[0].double().softmax(0).numpy()
    return shares
