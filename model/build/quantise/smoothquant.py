"""The same function with quieter inputs: what makes one input of a layer loud is put into the layer's matrix instead.

A block of inputs is rounded on the scale of its loudest, so that one loud channel costs all the others their last bits.
Each channel is divided where it comes for nothing, in the norm before the layer or in the columns that make the values
of attention, and its row of the matrix is multiplied (after Xiao et al., "SmoothQuant", 2022). What comes out of
mlp.c_fc is bent before it goes on, and stays as it is. It knows no text: how loud the inputs are comes as an argument.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.build.quantise.quantise import Floats, QuantisedMatrix
from model.build.gpt2_weights import LM_HEAD, Weights

MIN_ABS_MAX = np.float32(1e-6)
NORM_BEFORE = {"attn.c_attn": "ln_1", "mlp.c_fc": "ln_2"}  # of a block: the norm that makes the inputs of a layer


def norm_before(name: str) -> str | None:
    """The norm whose outputs a matrix multiplies, and nothing else does; None where there is none."""
    if name == LM_HEAD:
        return "ln_f"
    _, layer, kind = name.removesuffix(".weight").split(".", 2)
    return f"h.{layer}.{NORM_BEFORE[kind]}" if kind in NORM_BEFORE else None


def abs_max(rows: Floats) -> Floats:
    """The largest that each input of [R, K] comes to."""
    loudest: Floats = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    return loudest


def smoothing_factors(input_max: Floats, matrix: Floats, alpha: float) -> Floats:
    """What to divide each input by, [K], and to multiply its column of the matrix [N, K] by.

    `share` of the loudness goes to the matrix: all of it would make the matrix the loud one.
    """
    strong = abs_max(matrix)
    found = np.maximum(input_max, MIN_ABS_MAX) ** np.float32(alpha) / np.maximum(strong, MIN_ABS_MAX) ** np.float32(
        1 - alpha
    )
    return np.asarray(found, np.float32)


def divide_norm(weights: Weights, norm: str, factors: Floats) -> dict[str, Floats]:
    """The weights of a norm that gives its outputs so much quieter."""
    return {f"{norm}.{part}": weights[f"{norm}.{part}"] / factors for part in ("weight", "bias")}


def scale_values(matrix: QuantisedMatrix, bias: Floats, factors: Floats) -> tuple[QuantisedMatrix, Floats]:
    """An attn.c_attn, rounded, and its bias, that make so much quieter values.

    Its last third makes them, and attention only takes averages of them; the codes stay what they are.
    """
    values = np.ones(len(bias), np.float32)
    values[-len(factors) :] = factors
    return replace(matrix, scales=matrix.scales / values[:, None]), bias / values
