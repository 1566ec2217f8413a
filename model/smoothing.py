"""The same function with quieter inputs: what makes one input of a layer loud is put into the layer's matrix instead.

A block of inputs is rounded on the scale of its loudest, so that one loud channel costs all the others their last bits.
Each channel is divided where it comes for nothing, in the norm before the layer or in the columns that make the values
of attention, and its row of the matrix is multiplied (after Xiao et al., "SmoothQuant", 2022). What comes out of
mlp.c_fc is bent before it goes on, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model import reference
from model.base import Shape
from model.quantise import Floats
from model.weights import EMBEDDING, HEAD, Weights

QUIET = np.float32(1e-6)


def smoothed(
    weights: Weights,
    shape: Shape,
    windows: NDArray[np.int64],
    share: float,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Floats]:
    """The weights of the same function for inputs as loud as those of the windows [B, S] of ids.

    `share` of the loudness goes to the matrix: all of it would make the matrix the loud one. The head is no longer the
    embedding, and has its own name, HEAD. No array of `weights` is changed.
    """
    loud: dict[str, Floats] = {}
    plain = reference.plain(weights)

    def linear(name: str, rows: Floats) -> Floats:
        loud[name] = np.abs(rows).max(axis=0)
        return plain(name, rows)

    seen = reference.hidden(weights, shape, windows, linear, progress)
    smooth = dict(weights)
    for layer in range(shape.n_layer):
        at = f"h.{layer}"
        for norm, name in ((f"{at}.ln_1", f"{at}.attn.c_attn"), (f"{at}.ln_2", f"{at}.mlp.c_fc")):
            _divide(smooth, norm, factors := _factors(loud[name], smooth[f"{name}.weight"], share))
            smooth[f"{name}.weight"] = smooth[f"{name}.weight"] * factors[:, None]
        _quieten_values(smooth, at, loud[f"{at}.attn.c_proj"], share)
    factors = _factors(np.abs(seen).max(axis=0), weights[EMBEDDING].T, share)
    _divide(smooth, "ln_f", factors)
    smooth[HEAD] = weights[EMBEDDING] * factors
    return smooth


def _factors(loud: Floats, matrix: Floats, share: float) -> Floats:
    """What to divide each input by, [K], for a matrix [K, N]."""
    strong = np.abs(matrix).max(axis=1)
    factors: Floats = np.maximum(loud, QUIET) ** np.float32(share) / np.maximum(strong, QUIET) ** np.float32(1 - share)
    return factors.astype(np.float32)


def _divide(weights: dict[str, Floats], norm: str, factors: Floats) -> None:
    for part in ("weight", "bias"):
        weights[f"{norm}.{part}"] = weights[f"{norm}.{part}"] / factors


def _quieten_values(weights: dict[str, Floats], at: str, loud: Floats, share: float) -> None:
    """The last third of c_attn makes the values, and attention only takes averages of them."""
    name, width = f"{at}.attn.c_proj.weight", len(loud)
    factors = _factors(loud, weights[name], share)
    weights[name] = weights[name] * factors[:, None]
    for part in ("weight", "bias"):
        both = weights[f"{at}.attn.c_attn.{part}"].copy()
        both[..., 2 * width :] /= factors
        weights[f"{at}.attn.c_attn.{part}"] = both
