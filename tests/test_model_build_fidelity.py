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
    """Each letter is a token."""

    end_of_text = 0

    def encode_lines(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class OffsetSession:
    """The logits of float32 plus an offset. The caller must rewind it before each window."""

    def __init__(self, offset: NDArray[np.float32] | float) -> None:
        self._offset, self._length = offset, 0

    def rewind(self, length: int) -> None:
        self._length = length

    def forward_from(self, ids: Sequence[int], first: int) -> NDArray[np.float32]:
        assert (self._length, first) == (0, 0)
        self._length = len(ids)
        result: NDArray[np.float32] = logits(np.array([ids])) + np.float32(self._offset)
        return result


def logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    weights = tiny_weights()
    return numpy_gpt2.logits(weights, numpy_gpt2.hidden_states(weights, TINY, rows, numpy_gpt2.plain_linear(weights)))


def log_softmax(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    peak = wide.max(axis=1, keepdims=True)
    shifted: NDArray[np.float64] = wide - peak - np.log(np.exp(wide - peak).sum(axis=1, keepdims=True))
    return shifted


def test_each_number_matches_its_definition() -> None:
    offset = np.random.default_rng(5).normal(0, 1, TINY.vocab_size).astype(np.float32)
    offset[7] = -6  # the largest difference is negative
    progress: list[tuple[int, int]] = []
    session = OffsetSession(offset)
    result = fidelity.compare_to_float32(session, tiny_weights(), TINY, ROWS, lambda *done: progress.append(done))
    expected = log_softmax(logits(ROWS[:, :-1]))
    actual = log_softmax(logits(ROWS[:, :-1]) + offset)
    at, targets = np.arange(len(expected)), ROWS[:, 1:].reshape(-1)
    assert result.tokens == len(expected) == 63
    assert result.logits == pytest.approx(6, rel=1e-5)
    assert result.kl == pytest.approx((np.exp(expected) * (expected - actual)).sum() / 63, rel=1e-4)
    assert result.agree == pytest.approx((expected.argmax(axis=1) == actual.argmax(axis=1)).mean())
    assert 0 < result.agree < 1
    assert result.perplexity == pytest.approx(math.exp(-actual[at, targets].mean()), rel=1e-4)
    assert result.ratio == pytest.approx(math.exp((expected - actual)[at, targets].mean()), rel=1e-4)
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_a_shift_of_all_logits_changes_only_the_logits() -> None:
    shift = np.resize(np.float32([-300, 0]), (21, 1))  # a different shift for each token
    result = fidelity.compare_to_float32(OffsetSession(shift), tiny_weights(), TINY, ROWS)
    assert result.logits == pytest.approx(300, rel=1e-5)
    assert (result.kl, result.ratio) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))
    assert result.agree == 1


def test_nan_logits_give_nan() -> None:
    result = fidelity.compare_to_float32(OffsetSession(float("nan")), tiny_weights(), TINY, ROWS)
    assert math.isnan(result.kl)
    assert math.isnan(result.ratio)


def test_windows_are_spread_over_the_whole_text() -> None:
    rows = fidelity.cut_windows(FakeEncoder(), ["a" * 30, "b" * 29], 11, 33)
    assert rows.shape == (3, 11)
    assert (rows[:, 0] == 0).all()
    assert rows[0].tolist() == [0, 0, *map(ord, "a" * 9)]
    assert rows[1].tolist() == [0, *map(ord, "a" * 6), 0, *map(ord, "b" * 3)]
    assert rows[2].tolist() == [0, *map(ord, "b" * 10)]
    assert fidelity.cut_windows(FakeEncoder(), ["a" * 30], 11, 3).shape == (1, 11)
