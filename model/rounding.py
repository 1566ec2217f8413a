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
from model.quantise import LEAST, Floats, Quantised, block_for, quantise
from model.weights import EMBEDDING, HEAD, Weights, linears

MARGIN = np.float32(1.1)
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
    cache: bool = False  # whether the keys and values that are kept have 8 bits too, a scale for each number of a head


@dataclass(frozen=True, slots=True)
class Rounded:
    """Every matrix of a model, [out, in], by name, and the weights that go with them: smoothed, if they are.

    `cache` has the scales [D] of the keys and values that are kept, if these are rounded.
    """

    weights: Weights
    packed: dict[str, Quantised]
    cache: dict[str, Floats]


def rounded(
    weights: Weights, shape: Shape, how: Rounding, windows: NDArray[np.int64], progress: Progress | None = None
) -> Rounded:
    """Round a model by a text, windows [B, S] of ids; `progress` hears (weights done, weights in all).

    No array of `weights` is changed. Raises ExportRefused for a width that no block divides.
    """
    if not block_for(shape.n_embd, min(how.head_block or how.embedding_block, how.embedding_block)):
        raise ExportRefused(f"a width of {shape.n_embd} cannot be cut into blocks; keep it --as float16")
    work = _Work(weights, shape, how, progress)
    work.head(reference.hidden(weights, shape, windows, work.linear))
    even = np.ones(shape.n_embd, np.float32)
    block = block_for(shape.n_embd, how.embedding_block)
    table = quantise(weights[EMBEDDING], how.embedding_bits, block, importance=even)
    return Rounded(
        work.weights, work.packed | {EMBEDDING: table}, {name: _steps(most) for name, most in work.kept.items()}
    )


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
        self.kept = dict[str, Floats]()  # how far from zero each key and each value goes
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
        if self._how.cache and name.endswith("c_attn"):
            self.kept |= _kept(name, products)
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
            if (values := name.replace("c_proj.weight", "value")) in self.kept:
                self.kept[values] = self.kept[values] / by
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


def cache_scales(weights: Weights, shape: Shape, windows: NDArray[np.int64]) -> dict[str, Floats]:
    """`Rounded.cache` for weights that are not rounded, or to the nearest."""
    plain, kept = reference.plain(weights), dict[str, Floats]()

    def linear(name: str, rows: Floats) -> Floats:
        products = plain(name, rows)
        if name.endswith("c_attn"):
            kept.update(_kept(name, products))
        return products

    reference.hidden(weights, shape, windows, linear)
    return {name: _steps(most) for name, most in kept.items()}


def _kept(name: str, products: Floats) -> dict[str, Floats]:
    """How far from zero each key and each value goes of what attn.c_attn gives."""
    _, keys, values = np.split(products, 3, axis=1)
    at = name.removesuffix(".c_attn")
    return {f"{at}.key": smoothing.loudness(keys), f"{at}.value": smoothing.loudness(values)}


def _steps(most: Floats) -> Floats:
    """The scales of what has 8 bits, for what goes so far from zero; another text may go a little further."""
    steps: Floats = np.maximum(most * (MARGIN / np.float32(127)), LEAST)
    return steps


def _moments(rows: Floats) -> gptq.Moments:
    """X^T X, [K, K]."""
    width = rows.shape[1]
    moments, product = np.zeros((width, width), np.float64), np.empty((width, width), np.float32)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        np.matmul(part.T, part, out=product)
        moments += product
    return moments
