"""A model's matrices -> few bits, each rounded for the inputs that a text gives it.

The text goes through the model once, layer by layer; each layer sees what the rounded layers before it let through,
so that what they got wrong is made good as far as it can be. It knows no file and no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.build.quantise import gptq, smoothquant
from model.build import numpy_gpt2
from model.interface import GPT2Config
from model.errors import ExportRefused
from model.build.quantise.quantise import MIN_SCALE, Floats, QuantisedMatrix, largest_block, quantise
from model.build.gpt2_weights import LM_HEAD, TOKEN_EMBEDDING, Weights, linear_names

CACHE_MARGIN = np.float32(1.1)
ROWS_AT_ONCE = 4096  # inputs multiplied at once in float32; their sums are float64's

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class QuantConfig:
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
class QuantisedModel:
    """Every matrix of a model, [out, in], by name, and the weights that go with them: smoothed, if they are.

    `cache` has the scales [D] of the keys and values that are kept, if these are rounded.
    """

    weights: Weights
    quantised: dict[str, QuantisedMatrix]
    cache_scales: dict[str, Floats]


def quantise_model(
    weights: Weights,
    shape: GPT2Config,
    config: QuantConfig,
    windows: NDArray[np.int64],
    on_progress: OnProgress | None = None,
) -> QuantisedModel:
    """Round a model by a text, windows [B, S] of ids; `progress` hears (weights done, weights in all).

    No array of `weights` is changed. Raises ExportRefused for a width that no block divides.
    """
    if not largest_block(shape.n_embd, min(config.head_block or config.embedding_block, config.embedding_block)):
        raise ExportRefused(f"a width of {shape.n_embd} cannot be cut into blocks; keep it --as float16")
    work = _ModelQuantiser(weights, shape, config, on_progress)
    work.quantise_head(numpy_gpt2.hidden_states(weights, shape, windows, work.apply_linear))
    even = np.ones(shape.n_embd, np.float32)
    block = largest_block(shape.n_embd, config.embedding_block)
    table = quantise(weights[TOKEN_EMBEDDING], config.embedding_bits, block, importance=even)
    return QuantisedModel(
        work.weights,
        work.quantised | {TOKEN_EMBEDDING: table},
        {name: _int8_scales(most) for name, most in work.cache_ranges.items()},
    )


def quantise_to_nearest(weights: Weights, shape: GPT2Config, config: QuantConfig) -> dict[str, QuantisedMatrix]:
    """The same layout with each weight rounded to the nearest: quick, and by no text."""

    def near(matrix: Floats, bits: int, block: int) -> QuantisedMatrix:
        block = largest_block(matrix.shape[1], block) if block else matrix.shape[1]
        return quantise(matrix, bits, block, asymmetric=config.asymmetric and bits < 8)

    packed = {
        name: near(np.ascontiguousarray(weights[name].T), config.bits, config.block) for name in linear_names(shape)
    }
    packed[LM_HEAD] = near(weights[TOKEN_EMBEDDING], config.head_bits, config.head_block)
    return packed | {TOKEN_EMBEDDING: near(weights[TOKEN_EMBEDDING], config.embedding_bits, config.embedding_block)}


class _ModelQuantiser:
    """The rounding of a model as the text comes to its matrices, in the order of their work."""

    def __init__(
        self, weights: Weights, shape: GPT2Config, config: QuantConfig, on_progress: OnProgress | None
    ) -> None:
        self.weights, self.quantised = dict(weights), dict[str, QuantisedMatrix]()
        self.cache_ranges = dict[str, Floats]()  # how far from zero each key and each value goes
        self._original, self._config, self._on_progress = weights, config, on_progress
        self._done, self._total = 0, sum(weights[name].size for name in (*linear_names(shape), TOKEN_EMBEDDING))

    def apply_linear(self, name: str, rows: Floats) -> Floats:
        """The products of the rows with the rounded matrix, and the bias: as loud as they were before smoothing."""
        weight, bias = f"{name}.weight", f"{name}.bias"
        by = self._quantise(weight, self._original[weight].T, rows, self._config.bits, self._config.block)
        near = self.quantised[weight].dequantise()
        near /= by
        products = rows @ near.T
        products += self._original[bias]
        if self._config.cache and name.endswith("c_attn"):
            self.cache_ranges |= _cache_ranges(name, products)
        return products

    def quantise_head(self, rows: Floats) -> None:
        matrix = self._original.get(LM_HEAD, self._original[TOKEN_EMBEDDING])
        self._quantise(LM_HEAD, matrix, rows, self._config.head_bits, self._config.head_block)

    def _quantise(self, name: str, matrix: Floats, rows: Floats, bits: int, block: int) -> Floats:
        """Round a matrix [N, K] as it is after smoothing; gives what that divides its inputs by."""
        moments = _second_moments(rows)
        by = self._smooth_inputs(name, matrix, rows)
        moments /= by
        moments /= by[:, None]
        self.quantised[name] = _quantise_matrix(matrix * by, moments, self._config, bits, block)
        self._done += matrix.size
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
        return by

    def _smooth_inputs(self, name: str, matrix: Floats, rows: Floats) -> Floats:
        """What each input of the matrix is divided by; what comes before it is made to do so."""
        if not self._config.smooth or name.endswith("mlp.c_proj.weight"):
            return np.ones(matrix.shape[1], np.float32)
        by = smoothquant.smoothing_factors(smoothquant.abs_max(rows), matrix, self._config.smooth)
        if (norm := smoothquant.norm_before(name)) is not None:
            self.weights |= smoothquant.divide_norm(self.weights, norm, by)
        else:
            weight = name.replace("c_proj", "c_attn")
            bias = weight.replace(".weight", ".bias")
            quiet = smoothquant.scale_values(self.quantised[weight], self.weights[bias], by)
            self.quantised[weight], self.weights[bias] = quiet
            if (values := name.replace("c_proj.weight", "value")) in self.cache_ranges:
                self.cache_ranges[values] = self.cache_ranges[values] / by
        return by


def _quantise_matrix(
    matrix: Floats, moments: gptq.Moments, config: QuantConfig, bits: int, block: int
) -> QuantisedMatrix:
    """A matrix [N, K] rounded for inputs of these second moments, which are used up."""
    width = matrix.shape[1]
    block = largest_block(width, block) if block else width
    asymmetric = config.asymmetric and bits < 8
    if config.feed:
        return gptq.gptq_quantise(matrix, moments, bits, block, asymmetric=asymmetric)
    importance = np.diag(moments) / max(float(np.diag(moments).mean()), 1e-30)
    return quantise(matrix, bits, block, asymmetric=asymmetric, importance=importance.astype(np.float32))


def measure_cache_scales(weights: Weights, shape: GPT2Config, windows: NDArray[np.int64]) -> dict[str, Floats]:
    """`Rounded.cache` for weights that are not rounded, or to the nearest."""
    plain, kept = numpy_gpt2.plain_linear(weights), dict[str, Floats]()

    def linear(name: str, rows: Floats) -> Floats:
        products = plain(name, rows)
        if name.endswith("c_attn"):
            kept.update(_cache_ranges(name, products))
        return products

    numpy_gpt2.hidden_states(weights, shape, windows, linear)
    return {name: _int8_scales(most) for name, most in kept.items()}


def _cache_ranges(name: str, products: Floats) -> dict[str, Floats]:
    """How far from zero each key and each value goes of what attn.c_attn gives."""
    _, keys, values = np.split(products, 3, axis=1)
    at = name.removesuffix(".c_attn")
    return {f"{at}.key": smoothquant.abs_max(keys), f"{at}.value": smoothquant.abs_max(values)}


def _int8_scales(abs_max: Floats) -> Floats:
    """The scales of what has 8 bits, for what goes so far from zero; another text may go a little further."""
    steps: Floats = np.maximum(abs_max * (CACHE_MARGIN / np.float32(127)), MIN_SCALE)
    return steps


def _second_moments(rows: Floats) -> gptq.Moments:
    """X^T X, [K, K]."""
    width = rows.shape[1]
    moments, product = np.zeros((width, width), np.float64), np.empty((width, width), np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        np.matmul(part.T, part, out=product)
        moments += product
    return moments
