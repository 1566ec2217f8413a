"""Search for the largest number of clients that passes: doubling until one fails, then bisection. Pure."""

from __future__ import annotations

MAX_CLIENTS = 16_384  # beyond it the load generator would limit the result
RESOLUTION = 0.05  # of the number: two equal runs differ as much


class MaxClientsSearch:
    """`next_attempt` is the number to try, and None when the search is over; call `record` with its result."""

    def __init__(self, first: int = 8) -> None:
        self.largest_passed = 0
        self.smallest_failed: int | None = None
        self._first = max(1, first)

    @property
    def next_attempt(self) -> int | None:
        if self.smallest_failed is None:
            is_largest = self.largest_passed >= MAX_CLIENTS
            return None if is_largest else min(MAX_CLIENTS, 2 * self.largest_passed or self._first)
        if self.smallest_failed - self.largest_passed <= max(1, RESOLUTION * self.largest_passed):
            return None
        return (self.largest_passed + self.smallest_failed) // 2

    def record(self, clients: int, has_passed: bool) -> None:
        if has_passed:
            self.largest_passed = max(self.largest_passed, clients)
        else:
            self.smallest_failed = clients if self.smallest_failed is None else min(self.smallest_failed, clients)


def step_down(clients: int) -> int:
    """Returns the next lower number to try, after a number failed in a longer run."""
    return min(clients - 1, round(clients * (1 - RESOLUTION)))
