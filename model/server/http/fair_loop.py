"""An event loop that serves a crowd a few at a time, so that what others wait for comes between them.

asyncio does all that lies ready in one round, and ten thousand requests that come at once are one round: seconds in
which nobody who prints is handed a word. What comes from other threads needs no event, and is in each round.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
from selectors import SelectorKey

SOCKETS_PER_TURN = 8  # sockets in a round


def new_fair_loop() -> asyncio.AbstractEventLoop:
    """For asyncio.Runner."""
    return asyncio.SelectorEventLoop(_FairSelector()) if hasattr(select, "epoll") else asyncio.new_event_loop()


class _FairSelector(selectors.EpollSelector):
    """Those that lie ready longest come first; the kernel keeps their order (epoll_wait(2), notes)."""

    def __init__(self) -> None:
        super().__init__()
        self._limited_epoll = select.epoll.fromfd(
            os.dup(self.fileno())
        )  # one number of two owners would be closed twice

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        wait = -1.0 if timeout is None else max(timeout, 0.0)
        try:
            ready = self._limited_epoll.poll(wait, SOCKETS_PER_TURN)
        except InterruptedError:
            return []
        sockets = self.get_map()
        found = []
        for socket, events in ready:
            key = sockets.get(socket)
            if key is not None:
                written = selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
                read = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
                found.append((key, (read | written) & key.events))
        return found

    def close(self) -> None:
        self._limited_epoll.close()
        super().close()
