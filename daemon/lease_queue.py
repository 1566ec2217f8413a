"""The queue of commands that want the machine between two lines of the operator: first come, first served.

The session grants the leases when the machine is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Lease:
    """The exclusive use of the machine by one caller: `granted` is set when its turn comes."""

    def __init__(self) -> None:
        self.granted = asyncio.Event()
        self.returned = asyncio.Event()


class LeaseQueue:
    """The waiting callers. `requested` is set while there are any."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._waiting: deque[Lease] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def request_lease(self) -> Iterator[Lease]:
        """Queues a lease; leaving the block returns it, or withdraws it from the queue."""
        lease = Lease()
        self._waiting.append(lease)
        self.requested.set()
        try:
            yield lease
        finally:
            if lease in self._waiting:
                self._waiting.remove(lease)
            self._update_requested()
            lease.returned.set()

    async def grant_next(self) -> None:
        """Grants the first lease of the queue and waits until it is returned."""
        lease = self._waiting.popleft()
        self._update_requested()
        lease.granted.set()
        await lease.returned.wait()

    def _update_requested(self) -> None:
        if not self._waiting:
            self.requested.clear()
