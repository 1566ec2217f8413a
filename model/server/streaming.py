"""Waits for the chunks of all choices of a request, with keep-alives, until the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from model.interface import TextChunk
from model.server.refusals import CancelReason, StreamCancelled

IndexedChunk = tuple[int, TextChunk]  # the number of the choice, and its next chunk


class ClientStream:
    """The client of a request, until the answer ends. `cancel` ends the answer early."""

    def __init__(self, key_name: str) -> None:
        self.key_name = key_name
        self.token_count = 0
        self.answer_count = 1  # choices of the request
        self.cancelled: asyncio.Future[CancelReason] = asyncio.get_running_loop().create_future()

    def cancel(self, reason: CancelReason) -> None:
        if not self.cancelled.done():
            self.cancelled.set_result(reason)


async def cancel_on_disconnect(receive: Callable[[], Awaitable[Any]], client: ClientStream) -> None:
    """Waits until the client disconnects, and cancels its answer."""
    with suppress(Exception):  # Ray's proxy raises on a disconnect
        while (await receive())["type"] != "http.disconnect":
            pass
    client.cancel("gone")


async def with_keepalive(
    choices: Sequence[AsyncGenerator[TextChunk, None]],
    client: ClientStream,
    first_chunk_s: float | None,
    keepalive_s: float | None,
) -> AsyncGenerator[IndexedChunk | None, None]:
    """Yields the chunks of all choices as they come, and None after each `keepalive_s` without a chunk.

    Before the first chunk that time is `first_chunk_s`; None is no limit. Raises StreamCancelled, and the errors of
    the choices, which it closes at the end. It requests a chunk of a choice only when the caller has taken the choice's
    chunk before.
    """
    timeout = first_chunk_s
    pending: dict[asyncio.Future[TextChunk | None], int] = {}
    try:
        for index, choice in enumerate(choices):
            pending[asyncio.ensure_future(_next_chunk(choice))] = index
        while pending:
            ends: tuple[asyncio.Future[Any], ...] = (*pending, client.cancelled)
            done, _ = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if client.cancelled.done():
                raise StreamCancelled(client.cancelled.result())
            if not done:
                yield None
            timeout = keepalive_s
            for task in [task for task in pending if task in done]:
                index, chunk = pending.pop(task), task.result()
                if chunk is not None:
                    yield index, chunk
                    pending[asyncio.ensure_future(_next_chunk(choices[index]))] = index
    finally:
        for task in pending:
            task.cancel()  # all at once, so that none generates while another ends
        for task in pending:
            await _cancel_and_wait(task)
        for choice in choices:
            await choice.aclose()


async def until_disconnect(work: asyncio.Future[int], client: ClientStream) -> int:
    """Returns the result of the work. If the client goes first, cancels the work and raises StreamCancelled."""
    try:
        await asyncio.wait((work, client.cancelled), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise StreamCancelled(client.cancelled.result())
        return work.result()
    finally:
        await _cancel_and_wait(work)


async def _next_chunk(choice: AsyncGenerator[TextChunk, None]) -> TextChunk | None:
    return await anext(choice, None)


async def _cancel_and_wait(work: asyncio.Future[Any]) -> None:
    """Cancels the work and retrieves its exception; asyncio would log it otherwise."""
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        with suppress(BaseException):
            work.exception()
