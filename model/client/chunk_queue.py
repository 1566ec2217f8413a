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
            await self._has_items.wait()
        chunk = self._chunks.popleft()
        self._waiting_chars -= len(chunk.text)
        self._has_room.set()
        return chunk

    async def wait_for_room(self, max_chars: int) -> None:
        """Returns when at most `max_chars` characters wait."""
        while self._waiting_chars > max_chars:
            self._has_room.clear()
            await self._has_room.wait()
