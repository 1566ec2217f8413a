from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.base import Sampling
from model.errors import ModelDamaged
from model.sampling import HEAD, choose, uniform

Floats = NDArray[np.float32]

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


def brute_force(logits: Floats, sampling: Sampling, position: int, recent: list[int]) -> int:
    """The definition, word for word, on Python's own numbers."""
    scores = [float(value) for value in logits]
    for token in set(recent):
        factor = sampling.repetition_penalty
        scores[token] = scores[token] / factor if scores[token] > 0 else scores[token] * factor
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    if sampling.temperature == 0:
        return order[0]
    order = order[: sampling.top_k or None]
    weights = [math.exp((scores[token] - scores[order[0]]) / sampling.temperature) for token in order]
    whole, behind, kept = sum(weights), 0.0, 0
    for weight in weights:
        if kept and behind >= sampling.top_p * whole:
            break
        behind, kept = behind + weight, kept + 1
    random, passed = uniform(sampling.seed, position) * sum(weights[:kept]), 0.0
    for token, weight in zip(order[:kept], weights, strict=False):
        passed += weight
        if random < passed:
            return token
    return order[kept - 1]


samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 40, 5000]),
    top_p=st.sampled_from([0.01, 0.3, 0.5, 0.9, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.1, 2.0]),
    seed=st.integers(-(2**70), 2**70),
)


@settings(deadline=None)
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    samplings,
    st.integers(0, 2000),
    st.data(),
)
def test_it_chooses_as_brute_force_does(
    steps: list[int], sampling: Sampling, position: int, data: st.DataObject
) -> None:
    logits = np.array(steps, np.float32) / 4  # many are equal
    recent = data.draw(st.lists(st.integers(0, len(steps) - 1), max_size=10))
    assert choose(logits, sampling, position, recent) == brute_force(logits, sampling, position, recent)


@pytest.mark.parametrize("top_k", [0, 1, 40, HEAD, HEAD + 1, 3000])
@pytest.mark.parametrize("top_p", [0.5, 0.999, 1.0])
@pytest.mark.parametrize("spread", [0.1, 6.0])
def test_a_vocabulary_of_gpt2s_size_goes_the_same_way(top_k: int, top_p: float, spread: float) -> None:
    """With a flat spread the drawn token lies past the first HEAD; with a steep one it does not."""
    logits = (np.random.default_rng(3).standard_normal(50257) * spread).astype(np.float32)
    for position in range(3):
        sampling = replace(PLAIN, top_k=top_k, top_p=top_p, seed=position)
        assert choose(logits, sampling, position) == brute_force(logits, sampling, position, [])


@pytest.mark.parametrize("top_k", [0, 7, 500])
def test_a_great_many_equal_logits_go_the_same_way(top_k: int) -> None:
    logits = np.random.default_rng(4).integers(0, 3, 3000).astype(np.float32)
    for position in range(20):
        sampling = replace(PLAIN, top_k=top_k, top_p=0.8)
        assert choose(logits, sampling, position) == brute_force(logits, sampling, position, [])


def test_tokens_come_as_often_as_their_probability_says() -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.log(shares).astype(np.float32)
    counted = Counter(choose(logits, PLAIN, position) for position in range(20_000))
    for token, share in enumerate(shares):
        assert abs(counted[token] / 20_000 - share) < 4 * math.sqrt(share * (1 - share) / 20_000)


def test_no_chance_at_temperature_0() -> None:
    logits = np.array([1, 3, 3, 2], np.float32)
    assert {choose(logits, replace(PLAIN, temperature=0, seed=seed), 0) for seed in range(50)} == {1}


def test_top_k_leaves_k_tokens_even_where_the_border_is_equal() -> None:
    logits = np.zeros(10, np.float32)
    assert {choose(logits, replace(PLAIN, top_k=3), position) for position in range(200)} == {0, 1, 2}


def test_top_p_keeps_the_token_that_crosses_it() -> None:
    logits = np.log([0.6, 0.3, 0.1]).astype(np.float32)
    drawn = {
        p: {choose(logits, replace(PLAIN, top_p=p), position) for position in range(300)} for p in (0.5, 0.7, 0.95)
    }
    assert drawn == {0.5: {0}, 0.7: {0, 1}, 0.95: {0, 1, 2}}


def test_what_was_said_is_less_likely_once_however_often_it_was_said() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    greedy = replace(PLAIN, temperature=0, repetition_penalty=1.3)
    assert choose(logits, greedy, 0, []) == 0
    assert choose(logits, greedy, 0, [2]) == 0
    assert choose(logits, greedy, 0, [0]) == 0  # 2 / 1.3 is still more than 1.5
    assert choose(logits, replace(greedy, repetition_penalty=1.4), 0, [0]) == 1
    assert choose(logits, greedy, 0, [0] * 9) == choose(logits, greedy, 0, [0])


def test_the_logits_are_left_as_they_were() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    choose(logits, Sampling(), 0, [0, 1, 2])
    assert logits.tolist() == [2.0, 1.5, -1.0]


def test_random_numbers_are_a_function_of_seed_and_position_for_ever() -> None:
    assert uniform(33, 0) == 0.40746331935557745
    assert uniform(33, 1) == 0.5995597989540197
    assert uniform(-1, 511) == 0.6402525167372665
    grid = {uniform(seed, position) for seed in range(-50, 50) for position in range(100)}
    assert len(grid) == 10_000
    assert all(0 <= number < 1 for number in grid)
    assert abs(sum(grid) / len(grid) - 0.5) < 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(bad: float) -> None:
    logits = np.array([1.0, bad, 0.0], np.float32)
    with pytest.raises(ModelDamaged, match="no numbers"):
        choose(logits, PLAIN, 0)


@pytest.mark.parametrize("temperature", [1e-7, 1e-310])
def test_a_temperature_next_to_nothing_is_none(temperature: float) -> None:
    logits = np.array([-3e4, 3.0, 2.0], np.float32)
    assert choose(logits, replace(PLAIN, temperature=temperature), 0) == 1


def test_a_masked_token_is_never_drawn() -> None:
    logits = np.array([0.0, -np.inf, 0.0], np.float32)
    assert {choose(logits, replace(PLAIN, repetition_penalty=1.1), n, [0, 1]) for n in range(100)} == {0, 2}
