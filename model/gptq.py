"""Rounding that looks ahead: the error of one column is made good by the columns that are not rounded yet (GPTQ).

After Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: accurate post-training quantization" (2022): what counts is not
how near the weights are, but how near their products with the inputs that a text gave. It knows no model and no text:
the second moments of the inputs come as an argument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.quantise import Floats, Grid, Quantised, searched_grid

Moments = NDArray[np.float64]

DAMPING = 0.01  # of the mean second moment: inputs that the text never moved must not run away
STRIP = 128  # columns whose errors are fed forward one by one; behind them, all at once


def feed_forward(matrix: Floats, moments: Moments, bits: int, block: int, *, asymmetric: bool) -> Quantised:
    """Round a matrix [N, K] for inputs of these second moments [K, K] (X^T X)."""
    rows, width = matrix.shape
    left = np.ascontiguousarray(matrix.T)  # [K, N]: a column of the matrix is a row of memory
    codes = np.empty((width, rows), np.uint8)
    grids: list[Grid] = []
    forward = _forward(moments)
    importance = (1 / np.square(np.diag(forward))).reshape(-1, 1, block)
    strip = max(STRIP, block)
    for start in range(0, width, strip):
        stop = min(start + strip, width)
        errors = np.empty((stop - start, rows), np.float32)
        for at in range(start, stop):
            if at % block == 0:
                blocks = np.ascontiguousarray(left[at : at + block].T)[:, None, :]
                grids.append(searched_grid(blocks, bits, importance[at // block], asymmetric=asymmetric))
            scales, zeros = grids[-1].scales[:, 0], grids[-1].zeros[:, 0]
            code = np.clip(np.rint(left[at] / scales) + zeros, 0, 2**bits - 1)
            codes[at] = code
            error = (left[at] - (code - zeros) * scales) / forward[at, at]
            left[at + 1 : stop] -= forward[at, at + 1 : stop, None] * error
            errors[at - start] = error
        left[stop:] -= forward[start:stop, stop:].T @ errors
    return Quantised(
        bits,
        np.ascontiguousarray(codes.T),
        np.concatenate([grid.scales for grid in grids], axis=1),
        np.concatenate([grid.zeros for grid in grids], axis=1).astype(np.uint8) if asymmetric else None,
    )


def _forward(moments: Moments) -> Floats:
    """Row i: how much of the error of column i each later column must take, times what column i itself may err."""
    moments = moments.copy()
    moments[np.diag_indices_from(moments)] += DAMPING * max(float(np.diag(moments).mean()), 1e-30)
    upper: Floats = np.linalg.cholesky(np.linalg.inv(moments)).T.astype(np.float32)
    return upper
