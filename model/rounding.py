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

ROWS = 4096  # inputs multiplied at once in float32; their sums are float64's

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
    """Round a model by a text, windows [B, S] of ids; `progress` hears (weights done, weights in all).

    No array of `weights` is changed. Raises ExportRefused for a width that no block divides.
    """
    if not block_for(shape.n_embd, min(how.head_block, how.embedding_block)):
        raise ExportRefused(f"a width of {shape.n_embd} cannot be cut into blocks; keep it --as float16")
    work = _Work(weights, shape, how, progress)
    work.head(reference.hidden(weights, shape, windows, work.linear))
    even = np.ones(shape.n_embd, np.float32)
    block = block_for(shape.n_embd, how.embedding_block)
    table = quantise(weights[EMBEDDING], how.embedding_bits, block, importance=even)
    return Rounded(work.weights, work.packed | {EMBEDDING: table})


def nearest(weights: Weights, shape: Shape, how: Rounding) -> dict[str, Quantised]:
    """The same layout with each weight rounded to the nearest: quick, and by no text."""

    def near(matrix: Floats, bits: int, block: int) -> Quantised:
        block = block_for(matrix.shape[1], block) if block else matrix.shape[1]
        return quantise(matrix, bits, block, asymmetric=how.asymmetric and bits < 8)

    packed = {name: near(np.ascontiguousarray(weights[name].T), how.bits, how.block) for name in linears(shape)}
    packed[HEAD] = near(weights[EMBEDDING], how.head_bits, how.head_block)
    return packed | {EMBEDDING: near(weights[EMBEDDING], how.embedding_bits, how.embedding_block)}


class _Work:
    """The rounding of a model as the text comes to its matrices, in the order of their work."""

    def __init__(self, weights: Weights, shape: Shape, how: Rounding, progress: Progress | None) -> None:
        self.weights, self.packed = dict(weights), dict[str, Quantised]()
        self._true, self._how, self._progress = weights, how, progress
        self._done, self._whole = 0, sum(weights[name].size for name in (*linears(shape), EMBEDDING))

    def linear(self, name: str, rows: Floats) -> Floats:
        """The products of the rows with the rounded matrix, and the bias: as loud as they were before smoothing."""
        weight, bias = f"{name}.weight", f"{name}.bias"
        by = self._round(weight, self._true[weight].T, rows, self._how.bits, self._how.block)
        near = self.packed[weight].dequantised()
        near /= by
        products = rows @ near.T
        products += self._true[bias]
        return products

    def head(self, rows: Floats) -> None:
        matrix = self._true.get(HEAD, self._true[EMBEDDING])
        self._round(HEAD, matrix, rows, self._how.head_bits, self._how.head_block)

    def _round(self, name: str, matrix: Floats, rows: Floats, bits: int, block: int) -> Floats:
        """Round a matrix [N, K] as it is after smoothing; gives what that divides its inputs by."""
        moments = _moments(rows)
        by = self._smoothing(name, matrix, rows)
        moments /= by
        moments /= by[:, None]
        self.packed[name] = _matrix(matrix * by, moments, self._how, bits, block)
        self._done += matrix.size
        if self._progress is not None:
            self._progress(self._done, self._whole)
        return by

    def _smoothing(self, name: str, matrix: Floats, rows: Floats) -> Floats:
        """What each input of the matrix is divided by; what comes before it is made to do so."""
        if not self._how.smooth or name.endswith("mlp.c_proj.weight"):
            return np.ones(matrix.shape[1], np.float32)
        by = smoothing.factors(smoothing.loudness(rows), matrix, self._how.smooth)
        if (norm := smoothing.norm_of(name)) is not None:
            self.weights |= smoothing.divided(self.weights, norm, by)
        else:
            weight = name.replace("c_proj", "c_attn")
            bias = weight.replace(".weight", ".bias")
            quiet = smoothing.with_quiet_values(self.packed[weight], self.weights[bias], by)
            self.packed[weight], self.weights[bias] = quiet
        return by


def _matrix(matrix: Floats, moments: gptq.Moments, how: Rounding, bits: int, block: int) -> Quantised:
    """A matrix [N, K] rounded for inputs of these second moments, which are used up."""
    width = matrix.shape[1]
    block = block_for(width, block) if block else width
    asymmetric = how.asymmetric and bits < 8
    if how.feed:
        return gptq.feed_forward(matrix, moments, bits, block, asymmetric=asymmetric)
    importance = np.diag(moments) / max(float(np.diag(moments).mean()), 1e-30)
    return quantise(matrix, bits, block, asymmetric=asymmetric, importance=importance.astype(np.float32))


def _moments(rows: Floats) -> gptq.Moments:
    """X^T X, [K, K]."""
    width = rows.shape[1]
    moments, product = np.zeros((width, width), np.float64), np.empty((width, width), np.float32)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        np.matmul(part.T, part, out=product)
        moments += product
    return moments
