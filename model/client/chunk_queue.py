"""What lies ready of an answer between whoever makes it and whoever prints it, in one event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from model.interface import TextChunk


class ChunkQueue:
    """Holds what was made and not yet taken; a piece is done with when the next is asked for."""

    def __init__(self) -> None:
        self._chunks: deque[TextChunk] = deque()
        self._waiting_chars = 0  # characters
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
        """The next piece; None after the last."""
        while not self._chunks:
            if self._is_closed:
                return None
            self._has_items.clear()
            await self._has_items.wait()
        piece = self._chunks.popleft()
        self._waiting_chars -= len(piece.text)
        self._has_room.set()
        return piece

    async def wait_for_room(self, max_chars: int) -> None:
        """Wait until no more than so many characters lie there."""
        while self._waiting_chars > max_chars:
            self._has_room.clear()
            await self._has_room.wait()
