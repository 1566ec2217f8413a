"""Quantises all matrices of a model, each for the inputs that a calibration text gives it.

The text passes through the model once, layer by layer. Each layer gets the outputs of the quantised layers before it,
so it compensates their errors. The module knows no files and no engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.build import numpy_gpt2
from model.build.gpt2_weights import LM_HEAD, TOKEN_EMBEDDING, Weights, linear_names
from model.build.numpy_gpt2 import Windows
from model.build.quantise import gptq, smoothquant
from model.build.quantise.quantise import MIN_SCALE, Floats, QuantisedMatrix, largest_block, quantise
from model.errors import ModelError
from model.interface import GPT2Config

CACHE_MARGIN = np.float32(1.1)  # another text may have keys and values a little larger than the calibration text
ROWS_AT_ONCE = 4096  # rows of inputs that are multiplied at once in float32; the sums are float64

OnProgress = Callable[[int, int], None]  # gets (done, total)


@dataclass(frozen=True, slots=True)
class QuantConfig:
    """How to quantise the matrices. With `block` 0 each row of a matrix and each row of its inputs has one scale.

    The embedding is only looked up, so 8 bits suffice. No later layer compensates the errors of the head.
    """

    bits: int
    block: int
    asymmetric: bool = False
    head_bits: int = 8
    head_block: int = 32
    embedding_bits: int = 8
    embedding_block: int = 128
    smooth: float = 0.7  # alpha of SmoothQuant; 0: no smoothing
    feed: bool = True  # GPTQ; without it each weight is rounded to the nearest, on a searched grid
    cache: bool = False  # an int8 KV cache, with one scale for each number of a head


@dataclass(frozen=True, slots=True)
class QuantisedModel:
    """The quantised matrices [out, in] by name, and the float weights beside them, smoothed or not.

    `cache_scales` has the scales [D] of an int8 KV cache; it is empty for a float cache.
    """

    weights: Weights
    quantised: dict[str, QuantisedMatrix]
    cache_scales: dict[str, Floats]


def quantise_model(
    weights: Weights, shape: GPT2Config, config: QuantConfig, windows: Windows, on_progress: OnProgress | None = None
) -> QuantisedModel:
    """Quantises a model with a calibration text, windows [B, S] of ids. `on_progress` gets (weights done, weights).

    Changes no array of `weights`. Raises ModelError for a width that no block size divides.
    """
    if not largest_block(shape.n_embd, min(config.head_block or config.embedding_block, config.embedding_block)):
        raise ModelError(f"a width of {shape.n_embd} cannot be cut into blocks; keep it --as float16", "damaged")
    quantiser = _ModelQuantiser(weights, shape, config, on_progress)
    quantiser.quantise_head(numpy_gpt2.hidden_states(weights, shape, windows, quantiser.apply_linear))
    equal = np.ones(shape.n_embd, np.float32)
    block = largest_block(shape.n_embd, config.embedding_block)
    table = quantise(weights[TOKEN_EMBEDDING], config.embedding_bits, block, importance=equal)
    cache_scales = {name: _int8_scales(abs_max) for name, abs_max in quantiser.cache_ranges.items()}
    return QuantisedModel(quantiser.weights, quantiser.quantised | {TOKEN_EMBEDDING: table}, cache_scales)


def quantise_to_nearest(weights: Weights, shape: GPT2Config, config: QuantConfig) -> dict[str, QuantisedMatrix]:
    """Rounds each weight to the nearest code, in the same layout: quickly, and without a text."""

    def to_nearest(matrix: Floats, bits: int, block: int) -> QuantisedMatrix:
        block = largest_block(matrix.shape[1], block) if block else matrix.shape[1]
        return quantise(np.ascontiguousarray(matrix), bits, block, asymmetric=config.asymmetric and bits < 8)

    table = weights[TOKEN_EMBEDDING]
    quantised = {name: to_nearest(weights[name].T, config.bits, config.block) for name in linear_names(shape)}
    quantised[LM_HEAD] = to_nearest(table, config.head_bits, config.head_block)
    return quantised | {TOKEN_EMBEDDING: to_nearest(table, config.embedding_bits, config.embedding_block)}


class _ModelQuantiser:
    """Quantises each matrix when the calibration text reaches it."""

    def __init__(
        self, weights: Weights, shape: GPT2Config, config: QuantConfig, on_progress: OnProgress | None
    ) -> None:
        self.weights, self.quantised = dict(weights), dict[str, QuantisedMatrix]()
        self.cache_ranges = dict[str, Floats]()  # the largest absolute value of each key and value
        self._original, self._config, self._on_progress = weights, config, on_progress
        self._done, self._total = 0, sum(weights[name].size for name in (*linear_names(shape), TOKEN_EMBEDDING))

    def apply_linear(self, name: str, rows: Floats) -> Floats:
        """Quantises a layer; returns rows [R, K] times the quantised matrix, plus the bias, without smoothing."""
        weight, bias = f"{name}.weight", f"{name}.bias"
        factors = self._quantise(weight, self._original[weight].T, rows, self._config.bits, self._config.block)
        matrix = self.quantised[weight].dequantise()
        matrix /= factors
        products = rows @ matrix.T
        products += self._original[bias]
        if self._config.cache and name.endswith("c_attn"):
            self.cache_ranges |= _cache_ranges(name, products)
        return products

    def quantise_head(self, rows: Floats) -> None:
        matrix = self._original.get(LM_HEAD, self._original[TOKEN_EMBEDDING])
        self._quantise(LM_HEAD, matrix, rows, self._config.head_bits, self._config.head_block)

    def _quantise(self, name: str, matrix: Floats, rows: Floats, bits: int, block: int) -> Floats:
        """Smooths and quantises a matrix [N, K]; returns the factors [K] that divide its inputs."""
        moments = _second_moments(rows)
        factors = self._smooth_inputs(name, matrix, rows)
        moments /= factors
        moments /= factors[:, None]
        self.quantised[name] = _quantise_matrix(matrix * factors, moments, self._config, bits, block)
        self._done += matrix.size
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
        return factors

    def _smooth_inputs(self, name: str, matrix: Floats, rows: Floats) -> Floats:
        """Scales the inputs of a matrix by changing the layer before it; returns the factors [K] that divide them."""
        if not self._config.smooth or name.endswith("mlp.c_proj.weight"):
            return np.ones(matrix.shape[1], np.float32)
        factors = smoothquant.smoothing_factors(smoothquant.abs_max(rows), matrix, self._config.smooth)
        if (norm := smoothquant.norm_before(name)) is not None:
            self.weights |= smoothquant.divide_norm(self.weights, norm, factors)
        else:
            weight = name.replace("c_proj", "c_attn")
            bias = weight.replace(".weight", ".bias")
            scaled = smoothquant.scale_values(self.quantised[weight], self.weights[bias], factors)
            self.quantised[weight], self.weights[bias] = scaled
            if (values := name.replace("c_proj.weight", "value")) in self.cache_ranges:
                self.cache_ranges[values] = self.cache_ranges[values] / factors
        return factors


def _quantise_matrix(
    matrix: Floats, moments: gptq.Moments, config: QuantConfig, bits: int, block: int
) -> QuantisedMatrix:
    """Quantises a matrix [N, K] for inputs with these second moments. Overwrites `moments`."""
    width = matrix.shape[1]
    block = largest_block(width, block) if block else width
    asymmetric = config.asymmetric and bits < 8
    if config.feed:
        return gptq.gptq_quantise(matrix, moments, bits, block, asymmetric=asymmetric)
    importance = np.diag(moments) / max(float(np.diag(moments).mean()), 1e-30)
    return quantise(matrix, bits, block, asymmetric=asymmetric, importance=importance.astype(np.float32))


def measure_cache_scales(weights: Weights, shape: GPT2Config, windows: Windows) -> dict[str, Floats]:
    """The `cache_scales` of a QuantisedModel, for weights that are float or rounded to the nearest code."""
    plain, ranges = numpy_gpt2.plain_linear(weights), dict[str, Floats]()

    def apply_linear(name: str, rows: Floats) -> Floats:
        products = plain(name, rows)
        if name.endswith("c_attn"):
            ranges.update(_cache_ranges(name, products))
        return products

    numpy_gpt2.hidden_states(weights, shape, windows, apply_linear)
    return {name: _int8_scales(abs_max) for name, abs_max in ranges.items()}


def _cache_ranges(name: str, products: Floats) -> dict[str, Floats]:
    """The largest absolute value of each key and value, from the outputs of attn.c_attn."""
    _, keys, values = np.split(products, 3, axis=1)
    layer = name.removesuffix(".c_attn")
    return {f"{layer}.key": smoothquant.abs_max(keys), f"{layer}.value": smoothquant.abs_max(values)}


def _int8_scales(abs_max: Floats) -> Floats:
    scales: Floats = np.maximum(abs_max * (CACHE_MARGIN / np.float32(127)), MIN_SCALE)
    return scales


def _second_moments(rows: Floats) -> gptq.Moments:
    """X^T X, [K, K]."""
    width = rows.shape[1]
    moments, product = np.zeros((width, width), np.float64), np.empty((width, width), np.float32)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        np.matmul(part.T, part, out=product)
        moments += product
    return moments
