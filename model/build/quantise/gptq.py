"""Rounding that looks back: each column makes good what the columns before it got wrong (GPTQ).

After Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: accurate post-training quantization" (2022): what counts is not
how near the weights are, but how near their products with the inputs that a text gave. Nothing is inverted here: with
R R^T = X^T X, R upper triangular, the products of the errors E [N, K] are as long as E R, and column k of that is zero
but for what its own rounding leaves if the column takes E's columns before it, each times R[i, k] / R[k, k]. It knows
no model and no text: the second moments of the inputs come as an argument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.build.quantise.quantise import Floats, QuantGrid, QuantisedMatrix, search_grid

Moments = NDArray[np.float64]

DAMPING = 0.01  # of the mean second moment: inputs that the text never moved must not run away
STRIP_COLUMNS = (
    64  # columns of whole rows that take the errors before them one by one; those further back come all at once
)
PANEL_COLUMNS = 256  # columns that are factored at once
ROWS_AT_ONCE = 2048  # of the matrix, rounded at once


def gptq_quantise(matrix: Floats, moments: Moments, bits: int, block: int, *, asymmetric: bool) -> QuantisedMatrix:
    """Round a matrix [N, K] for inputs of these second moments [K, K] (X^T X), which are used up."""
    rows, width = matrix.shape
    factor = _upper_cholesky(moments)
    heard = np.diag(factor).copy()
    factor /= heard
    importance = np.square(heard).reshape(-1, 1, block)
    codes = np.empty((rows, width), np.uint8)
    grids: list[QuantGrid] = []
    for start in range(0, rows, ROWS_AT_ONCE):
        part = np.ascontiguousarray(matrix[start : start + ROWS_AT_ONCE].T)  # a column of the matrix is a row of memory
        near, grid = _quantise_rows(part, factor, importance, bits, asymmetric=asymmetric)
        codes[start : start + ROWS_AT_ONCE] = near.T
        grids.append(grid)
    zeros = np.concatenate([grid.zeros for grid in grids]).astype(np.uint8) if asymmetric else None
    return QuantisedMatrix(bits, codes, np.concatenate([grid.scales for grid in grids]), zeros)


def _quantise_rows(
    columns: Floats, factor: Floats, importance: Floats, bits: int, *, asymmetric: bool
) -> tuple[NDArray[np.uint8], QuantGrid]:
    """The codes [K, n] of some rows, lying as [K, n], and their grids; `factor` has ones down its middle."""
    width, block = len(columns), importance.shape[2]
    codes, off = np.empty(columns.shape, np.uint8), np.empty_like(columns)
    grids: list[QuantGrid] = []
    strip = min(block, STRIP_COLUMNS) if block == width else block
    for start in range(0, width, strip):
        stop = min(start + strip, width)
        own = factor[start:stop, start:stop]
        fed = factor[:start, start:stop].T @ off[:start]
        if start % block == 0:
            # Where the columns of the block would go if none of them were rounded: there its grid must lie.
            goals = columns[start : start + block] + (np.linalg.inv(own).T @ fed if start else 0)
            blocks = np.ascontiguousarray(goals.T)[:, None, :]
            grids.append(search_grid(blocks, bits, importance[start // block], asymmetric=asymmetric))
        fed += columns[start:stop]
        for at in range(start, stop):
            wanted = fed[at - start] + own[: at - start, at - start] @ off[start:at]
            codes[at], off[at] = _round_column(wanted, columns[at], grids[-1])
    scales, zeros = ([getattr(grid, kind) for grid in grids] for kind in ("scales", "zeros"))
    return codes, QuantGrid(bits, np.concatenate(scales, axis=1), np.concatenate(zeros, axis=1))


def _round_column(target: Floats, weights: Floats, grid: QuantGrid) -> tuple[Floats, Floats]:
    """The codes of a column, and how far what they stand for lies below the true weights."""
    codes = grid.encode(target[:, None, None])
    return codes[:, 0, 0], weights - grid.decode(codes)[:, 0, 0]


def _upper_cholesky(moments: Moments) -> Floats:
    """R, upper triangular, with R R^T = moments, damped; from the last columns to the first, in their place."""
    width = len(moments)
    moments[np.diag_indices(width)] += DAMPING * max(float(np.diag(moments).mean()), 1e-30)
    for stop in range(width, 0, -PANEL_COLUMNS):
        start = max(0, stop - PANEL_COLUMNS)
        panel = moments[:stop, start:stop]
        panel -= moments[:stop, stop:] @ moments[start:stop, stop:].T
        own = np.linalg.cholesky(panel[start:, ::-1][::-1])[::-1, ::-1]
        panel[:start] = panel[:start] @ np.linalg.inv(own).T
        panel[start:] = own
    return np.triu(moments.astype(np.float32))
