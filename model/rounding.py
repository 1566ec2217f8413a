"""A model's matrices -> few bits, each rounded for the inputs that a text gives it.

The text goes through the model once, layer by layer; each layer sees what the rounded layers before it let through,
so that what they got wrong is made good as far as it can be. It knows no file and no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model import gptq, reference, smoothing
from model.base import Shape
from model.errors import ExportRefused
from model.quantise import Floats, Quantised, block_for, quantise
from model.weights import EMBEDDING, HEAD, Weights, linears

ROWS = 2048  # inputs multiplied at once in float32; their sums are float64's

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rounding:
    """How the matrices are to be rounded; `block` 0 is a whole row, with one scale for each row of inputs too.

    The embedding is a table, never a factor: 8 bits do it no harm. What the head gets wrong nothing makes good.
    """

    bits: int
    block: int
    asymmetric: bool = False
    head_bits: int = 8
    head_block: int = 32
    embedding_bits: int = 8
    embedding_block: int = 128
    smooth: float = 0.7  # the share of smoothing; 0 is none
    feed: bool = True  # errors forward, as gptq does; else to the nearest, on grids that are searched


@dataclass(frozen=True, slots=True)
class Rounded:
    """Every matrix of a model, [out, in], by name, and the weights that go with them: smoothed, if they are."""

    weights: Weights
    packed: dict[str, Quantised]


def rounded(
    weights: Weights, shape: Shape, how: Rounding, windows: NDArray[np.int64], progress: Progress | None = None
) -> Rounded:
    """Round a model by a text, windows [B, S] of ids. Raises ExportRefused for a width that no block divides."""
    if not block_for(shape.n_embd, min(how.head_block, how.embedding_block)):
        raise ExportRefused(f"a width of {shape.n_embd} cannot be cut into blocks; keep it --as float16")
    if how.smooth:
        weights = smoothing.smoothed(weights, shape, windows, how.smooth, _part(progress, 0, 2))
    packed: dict[str, Quantised] = {}
    passes = 2 if how.smooth else 1

    def linear(name: str, rows: Floats) -> Floats:
        matrix = np.ascontiguousarray(weights[f"{name}.weight"].T)
        packed[f"{name}.weight"] = near = _matrix(matrix, rows, how, how.bits, how.block)
        products: Floats = rows @ near.dequantised().T + weights[f"{name}.bias"]
        return products

    seen = reference.hidden(weights, shape, windows, linear, _part(progress, passes - 1, passes))
    packed[HEAD] = _matrix(weights.get(HEAD, weights[EMBEDDING]), seen, how, how.head_bits, how.head_block)
    even = np.ones(shape.n_embd, np.float32)
    block = block_for(shape.n_embd, how.embedding_block)
    packed[EMBEDDING] = quantise(weights[EMBEDDING], how.embedding_bits, block, importance=even)
    return Rounded(weights, packed)


def nearest(weights: Weights, shape: Shape, how: Rounding) -> dict[str, Quantised]:
    """The same layout with each weight rounded to the nearest: quick, and by no text."""

    def near(matrix: Floats, bits: int, block: int) -> Quantised:
        block = block_for(matrix.shape[1], block) if block else matrix.shape[1]
        return quantise(matrix, bits, block, asymmetric=how.asymmetric and bits < 8)

    packed = {name: near(np.ascontiguousarray(weights[name].T), how.bits, how.block) for name in linears(shape)}
    packed[HEAD] = near(weights[EMBEDDING], how.head_bits, how.head_block)
    return packed | {EMBEDDING: near(weights[EMBEDDING], how.embedding_bits, how.embedding_block)}


def _matrix(matrix: Floats, rows: Floats, how: Rounding, bits: int, block: int) -> Quantised:
    width = matrix.shape[1]
    block = block_for(width, block) if block else width
    asymmetric = how.asymmetric and bits < 8
    moments = _moments(rows)
    if how.feed:
        return gptq.feed_forward(matrix, moments, bits, block, asymmetric=asymmetric)
    importance = np.diag(moments) / max(float(np.diag(moments).mean()), 1e-30)
    return quantise(matrix, bits, block, asymmetric=asymmetric, importance=importance.astype(np.float32))


def _part(progress: Progress | None, passed: int, passes: int) -> Progress | None:
    """Progress of one of the passes through the model, `passed` of them done before."""
    return None if progress is None else lambda done, whole: progress(passed * whole + done, passes * whole)


def _moments(rows: Floats) -> gptq.Moments:
    """X^T X, [K, K]."""
    moments = np.zeros((rows.shape[1], rows.shape[1]), np.float64)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        moments += part.T @ part
    return moments
