"""A queue of text chunks with a limit in characters, inside one event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from model.interface import TextChunk


class ChunkQueue:
    """One task puts chunks, another gets them."""

    def __init__(self) -> None:
        self._chunks: deque[TextChunk] = deque()
        self._waiting_chars = 0
        self._is_closed = False
        self._waited_s = 0.0
        self._waiting_since: float | None = None
        self._has_items, self._has_room = asyncio.Event(), asyncio.Event()

    def put(self, chunk: TextChunk) -> None:
        self._chunks.append(chunk)
        self._waiting_chars += len(chunk.text)
        self._has_items.set()

    def close(self) -> None:
        self._is_closed = True
        self._has_items.set()

    async def get(self) -> TextChunk | None:
        """Returns the next chunk, or None after the last."""
        while not self._chunks:
            if self._is_closed:
                return None
            self._has_items.clear()
            await self._wait_for_items()
        chunk = self._chunks.popleft()
        self._waiting_chars -= len(chunk.text)
        self._has_room.set()
        return chunk

    def waited_s(self) -> float:
        """Returns the seconds that the reader has waited for chunks, in all."""
        waiting_s = 0.0 if self._waiting_since is None else _now() - self._waiting_since
        return self._waited_s + waiting_s

    async def _wait_for_items(self) -> None:
        self._waiting_since = _now()
        try:
            await self._has_items.wait()
        finally:
            self._waited_s, self._waiting_since = self.waited_s(), None

    async def wait_for_room(self, max_chars: int) -> None:
        """Returns when at most `max_chars` characters wait."""
        while self._waiting_chars > max_chars:
            self._has_room.clear()
            await self._has_room.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
