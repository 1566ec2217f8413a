"""Quantises one matrix: rounds blocks of it to integers of 4 or 8 bits, packed as MatMulNBits reads them.

A matrix is [N, K], outputs by inputs. Each row is cut into blocks, and each block has a scale and perhaps a zero point:
w = scale * (code - zero). The module knows no graph and no model: the importance of the inputs is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.build.formats import BLOCK_SIZES

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

WEIGHTS_AT_ONCE = 1 << 18  # weights rounded at once: their intermediate values fit the CPU cache
# The shares of a block's range that a search tries. With 8 bits clipping outliers gains little.
RANGE_FACTORS = {bits: np.linspace(1.0, lowest, 8, dtype=np.float32) for bits, lowest in ((4, 0.65), (8, 0.93))}
MIN_SCALE = np.float32(1e-30)  # a smaller scale means that the block is all zeros


@dataclass(frozen=True, slots=True)
class QuantGrid:
    """The values that the blocks of some rows can take: `scales` and `zeros` are [N, K / block]."""

    bits: int
    scales: Floats
    zeros: Floats

    def encode(self, blocks: Floats) -> Floats:
        """The nearest code of each weight of [N, K / block, block]."""
        codes: Floats = blocks / self.scales[..., None]
        np.rint(codes, out=codes)
        codes += self.zeros[..., None]
        np.clip(codes, 0, 2**self.bits - 1, out=codes)
        return codes

    def decode(self, codes: Floats) -> Floats:
        weights: Floats = (codes - self.zeros[..., None]) * self.scales[..., None]
        return weights


@dataclass(frozen=True, slots=True)
class QuantisedMatrix:
    """A matrix [N, K] in 4 or 8 bits. Without `zeros` the zero point is the middle code, as in MatMulNBits."""

    bits: int
    codes: Bytes  # [N, K]
    scales: Floats  # [N, K / block]
    zeros: Bytes | None  # [N, K / block]

    @property
    def block(self) -> int:
        width, count = int(self.codes.shape[1]), int(self.scales.shape[1])
        return width // count

    @property
    def is_per_row(self) -> bool:
        """Whether each row has one scale and symmetric codes of 8 bits."""
        return self.bits == 8 and self.zeros is None and self.scales.shape[1] == 1

    def dequantise(self) -> Floats:
        count = self.scales.shape[1]
        weights = self.codes.astype(np.float32)
        blocks = weights.reshape(len(weights), count, -1)
        blocks -= np.float32(zero_code(self.bits)) if self.zeros is None else self.zeros[..., None]
        blocks *= self.scales[..., None]
        return weights

    def pack_codes(self) -> Bytes:
        """The codes as bytes [N, K / block, block * bits / 8]."""
        return pack_bits(self.codes, self.bits).reshape(*self.scales.shape, -1)

    def pack_zeros(self) -> Bytes | None:
        """The zero points [N, K / block]; those of 4 bits are two in a byte."""
        return None if self.zeros is None else pack_bits(self.zeros, self.bits)


def zero_code(bits: int) -> int:
    """The code that means zero in a block without a zero point."""
    return 1 << (bits - 1)


def pack_bits(codes: Bytes, bits: int) -> Bytes:
    """Packs codes of 4 bits two in a byte along the last axis, low half first, padded with zero to an even number."""
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return codes[..., 0::2] | np.left_shift(codes[..., 1::2], 4, dtype=np.uint8)


def largest_block(width: int, limit: int) -> int:
    """The largest block size that divides the width and is at most `limit`; 0 if there is none."""
    return max((block for block in BLOCK_SIZES if block <= limit and width % block == 0), default=0)


def min_max_grid(blocks: Floats, bits: int, *, asymmetric: bool) -> QuantGrid:
    """The narrowest grid that holds every weight of the blocks [N, K / block, block]."""
    if asymmetric:
        return _asymmetric_grid(blocks.min(axis=2), blocks.max(axis=2), bits)
    half = zero_code(bits)
    largest = np.abs(blocks).max(axis=2)
    if bits == 8:
        return _symmetric_grid(largest / np.float32(half - 1), half, bits)
    # There is one more code below the middle than above it: the largest weight gets it, whatever its sign.
    at = np.abs(blocks).argmax(axis=2)[..., None]
    return _symmetric_grid(np.take_along_axis(blocks, at, axis=2)[..., 0] / np.float32(-half), half, bits)


def search_grid(blocks: Floats, bits: int, importance: Floats, *, asymmetric: bool) -> QuantGrid:
    """Searches narrower grids for the least squared error, weighted by `importance` [K / block, block].

    Each grid gets the scale that fits its codes best.
    """
    sqrt_importance = np.sqrt(importance)
    step = max(1, WEIGHTS_AT_ONCE // blocks[0].size)
    parts = [blocks[start : start + step] for start in range(0, len(blocks), step)]
    grids = [_search_part(part, bits, sqrt_importance, asymmetric=asymmetric) for part in parts]
    return join_grids(grids)


def join_grids(grids: Sequence[QuantGrid], axis: int = 0) -> QuantGrid:
    """Joins grids along the rows (axis 0), or along the blocks (axis 1)."""
    scales, zeros = [grid.scales for grid in grids], [grid.zeros for grid in grids]
    return QuantGrid(grids[0].bits, np.concatenate(scales, axis), np.concatenate(zeros, axis))


def quantise(
    matrix: Floats, bits: int, block: int, *, asymmetric: bool = False, importance: Floats | None = None
) -> QuantisedMatrix:
    """Rounds a matrix [N, K] to the nearest codes. With `importance` [K] the grids are searched."""
    rows, width = matrix.shape
    codes = np.empty((rows, width), np.uint8)
    grids = []
    for start in range(0, rows, step := max(1, WEIGHTS_AT_ONCE // width)):
        blocks = matrix[start : start + step].reshape(-1, width // block, block)
        if importance is None:
            grid = min_max_grid(blocks, bits, asymmetric=asymmetric)
        else:
            grid = search_grid(blocks, bits, importance.reshape(-1, block), asymmetric=asymmetric)
        codes[start : start + step] = grid.encode(blocks).reshape(-1, width)
        grids.append(grid)
    grid = join_grids(grids)
    return QuantisedMatrix(bits, codes, grid.scales, grid.zeros.astype(np.uint8) if asymmetric else None)


def _search_part(blocks: Floats, bits: int, sqrt_importance: Floats, *, asymmetric: bool) -> QuantGrid:
    best = min_max_grid(blocks, bits, asymmetric=asymmetric)
    scales, low, high = best.scales, blocks.min(axis=2), blocks.max(axis=2)
    weighted = blocks * sqrt_importance
    best_error = _weighted_error(best, blocks, sqrt_importance)
    factors = RANGE_FACTORS[bits]
    ranges = [(a, b) for a in factors[::2] for b in factors[::2]] if asymmetric else [(a, a) for a in factors]
    for below, above in ranges:
        grid = _asymmetric_grid(low * below, high * above, bits) if asymmetric else replace(best, scales=scales * below)
        grid, error = _fit_scales(grid, blocks, weighted, sqrt_importance)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best = QuantGrid(bits, np.where(better, grid.scales, best.scales), np.where(better, grid.zeros, best.zeros))
    return best


def _symmetric_grid(scales: Floats, zero: int, bits: int) -> QuantGrid:
    scales = np.where(np.abs(scales) < MIN_SCALE, np.float32(1), scales)
    return QuantGrid(bits, scales, np.full_like(scales, zero))


def _asymmetric_grid(low: Floats, high: Floats, bits: int) -> QuantGrid:
    """A grid from low to high that includes zero: one code must mean exactly zero."""
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    last_code = np.float32(2**bits - 1)
    scales = (high - low) / last_code
    scales = np.where(scales < MIN_SCALE, np.float32(1), scales)
    return QuantGrid(bits, scales, np.clip(np.rint(-low / scales), 0, last_code))


def _fit_scales(grid: QuantGrid, blocks: Floats, weighted: Floats, sqrt_importance: Floats) -> tuple[QuantGrid, Floats]:
    """The grid with least-squares scales for its codes, and the error of each block."""
    steps = grid.encode(blocks)
    steps -= grid.zeros[..., None]
    steps *= sqrt_importance
    products, squares = np.einsum("nbk,nbk->nb", weighted, steps), np.einsum("nbk,nbk->nb", steps, steps)
    scales = np.where(squares > 0, products / np.where(squares > 0, squares, 1), grid.scales).astype(np.float32)
    steps *= scales[..., None]
    steps -= weighted
    return replace(grid, scales=scales), np.einsum("nbk,nbk->nb", steps, steps)


def _weighted_error(grid: QuantGrid, blocks: Floats, sqrt_importance: Floats) -> Floats:
    errors = (grid.decode(grid.encode(blocks)) - blocks) * sqrt_importance
    squares: Floats = np.einsum("nbk,nbk->nb", errors, errors)
    return squares
