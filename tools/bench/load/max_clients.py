"""The largest number that holds, where all below it do: doubled until one does not, then halved between. Pure."""

from __future__ import annotations

MAX_CLIENTS = 16_384  # beyond it the driver is what is measured
RESOLUTION = 0.05  # of the number: nearer than that, two runs of the same differ as much


class MaxClientsSearch:
    """`next` is to be tried, None when `held` is found; `told` says how it went."""

    def __init__(self, first: int = 8) -> None:
        self.largest_passed = 0  # the largest that held
        self.smallest_failed: int | None = None  # the smallest that did not
        self._first = max(1, first)

    @property
    def next_attempt(self) -> int | None:
        if self.smallest_failed is None:
            return (
                None if self.largest_passed >= MAX_CLIENTS else min(MAX_CLIENTS, 2 * self.largest_passed or self._first)
            )
        if self.smallest_failed - self.largest_passed <= max(1, RESOLUTION * self.largest_passed):
            return None
        return (self.largest_passed + self.smallest_failed) // 2

    def record(self, clients: int, has_passed: bool) -> None:
        if has_passed:
            self.largest_passed = max(self.largest_passed, clients)
        else:
            self.smallest_failed = clients if self.smallest_failed is None else min(self.smallest_failed, clients)


def step_down(clients: int) -> int:
    """What to try next where the number that was found did not hold for longer."""
    return min(clients - 1, round(clients * (1 - RESOLUTION)))
