"""What lies ready of an answer between whoever makes it and whoever prints it, in one event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from model.base import Piece


class Tray:
    """Holds what was made and not yet taken; a piece is done with when the next is asked for."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._waiting = 0  # characters
        self._ended = False
        self._put, self._taken = asyncio.Event(), asyncio.Event()

    def put(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._waiting += len(piece.text)
        self._put.set()

    def end(self) -> None:
        self._ended = True
        self._put.set()

    async def take(self) -> Piece | None:
        """The next piece; None after the last."""
        while not self._pieces:
            if self._ended:
                return None
            self._put.clear()
            await self._put.wait()
        piece = self._pieces.popleft()
        self._waiting -= len(piece.text)
        self._taken.set()
        return piece

    async def room(self, ahead: int) -> None:
        """Wait until no more than so many characters lie there."""
        while self._waiting > ahead:
            self._taken.clear()
            await self._taken.wait()
