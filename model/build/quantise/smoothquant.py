"""SmoothQuant: scales down a layer's large inputs and scales up its matrix, without changing the product.

A block of inputs shares one scale, so one large channel costs all others their low bits. The division takes no time in
the norm before the layer, or in the columns of c_attn that make the attention values (after Xiao et al., "SmoothQuant",
2022). The inputs of mlp.c_proj stay as they are, because GELU comes before them. The module knows no text: the
largest inputs are an argument.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.build.gpt2_weights import LM_HEAD, Weights
from model.build.quantise.quantise import Floats, QuantisedMatrix

MIN_ABS_MAX = np.float32(1e-6)
NORM_BEFORE = {"attn.c_attn": "ln_1", "mlp.c_fc": "ln_2"}  # layer of a block -> the norm that makes its inputs


def norm_before(name: str) -> str | None:
    """The norm whose outputs only this matrix multiplies, or None."""
    if name == LM_HEAD:
        return "ln_f"
    _, layer, kind = name.removesuffix(".weight").split(".", 2)
    return f"h.{layer}.{NORM_BEFORE[kind]}" if kind in NORM_BEFORE else None


def abs_max(rows: Floats) -> Floats:
    """The largest absolute value of each column of [R, K]."""
    largest: Floats = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    return largest


def smoothing_factors(input_max: Floats, matrix: Floats, alpha: float) -> Floats:
    """The factors [K] that divide the inputs and multiply the columns of the matrix [N, K].

    `alpha` is the share of the inputs' range that moves to the matrix. With 1 the matrix gets the outliers instead.
    """
    input_max, matrix_max = np.maximum(input_max, MIN_ABS_MAX), np.maximum(abs_max(matrix), MIN_ABS_MAX)
    return np.asarray(input_max ** np.float32(alpha) / matrix_max ** np.float32(1 - alpha), np.float32)


def divide_norm(weights: Weights, norm: str, factors: Floats) -> dict[str, Floats]:
    """The weights of a norm whose outputs are divided by the factors."""
    return {f"{norm}.{part}": weights[f"{norm}.{part}"] / factors for part in ("weight", "bias")}


def scale_values(matrix: QuantisedMatrix, bias: Floats, factors: Floats) -> tuple[QuantisedMatrix, Floats]:
    """Divides the attention values that a quantised attn.c_attn makes; the codes stay the same.

    Its last third makes the values, and attention only averages them.
    """
    values = np.ones(len(bias), np.float32)
    values[-len(factors) :] = factors
    return replace(matrix, scales=matrix.scales / values[:, None]), bias / values
