"""Predicts the seconds of an engine pass from recent measurements, as a straight line over its size. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

DECAY = 0.98  # factor on the weight of older measurements at each new one: about the last fifty count
OUTLIER_FACTOR = 4.0  # times the predicted seconds; a longer pass means that the machine was suspended
MAX_ITEMS = 1 << 20
PRIOR_WEIGHT = 0.02  # relative to one measurement; gives the line a slope where all measured sizes are equal


@dataclass(slots=True)
class LinearCost:
    """Seconds of a pass: `fixed` plus `per_item` times its size. The initial values are the prior."""

    fixed: float
    per_item: float
    _prior: tuple[float, float] = (0.0, 0.0)
    _sums: list[float] = field(default_factory=lambda: [0.0] * 5)  # of 1, n, n², seconds, n * seconds

    def __post_init__(self) -> None:
        self._prior = (self.fixed, self.per_item)

    def seconds_for(self, size: int) -> float:
        return self.fixed + self.per_item * size

    def max_items_in(self, seconds: float) -> int:
        """The size of the largest pass that fits in that time, at least 1."""
        return max(1, int(min((seconds - self.fixed) / self.per_item, MAX_ITEMS))) if self.per_item else MAX_ITEMS

    @property
    def items_per_pass_overhead(self) -> float:
        """The number of items that cost as much as the fixed part of a pass."""
        return self.fixed / self.per_item if self.per_item else inf

    def add_measurement(self, size: int, seconds: float) -> None:
        if self._sums[0] > 1:
            seconds = min(seconds, OUTLIER_FACTOR * self.seconds_for(size))
        new = (1.0, size, size * size, seconds, size * seconds)
        self._sums = [DECAY * old + added for old, added in zip(self._sums, new, strict=True)]
        self._fit_line()

    def _fit_line(self) -> None:
        """Fits by least squares to the measurements and to two points of the prior, scaled to the measured speed."""
        count, sizes, squares, seconds, products = self._sums
        fixed, per_item = self._prior
        speed = seconds / (fixed * count + per_item * sizes)
        for size in (1, 2 * sizes / count + 1):
            expected = speed * (fixed + per_item * size)
            count, sizes = count + PRIOR_WEIGHT, sizes + PRIOR_WEIGHT * size
            squares, seconds = squares + PRIOR_WEIGHT * size * size, seconds + PRIOR_WEIGHT * expected
            products += PRIOR_WEIGHT * size * expected
        slope = (count * products - sizes * seconds) / (count * squares - sizes * sizes)
        self.per_item = min(max(slope, 0.0), seconds / sizes)
        self.fixed = (seconds - self.per_item * sizes) / count


@dataclass(slots=True)
class PassCosts:
    """The cost of a decode step by its rows, and of a prefill pass by its tokens."""

    step: LinearCost
    prefill: LinearCost

    @classmethod
    def initial_guess(cls) -> PassCosts:
        """The costs of GPT-2 with 124M parameters in int8 on two cores. Measurements correct this guess."""
        return cls(LinearCost(0.008, 0.0016), LinearCost(0.01, 0.0011))
