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

BLOCKS = (16, 32, 64, 128, 256)  # what MatMulNBits takes
AT_ONCE = 1 << 22  # weights rounded in one go: enough for numpy, little beside the model
SHRINKS = np.linspace(1.0, 0.65, 8, dtype=np.float32)  # of a block's range, tried
LEAST = np.float32(1e-30)  # under any scale that a block which is not all zeros has


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that the blocks of some rows can be: `scales` and `zeros` are [N, K / block]."""

    bits: int
    scales: Floats
    zeros: Floats

    def codes(self, blocks: Floats) -> Floats:
        """The nearest code of each weight of [N, K / block, block]."""
        codes: Floats = np.rint(blocks / self.scales[..., None]) + self.zeros[..., None]
        np.clip(codes, 0, 2**self.bits - 1, out=codes)
        return codes

    def weights(self, codes: Floats) -> Floats:
        weights: Floats = (codes - self.zeros[..., None]) * self.scales[..., None]
        return weights


@dataclass(frozen=True, slots=True)
class Quantised:
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
    def whole(self) -> bool:
        """Whether each row has one scale, and its codes lie evenly about zero."""
        return self.bits == 8 and self.zeros is None and self.scales.shape[1] == 1

    def dequantised(self) -> Floats:
        count = self.scales.shape[1]
        zeros = np.float32(middle(self.bits)) if self.zeros is None else self.zeros[..., None].astype(np.float32)
        blocks = self.codes.reshape(len(self.codes), count, -1).astype(np.float32) - zeros
        weights: Floats = (blocks * self.scales[..., None]).reshape(self.codes.shape)
        return weights

    def packed(self) -> Bytes:
        """[N, K / block, block * bits / 8]."""
        return pack(self.codes, self.bits).reshape(*self.scales.shape, -1)

    def packed_zeros(self) -> Bytes | None:
        """[N, K / block], two in a byte where they have 4 bits."""
        return None if self.zeros is None else pack(self.zeros, self.bits)


def middle(bits: int) -> int:
    """The code of zero where a block has no zero point."""
    return 1 << (bits - 1)


def pack(codes: Bytes, bits: int) -> Bytes:
    """Codes of 4 bits two in a byte along the last axis, the low half first; an odd one out has a zero beside it."""
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return codes[..., 0::2] | np.left_shift(codes[..., 1::2], 4, dtype=np.uint8)


def block_for(width: int, wanted: int) -> int:
    """The largest block that divides the width and is not above the wanted one; 0 if none does."""
    return max((block for block in BLOCKS if block <= wanted and width % block == 0), default=0)


def nearest_grid(blocks: Floats, bits: int, *, asymmetric: bool) -> Grid:
    """The grid that just holds every weight of the blocks [N, K / block, block]."""
    if asymmetric:
        return _spanning(blocks.min(axis=2), blocks.max(axis=2), bits)
    half = middle(bits)
    largest = np.abs(blocks).max(axis=2)
    if bits == 8:
        return _grid(largest / np.float32(half - 1), half, bits)
    # The codes reach one further below the middle than above it: the largest weight goes there, whatever its sign.
    at = np.abs(blocks).argmax(axis=2)[..., None]
    return _grid(np.take_along_axis(blocks, at, axis=2)[..., 0] / np.float32(-half), half, bits)


def searched_grid(blocks: Floats, bits: int, importance: Floats, *, asymmetric: bool) -> Grid:
    """The grid of the least squared error, weighted by `importance` [K / block, block], among narrower ones.

    Each is tried as it is and with the scale that suits its codes best.
    """
    tried = nearest_grid(blocks, bits, asymmetric=asymmetric)
    best, least = tried, _error(tried, blocks, importance)
    low, high = blocks.min(axis=2), blocks.max(axis=2)
    ends = [(a, b) for a in SHRINKS[::2] for b in SHRINKS[::2]] if asymmetric else [(a, a) for a in SHRINKS]
    for below, above in ends:
        narrower = replace(tried, scales=tried.scales * below)
        grid = _spanning(low * below, high * above, bits) if asymmetric else narrower
        for candidate in (grid, _fitted(grid, blocks, importance)):
            error = _error(candidate, blocks, importance)
            better = error < least
            least = np.where(better, error, least)
            best = Grid(
                bits, np.where(better, candidate.scales, best.scales), np.where(better, candidate.zeros, best.zeros)
            )
    return best


def quantise(
    matrix: Floats, bits: int, block: int, *, asymmetric: bool = False, importance: Floats | None = None
) -> Quantised:
    """Round a matrix [N, K] to the nearest; with `importance` [K] the grids are searched."""
    rows, width = matrix.shape
    parts = []
    for start in range(0, rows, step := max(1, AT_ONCE // width)):
        blocks = matrix[start : start + step].reshape(-1, width // block, block)
        if importance is None:
            grid = nearest_grid(blocks, bits, asymmetric=asymmetric)
        else:
            grid = searched_grid(blocks, bits, importance.reshape(-1, block), asymmetric=asymmetric)
        parts.append((grid.codes(blocks).astype(np.uint8).reshape(-1, width), grid))
    return Quantised(
        bits,
        np.concatenate([codes for codes, _ in parts]),
        np.concatenate([grid.scales for _, grid in parts]),
        np.concatenate([grid.zeros.astype(np.uint8) for _, grid in parts]) if asymmetric else None,
    )


def _grid(scales: Floats, zero: int, bits: int) -> Grid:
    scales = np.where(np.abs(scales) < LEAST, np.float32(1), scales)
    return Grid(bits, scales, np.full_like(scales, zero))


def _spanning(low: Floats, high: Floats, bits: int) -> Grid:
    """From low to high, zero among them: a code must stand for zero itself."""
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    most = np.float32(2**bits - 1)
    scales = (high - low) / most
    scales = np.where(scales < LEAST, np.float32(1), scales)
    return Grid(bits, scales, np.clip(np.rint(-low / scales), 0, most))


def _fitted(grid: Grid, blocks: Floats, importance: Floats) -> Grid:
    """The same codes with the scale that least squares would have."""
    steps = grid.codes(blocks) - grid.zeros[..., None]
    above = np.einsum("nbk,nbk,bk->nb", blocks, steps, importance)
    below = np.einsum("nbk,nbk,bk->nb", steps, steps, importance)
    sound = (below > 0) & (np.abs(above) > LEAST * below)
    return replace(grid, scales=np.where(sound, above / np.where(sound, below, 1), grid.scales).astype(np.float32))


def _error(grid: Grid, blocks: Floats, importance: Floats) -> Floats:
    off = grid.weights(grid.codes(blocks)) - blocks
    error: Floats = np.einsum("nbk,nbk,bk->nb", off, off, importance)
    return error
