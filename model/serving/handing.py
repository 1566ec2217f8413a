"""The pieces of an answer, handed to whoever asked until he is gone: with a word while none comes.

Knows when to stop taking, and closes what it takes from; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Literal

from model.base import Piece

Why = Literal["gone", "down"]


class Cut(Exception):
    """The answer does not go on: its reader is gone, or the server goes down."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class Line:
    """One reader, from the request to the end of the answer; `cut` ends it from outside."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.tokens = 0
        self.end: asyncio.Future[Why] = asyncio.get_running_loop().create_future()

    def cut(self, why: Why) -> None:
        if not self.end.done():
            self.end.set_result(why)


async def handed(
    pieces: AsyncGenerator[Piece, None], line: Line, first_s: float, ping_s: float
) -> AsyncGenerator[Piece | None, None]:
    """The pieces, and None for each `ping_s` without one (`first_s` before the first). Raises Cut, and what they raise.

    However it ends, the pieces are closed before it does. Where a piece is not taken, no other is asked for.
    """
    patience = first_s
    coming: asyncio.Future[Piece | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next(pieces))
            while not coming.done():
                await asyncio.wait((coming, line.end), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if line.end.done():
                    raise Cut(line.end.result())
                if not coming.done():
                    yield None
                patience = ping_s
            piece = coming.result()
            if piece is None:
                return
            line.tokens += len(piece.tokens)
            yield piece
    finally:
        if coming is not None:
            await _put_down(coming)
        await pieces.aclose()


async def in_time(work: asyncio.Future[int], line: Line) -> int:
    """What comes of the work, which is cancelled where nobody waits for it. Raises Cut, and what it raises."""
    try:
        await asyncio.wait((work, line.end), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cut(line.end.result())
        return work.result()
    finally:
        await _put_down(work)


async def _next(pieces: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(pieces, None)


async def _put_down(work: asyncio.Future[Piece | None] | asyncio.Future[int]) -> None:
    """Ended, and whatever came of it known, so that nobody complains that it was not asked for."""
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        with suppress(BaseException):
            work.exception()
