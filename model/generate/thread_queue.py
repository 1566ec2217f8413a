"""What carries the pieces of an answer from the thread that makes them to the event loop that wants them.

Knows no model; who makes the pieces, and how many may lie here, is settled by whoever puts them on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from model.interface import TextChunk

QueueItem = TextChunk | BaseException | None  # None after the last; an error in place of what cannot be made


class ThreadToLoopQueue:
    """The pieces of one answer, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_consumed: Callable[[int], None]) -> None:
        """`taken` is told, in the event loop, of so many characters that are now done with."""
        self.loop = loop
        self._on_consumed = on_consumed
        self._items: asyncio.Queue[QueueItem] = asyncio.Queue()
        self._unconsumed_chars = 0

    def put(self, item: QueueItem) -> None:
        """From any thread; where the event loop is closed, no one is there to take it."""
        put_many([(self, item)])

    def put_in_loop(self, item: QueueItem) -> None:
        """The same in the event loop."""
        self._items.put_nowait(item)

    async def get(self) -> TextChunk | None:
        """The next piece, None after the last; the one before it is now done with."""
        done, self._unconsumed_chars = self._unconsumed_chars, 0
        if done:
            self._on_consumed(done)
        load = await self._items.get()
        if isinstance(load, BaseException):
            raise load.with_traceback(None)
        self._unconsumed_chars = len(load.text) if load else 0
        return load


def put_many(items: Iterable[tuple[ThreadToLoopQueue, QueueItem]]) -> list[ThreadToLoopQueue]:
    """From any thread: each event loop is woken once for all of its loads. The belts whose event loop is closed."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[ThreadToLoopQueue, QueueItem]]] = {}
    for belt, load in items:
        by_loop.setdefault(belt.loop, []).append((belt, load))
    lost: list[ThreadToLoopQueue] = []
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put_all_in_loop, theirs)
        except RuntimeError:
            lost += [belt for belt, _ in theirs]
    return lost


def _put_all_in_loop(items: list[tuple[ThreadToLoopQueue, QueueItem]]) -> None:
    for belt, load in items:
        belt.put_in_loop(load)
