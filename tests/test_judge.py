from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from fakes_model import TINY, tiny_weights
from numpy.typing import NDArray

from model.build import fidelity, numpy_gpt2

ROWS = np.random.default_rng(4).integers(0, TINY.vocab_size, (3, 22))


class FakeEncoder:
    """A token a letter."""

    end_of_text = 0

    def encode_lines(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class OffsetSession:
    """Float32's own logits, and what is added to them; it wants to be taken back before each window."""

    def __init__(self, off: NDArray[np.float32] | float) -> None:
        self._off, self._length = off, 0

    def rewind(self, length: int) -> None:
        self._length = length

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]:
        assert (self._length, first) == (0, 0)
        self._length = len(ids)
        found: NDArray[np.float32] = logits(np.array([ids])) + np.float32(self._off)
        return found


def logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    weights = tiny_weights()
    return numpy_gpt2.logits(weights, numpy_gpt2.hidden_states(weights, TINY, rows, numpy_gpt2.plain_linear(weights)))


def logs(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    peak = wide.max(axis=1, keepdims=True)
    below: NDArray[np.float64] = wide - peak - np.log(np.exp(wide - peak).sum(axis=1, keepdims=True))
    return below


def test_the_figures_are_those_of_their_definitions() -> None:
    off = np.random.default_rng(5).normal(0, 1, TINY.vocab_size).astype(np.float32)
    off[7] = -6  # the furthest is below
    heard: list[tuple[int, int]] = []
    found = fidelity.compare_to_float32(
        OffsetSession(off), tiny_weights(), TINY, ROWS, lambda done, whole: heard.append((done, whole))
    )
    true = logs(logits(ROWS[:, :-1]))
    ours = logs(logits(ROWS[:, :-1]) + off)
    at, targets = np.arange(len(true)), ROWS[:, 1:].reshape(-1)
    assert found.tokens == len(true) == 63
    assert found.logits == pytest.approx(6, rel=1e-5)
    assert found.kl == pytest.approx((np.exp(true) * (true - ours)).sum() / 63, rel=1e-4)
    assert found.agree == pytest.approx((true.argmax(axis=1) == ours.argmax(axis=1)).mean())
    assert 0 < found.agree < 1
    assert found.perplexity == pytest.approx(math.exp(-ours[at, targets].mean()), rel=1e-4)
    assert found.ratio == pytest.approx(math.exp((true - ours)[at, targets].mean()), rel=1e-4)
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_a_shift_of_all_logits_is_no_difference_but_of_the_logits() -> None:
    shift = np.resize(np.float32([-300, 0]), (21, 1))  # of each token its own
    found = fidelity.compare_to_float32(OffsetSession(shift), tiny_weights(), TINY, ROWS)
    assert found.logits == pytest.approx(300, rel=1e-5)
    assert (found.kl, found.ratio) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))
    assert found.agree == 1


def test_no_chance_at_all_passes_for_nothing() -> None:
    found = fidelity.compare_to_float32(OffsetSession(float("nan")), tiny_weights(), TINY, ROWS)
    assert math.isnan(found.kl)
    assert math.isnan(found.ratio)


def test_windows_are_spread_over_the_whole_text_and_each_document_ends_one() -> None:
    rows = fidelity.cut_windows(FakeEncoder(), ["a" * 30, "b" * 29], 11, 33)
    assert rows.shape == (3, 11)
    assert (rows[:, 0] == 0).all()
    assert rows[0].tolist() == [0, 0, *map(ord, "a" * 9)]
    assert rows[1].tolist() == [0, *map(ord, "a" * 6), 0, *map(ord, "b" * 3)]
    assert rows[2].tolist() == [0, *map(ord, "b" * 10)]
    assert fidelity.cut_windows(FakeEncoder(), ["a" * 30], 11, 3).shape == (1, 11)
