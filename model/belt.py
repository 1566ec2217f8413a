"""What carries the pieces of an answer from the thread that makes them to the event loop that wants them.

Knows no model; who makes the pieces, and how many may lie here, is settled by whoever puts them on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from model.base import Piece

Load = Piece | BaseException | None  # None after the last; an error in place of what cannot be made


class Belt:
    """The pieces of one answer, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, taken: Callable[[int], None]) -> None:
        """`taken` is told, in the event loop, of so many characters that are now done with."""
        self.loop = loop
        self._taken = taken
        self._load: asyncio.Queue[Load] = asyncio.Queue()
        self._in_hand = 0

    def put(self, load: Load) -> None:
        """From any thread; where the event loop is closed, no one is there to take it."""
        post([(self, load)])

    def drop(self, load: Load) -> None:
        """The same in the event loop."""
        self._load.put_nowait(load)

    async def take(self) -> Piece | None:
        """The next piece, None after the last; the one before it is now done with."""
        done, self._in_hand = self._in_hand, 0
        if done:
            self._taken(done)
        load = await self._load.get()
        if isinstance(load, BaseException):
            raise load.with_traceback(None)
        self._in_hand = len(load.text) if load else 0
        return load


def post(loads: Iterable[tuple[Belt, Load]]) -> list[Belt]:
    """From any thread: each event loop is woken once for all of its loads. The belts whose event loop is closed."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Belt, Load]]] = {}
    for belt, load in loads:
        by_loop.setdefault(belt.loop, []).append((belt, load))
    lost: list[Belt] = []
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_drop, theirs)
        except RuntimeError:
            lost += [belt for belt, _ in theirs]
    return lost


def _drop(loads: list[tuple[Belt, Load]]) -> None:
    for belt, load in loads:
        belt.drop(load)
