"""The pieces of an answer, handed to whoever asked until he is gone: with a word while none comes.

Knows when to stop taking, and closes what it takes from; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Literal

from model.interface import TextChunk

CancelReason = Literal["gone", "down"]


class StreamCancelled(Exception):
    """The answer does not go on: its reader is gone, or the server goes down."""

    def __init__(self, reason: CancelReason) -> None:
        super().__init__(reason)
        self.reason = reason


class ClientStream:
    """One reader, from the request to the end of the answer; `cut` ends it from outside."""

    def __init__(self, key_name: str) -> None:
        self.key_name = key_name
        self.token_count = 0
        self.cancelled: asyncio.Future[CancelReason] = asyncio.get_running_loop().create_future()

    def cancel(self, reason: CancelReason) -> None:
        if not self.cancelled.done():
            self.cancelled.set_result(reason)


async def with_keepalive(
    chunks: AsyncGenerator[TextChunk, None], client: ClientStream, first_chunk_s: float, keepalive_s: float
) -> AsyncGenerator[TextChunk | None, None]:
    """The pieces, and None for each `ping_s` without one (`first_s` before the first). Raises Cut, and what they raise.

    However it ends, the pieces are closed before it does. Where a piece is not taken, no other is asked for.
    """
    patience = first_chunk_s
    coming: asyncio.Future[TextChunk | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(_next_chunk(chunks))
            while not coming.done():
                await asyncio.wait((coming, client.cancelled), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if client.cancelled.done():
                    raise StreamCancelled(client.cancelled.result())
                if not coming.done():
                    yield None
                patience = keepalive_s
            piece = coming.result()
            if piece is None:
                return
            client.token_count += len(piece.tokens)
            yield piece
    finally:
        if coming is not None:
            await _cancel_and_wait(coming)
        await chunks.aclose()


async def until_disconnect(work: asyncio.Future[int], client: ClientStream) -> int:
    """What comes of the work, which is cancelled where nobody waits for it. Raises Cut, and what it raises."""
    try:
        await asyncio.wait((work, client.cancelled), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise StreamCancelled(client.cancelled.result())
        return work.result()
    finally:
        await _cancel_and_wait(work)


async def _next_chunk(chunks: AsyncGenerator[TextChunk, None]) -> TextChunk | None:
    return await anext(chunks, None)


async def _cancel_and_wait(work: asyncio.Future[TextChunk | None] | asyncio.Future[int]) -> None:
    """Ended, and whatever came of it known, so that nobody complains that it was not asked for."""
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        with suppress(BaseException):
            work.exception()
