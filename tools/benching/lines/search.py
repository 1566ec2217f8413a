"""The largest number that holds, where all below it do: doubled until one does not, then halved between. Pure."""

from __future__ import annotations

MOST = 16_384  # beyond it the driver is what is measured
FINE = 0.05  # of the number: nearer than that, two runs of the same differ as much


class Search:
    """`next` is to be tried, None when `held` is found; `told` says how it went."""

    def __init__(self, first: int = 8) -> None:
        self.held = 0  # the largest that held
        self.broke: int | None = None  # the smallest that did not
        self._first = max(1, first)

    @property
    def next(self) -> int | None:
        if self.broke is None:
            return None if self.held >= MOST else min(MOST, 2 * self.held or self._first)
        if self.broke - self.held <= max(1, FINE * self.held):
            return None
        return (self.held + self.broke) // 2

    def told(self, number: int, held: bool) -> None:
        if held:
            self.held = max(self.held, number)
        else:
            self.broke = number if self.broke is None else min(self.broke, number)


def fewer(number: int) -> int:
    """What to try next where the number that was found did not hold for longer."""
    return min(number - 1, round(number * (1 - FINE)))
