"""What a pass of so many rows takes, as a straight line through what was measured lately. Pure; the time is told it.

Knows no rows and no engine: only sizes, and how long they took.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

DECAY = 0.98  # of a measurement's weight, after the next: some fifty count, so that a machine may change its mind
OUTLIER_FACTOR = 4.0  # times what was expected: a machine that slept, not a pass that grew
MAX_ITEMS = 1 << 20
PRIOR_WEIGHT = (
    0.02  # the weight of the guess, beside that of one measurement: its slope holds where all sizes are alike
)


@dataclass(slots=True)
class LinearCost:
    """Seconds for a pass of n: `fixed`, and `each` for one more."""

    fixed: float
    per_item: float
    _prior: tuple[float, float] = (0.0, 0.0)
    _sums: list[float] = field(default_factory=lambda: [0.0] * 5)  # of 1, n, n n, seconds, n seconds

    def __post_init__(self) -> None:
        self._prior = (self.fixed, self.per_item)

    def seconds_for(self, size: int) -> float:
        return self.fixed + self.per_item * size

    def max_items_in(self, seconds: float) -> int:
        """How many can be had in that time; one at least."""
        return max(1, int(min((seconds - self.fixed) / self.per_item, MAX_ITEMS))) if self.per_item else MAX_ITEMS

    @property
    def items_per_pass_overhead(self) -> float:
        """How many more cost as much as another pass."""
        return self.fixed / self.per_item if self.per_item else inf

    def add_measurement(self, size: int, seconds: float) -> None:
        """A pass of this size took so long."""
        if self._sums[0] > 1:
            seconds = min(seconds, OUTLIER_FACTOR * self.seconds_for(size))
        new = (1.0, size, size * size, seconds, size * seconds)
        self._sums = [DECAY * old + one for old, one in zip(self._sums, new, strict=True)]
        self._fit(size)

    def _fit(self, size: int) -> None:
        """Least squares, held together by the guess, which is made as fast as the machine has shown itself."""
        count, sizes, squares, seconds, products = self._sums
        fixed, each = self._prior
        speed = seconds / (fixed * count + each * sizes)
        for at in (1, 2 * sizes / count + 1):
            guessed = speed * (fixed + each * at)
            count, sizes, squares = count + PRIOR_WEIGHT, sizes + PRIOR_WEIGHT * at, squares + PRIOR_WEIGHT * at * at
            seconds, products = seconds + PRIOR_WEIGHT * guessed, products + PRIOR_WEIGHT * at * guessed
        slope = (count * products - sizes * seconds) / (count * squares - sizes * sizes)
        self.per_item = min(max(slope, 0.0), seconds / sizes)
        self.fixed = (seconds - self.per_item * sizes) / count
