"""Numbers -> few bits: blocks of a matrix rounded to small whole numbers, packed as MatMulNBits reads them.

A matrix here lies as [N, K], outputs by inputs; each row is cut into blocks of K, and a block has a scale and maybe a
zero point of its own: w = scale * (code - zero). It knows of no graph, and not what a matrix is for: how much an
input matters comes as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK_SIZES = (16, 32, 64, 128, 256)  # what MatMulNBits takes
WEIGHTS_AT_ONCE = 1 << 18  # weights rounded in one go: what is worked out of them stays in the cache
# Of a block's range, tried; steps as fine as those of 8 bits are not worth a clipped weight that is far out.
RANGE_FACTORS = {bits: np.linspace(1.0, least, 8, dtype=np.float32) for bits, least in ((4, 0.65), (8, 0.93))}
MIN_SCALE = np.float32(1e-30)  # under any scale that a block which is not all zeros has


@dataclass(frozen=True, slots=True)
class QuantGrid:
    """The numbers that the blocks of some rows can be: `scales` and `zeros` are [N, K / block]."""

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
    """A matrix [N, K] in `bits` 4 or 8; `zeros` None stands for the middle of the codes, as in MatMulNBits."""

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
        """Whether each row has one scale, and its codes lie evenly about zero."""
        return self.bits == 8 and self.zeros is None and self.scales.shape[1] == 1

    def dequantise(self) -> Floats:
        count = self.scales.shape[1]
        weights = self.codes.astype(np.float32)
        blocks = weights.reshape(len(weights), count, -1)
        blocks -= np.float32(zero_code(self.bits)) if self.zeros is None else self.zeros[..., None]
        blocks *= self.scales[..., None]
        return weights

    def pack_codes(self) -> Bytes:
        """[N, K / block, block * bits / 8]."""
        return pack_bits(self.codes, self.bits).reshape(*self.scales.shape, -1)

    def pack_zeros(self) -> Bytes | None:
        """[N, K / block], two in a byte where they have 4 bits."""
        return None if self.zeros is None else pack_bits(self.zeros, self.bits)


def zero_code(bits: int) -> int:
    """The code of zero where a block has no zero point."""
    return 1 << (bits - 1)


def pack_bits(codes: Bytes, bits: int) -> Bytes:
    """Codes of 4 bits two in a byte along the last axis, the low half first; an odd one out has a zero beside it."""
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return codes[..., 0::2] | np.left_shift(codes[..., 1::2], 4, dtype=np.uint8)


def largest_block(width: int, limit: int) -> int:
    """The largest block that divides the width and is not above the wanted one; 0 if none does."""
    return max((block for block in BLOCK_SIZES if block <= limit and width % block == 0), default=0)


def min_max_grid(blocks: Floats, bits: int, *, asymmetric: bool) -> QuantGrid:
    """The grid that just holds every weight of the blocks [N, K / block, block]."""
    if asymmetric:
        return _asymmetric_grid(blocks.min(axis=2), blocks.max(axis=2), bits)
    half = zero_code(bits)
    largest = np.abs(blocks).max(axis=2)
    if bits == 8:
        return _symmetric_grid(largest / np.float32(half - 1), half, bits)
    # The codes reach one further below the middle than above it: the largest weight goes there, whatever its sign.
    at = np.abs(blocks).argmax(axis=2)[..., None]
    return _symmetric_grid(np.take_along_axis(blocks, at, axis=2)[..., 0] / np.float32(-half), half, bits)


def search_grid(blocks: Floats, bits: int, importance: Floats, *, asymmetric: bool) -> QuantGrid:
    """The grid of the least squared error, weighted by `importance` [K / block, block], among narrower ones.

    Each is taken with the scale that suits its codes best.
    """
    ears = np.sqrt(importance)
    step = max(1, WEIGHTS_AT_ONCE // blocks[0].size)
    parts = [blocks[start : start + step] for start in range(0, len(blocks), step)]
    grids = [_search_part(part, bits, ears, asymmetric=asymmetric) for part in parts]
    return QuantGrid(
        bits, np.concatenate([grid.scales for grid in grids]), np.concatenate([grid.zeros for grid in grids])
    )


def quantise(
    matrix: Floats, bits: int, block: int, *, asymmetric: bool = False, importance: Floats | None = None
) -> QuantisedMatrix:
    """Round a matrix [N, K] to the nearest; with `importance` [K] the grids are searched."""
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
    return QuantisedMatrix(
        bits,
        codes,
        np.concatenate([grid.scales for grid in grids]),
        np.concatenate([grid.zeros for grid in grids]).astype(np.uint8) if asymmetric else None,
    )


def _search_part(blocks: Floats, bits: int, sqrt_importance: Floats, *, asymmetric: bool) -> QuantGrid:
    """As `searched_grid`; `ears` are the roots of the importance."""
    best = min_max_grid(blocks, bits, asymmetric=asymmetric)
    scales, low, high = best.scales, blocks.min(axis=2), blocks.max(axis=2)
    heard = blocks * sqrt_importance
    least = _weighted_error(best, blocks, sqrt_importance)
    shrinks = RANGE_FACTORS[bits]
    ends = [(a, b) for a in shrinks[::2] for b in shrinks[::2]] if asymmetric else [(a, a) for a in shrinks]
    for below, above in ends:
        grid = _asymmetric_grid(low * below, high * above, bits) if asymmetric else replace(best, scales=scales * below)
        grid, error = _fit_scales(grid, blocks, heard, sqrt_importance)
        better = error < least
        least = np.where(better, error, least)
        best = QuantGrid(bits, np.where(better, grid.scales, best.scales), np.where(better, grid.zeros, best.zeros))
    return best


def _symmetric_grid(scales: Floats, zero: int, bits: int) -> QuantGrid:
    scales = np.where(np.abs(scales) < MIN_SCALE, np.float32(1), scales)
    return QuantGrid(bits, scales, np.full_like(scales, zero))


def _asymmetric_grid(low: Floats, high: Floats, bits: int) -> QuantGrid:
    """From low to high, zero among them: a code must stand for zero itself."""
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    most = np.float32(2**bits - 1)
    scales = (high - low) / most
    scales = np.where(scales < MIN_SCALE, np.float32(1), scales)
    return QuantGrid(bits, scales, np.clip(np.rint(-low / scales), 0, most))


def _fit_scales(grid: QuantGrid, blocks: Floats, weighted: Floats, sqrt_importance: Floats) -> tuple[QuantGrid, Floats]:
    """The scale that least squares would have for the codes of this grid, and the error that is left with it."""
    steps = grid.encode(blocks)
    steps -= grid.zeros[..., None]
    steps *= sqrt_importance
    above, below = np.einsum("nbk,nbk->nb", weighted, steps), np.einsum("nbk,nbk->nb", steps, steps)
    scales = np.where(below > 0, above / np.where(below > 0, below, 1), grid.scales).astype(np.float32)
    steps *= scales[..., None]
    steps -= weighted
    return replace(grid, scales=scales), np.einsum("nbk,nbk->nb", steps, steps)


def _weighted_error(grid: QuantGrid, blocks: Floats, sqrt_importance: Floats) -> Floats:
    off = (grid.decode(grid.encode(blocks)) - blocks) * sqrt_importance
    error: Floats = np.einsum("nbk,nbk->nb", off, off)
    return error
