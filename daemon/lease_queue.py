"""Who may have the machine between two lines of the operator's: commands like `asr33 print`, first come first served.

Knows who waits. Prints nothing, and does not know when the machine is free: its owner says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Lease:
    """One borrower: `granted` is set when it is his turn."""

    def __init__(self) -> None:
        self.granted = asyncio.Event()
        self.returned = asyncio.Event()


class LeaseQueue:
    """Those who wait, and `asked`, which is set while there are any."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._waiting: deque[Lease] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def request_lease(self) -> Iterator[Lease]:
        """A place in the queue, and then the machine, until the block is left."""
        loan = Lease()
        self._waiting.append(loan)
        self.requested.set()
        try:
            yield loan
        finally:
            if loan in self._waiting:
                self._waiting.remove(loan)
            self._update_requested()
            loan.returned.set()

    async def grant_next(self) -> None:
        """The first in the queue has the machine; back when he has returned it."""
        loan = self._waiting.popleft()
        self._update_requested()
        loan.granted.set()
        await loan.returned.wait()

    def _update_requested(self) -> None:
        if not self._waiting:
            self.requested.clear()
