"""Queues of text chunks, from the thread that generates them to the event loop that reads them. Knows no model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

from model.interface import TextChunk

QueueItem = TextChunk | BaseException | None  # None follows the last chunk; an error takes the place of a chunk


class ThreadToLoopQueue:
    """The chunks of one answer, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_consumed: Callable[[int], None]) -> None:
        """`on_consumed` receives, in the event loop, the number of characters that the reader has finished with."""
        self.loop = loop
        self._on_consumed = on_consumed
        self._items: asyncio.Queue[QueueItem] = asyncio.Queue()
        self._unconsumed_chars = 0

    def put(self, item: QueueItem) -> None:
        """Appends from any thread; drops the item if the event loop is closed."""
        put_many([(self, item)])

    async def get(self) -> TextChunk | None:
        """The next chunk, None after the last; the chunk before it counts as consumed. Raises the error of an item."""
        consumed, self._unconsumed_chars = self._unconsumed_chars, 0
        if consumed:
            self._on_consumed(consumed)
        item = await self._items.get()
        if isinstance(item, BaseException):
            raise item.with_traceback(None)
        self._unconsumed_chars = len(item.text) if item else 0
        return item


class PacedQueue(ThreadToLoopQueue):
    """A queue that makes the generating thread wait while it has enough characters."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lookahead_chars: int) -> None:
        super().__init__(loop, self._release_chars)
        self._lookahead_chars = lookahead_chars
        self._condition = threading.Condition()
        self._waiting_chars = 0  # put and not yet consumed
        self._is_stopped = False

    def wait_for_room(self, max_token_bytes: int) -> bool:
        """Waits, in the thread, until a token of this many bytes fits; False if the reader has left."""
        limit = self._lookahead_chars - min(max_token_bytes, self._lookahead_chars // 2)
        with self._condition:
            self._condition.wait_for(lambda: self._is_stopped or self._waiting_chars <= limit)
            return not self._is_stopped

    def put_chunk(self, chunk: TextChunk) -> None:
        with self._condition:
            self._waiting_chars += len(chunk.text)
        self.put(chunk)

    def stop(self) -> None:
        """Ends the wait of the thread: the reader leaves."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def _release_chars(self, characters: int) -> None:
        with self._condition:
            self._waiting_chars -= characters
            self._condition.notify()


def put_many(items: Iterable[tuple[ThreadToLoopQueue, QueueItem]]) -> list[ThreadToLoopQueue]:
    """Appends from any thread, waking each event loop once; returns the queues whose event loop is closed."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[ThreadToLoopQueue, QueueItem]]] = {}
    for queue, item in items:
        by_loop.setdefault(queue.loop, []).append((queue, item))
    closed: list[ThreadToLoopQueue] = []
    for loop, loop_items in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put_all_in_loop, loop_items)
        except RuntimeError:
            closed += [queue for queue, _ in loop_items]
    return closed


def _put_all_in_loop(items: list[tuple[ThreadToLoopQueue, QueueItem]]) -> None:
    for queue, item in items:
        queue._items.put_nowait(item)
