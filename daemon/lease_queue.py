"""The queue of commands that want the machine between two lines of the operator: first come, first served.

The session grants the leases when the machine is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

POLL_INTERVAL_S = 0.5  # checks whether the operator has deleted a begun line


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

    async def wait_until_read(self, reading: asyncio.Future[str], has_partial_line: Callable[[], bool]) -> bool:
        """Waits until the operator's line is read; returns False if a caller waits and the operator has begun none.

        An operator who is typing ahead goes before callers.
        """
        if self._waiting:
            await asyncio.wait({reading}, timeout=POLL_INTERVAL_S)
        while not reading.done():
            if self._waiting and not has_partial_line():
                return False
            await self._wait_for_line_or_caller(reading)
        return True

    async def _wait_for_line_or_caller(self, reading: asyncio.Future[str]) -> None:
        if self._waiting:
            await asyncio.wait({reading}, timeout=POLL_INTERVAL_S)
            return
        requested = asyncio.ensure_future(self.requested.wait())
        try:
            either: set[asyncio.Future[Any]] = {reading, requested}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            requested.cancel()

    def _update_requested(self) -> None:
        if not self._waiting:
            self.requested.clear()
