"""GPTQ: quantises a matrix column by column; each column compensates the errors of the columns before it.

After Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: accurate post-training quantization" (2022). It minimises the
error of the products with the inputs of a text, not the error of the weights. No matrix is inverted. Let R R^T = X^T X
with R upper triangular: the products of the errors E [N, K] have the length of E R. Column k of E R is its own rounding
error alone, if the column compensates each earlier column i of E times R[i, k] / R[k, k]. The module knows no model
and no text: the second moments of the inputs are an argument.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.build.quantise.quantise import Bytes, Floats, QuantGrid, QuantisedMatrix, join_grids, search_grid

Moments = NDArray[np.float64]

DAMPING = 0.01  # share of the mean second moment that is added to all: without it, inputs that are always 0 diverge
STRIP_COLUMNS = 64  # columns that compensate each other one by one; earlier columns are compensated all at once
PANEL_COLUMNS = 256  # columns that are factored at once
ROWS_AT_ONCE = 2048  # rows of the matrix that are quantised at once


def gptq_quantise(matrix: Floats, moments: Moments, bits: int, block: int, *, asymmetric: bool) -> QuantisedMatrix:
    """Quantises a matrix [N, K] for inputs with these second moments X^T X [K, K]. Overwrites `moments`."""
    rows, width = matrix.shape
    factor = _upper_cholesky(moments)
    diagonal = np.diag(factor).copy()
    factor /= diagonal
    importance = np.square(diagonal).reshape(-1, 1, block)
    codes = np.empty((rows, width), np.uint8)
    grids: list[QuantGrid] = []
    for start in range(0, rows, ROWS_AT_ONCE):
        columns = np.ascontiguousarray(matrix[start : start + ROWS_AT_ONCE].T)  # each column is contiguous
        column_codes, grid = _quantise_rows(columns, factor, importance, bits, asymmetric=asymmetric)
        codes[start : start + ROWS_AT_ONCE] = column_codes.T
        grids.append(grid)
    grid = join_grids(grids)
    return QuantisedMatrix(bits, codes, grid.scales, grid.zeros.astype(np.uint8) if asymmetric else None)


def _quantise_rows(
    columns: Floats, factor: Floats, importance: Floats, bits: int, *, asymmetric: bool
) -> tuple[Bytes, QuantGrid]:
    """Quantises some rows, given as columns [K, n]: their codes [K, n] and their grid. `factor` has a unit diagonal."""
    width, block = len(columns), importance.shape[2]
    codes, errors = np.empty(columns.shape, np.uint8), np.empty_like(columns)
    grids: list[QuantGrid] = []
    strip = min(block, STRIP_COLUMNS) if block == width else block
    for start in range(0, width, strip):
        stop = min(start + strip, width)
        own = factor[start:stop, start:stop]
        targets = factor[:start, start:stop].T @ errors[:start]
        if start % block == 0:
            # The grid must fit the values that the columns would have if none of the block were rounded.
            goals = columns[start : start + block] + (np.linalg.inv(own).T @ targets if start else 0)
            blocks = np.ascontiguousarray(goals.T)[:, None, :]
            grids.append(search_grid(blocks, bits, importance[start // block], asymmetric=asymmetric))
        targets += columns[start:stop]
        for at in range(start, stop):
            target = targets[at - start] + own[: at - start, at - start] @ errors[start:at]
            codes[at], errors[at] = _round_column(target, columns[at], grids[-1])
    return codes, join_grids(grids, axis=1)


def _round_column(target: Floats, weights: Floats, grid: QuantGrid) -> tuple[Floats, Floats]:
    """The codes of a column, and the true weights minus the decoded ones."""
    codes = grid.encode(target[:, None, None])
    return codes[:, 0, 0], weights - grid.decode(codes)[:, 0, 0]


def _upper_cholesky(moments: Moments) -> Floats:
    """R, upper triangular, with R R^T = moments + damping. Works in place, from the last columns to the first."""
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
