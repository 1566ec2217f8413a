"""Merges the chunks of several choices, and waits for them with keep-alives until the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from model.interface import TextChunk
from model.server.refusals import CancelReason, StreamCancelled

IndexedChunk = tuple[int, TextChunk]  # the number of the choice, and its next chunk

T = TypeVar("T")


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


async def merge_choices(choices: Sequence[AsyncGenerator[TextChunk, None]]) -> AsyncGenerator[IndexedChunk, None]:
    """Yields the chunks of all choices as they come. Raises the errors of the choices, which it closes at the end.

    It requests a chunk of a choice only when the caller has taken the choice's chunk before.
    """
    pending: dict[asyncio.Future[TextChunk | None], int] = {}
    try:
        if len(choices) == 1:  # without a task for each chunk
            async for chunk in choices[0]:
                yield 0, chunk
            return
        for index, choice in enumerate(choices):
            pending[asyncio.ensure_future(_next_item(choice))] = index
        while pending:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=pending.__getitem__):
                index, next_chunk = pending.pop(task), task.result()
                if next_chunk is not None:
                    yield index, next_chunk
                    pending[asyncio.ensure_future(_next_item(choices[index]))] = index
    finally:
        for task in pending:
            task.cancel()
        for task in pending:
            await _cancel_and_wait(task)
        for choice in choices:
            await choice.aclose()


async def with_keepalive(
    items: AsyncGenerator[T, None], client: ClientStream, first_item_s: float, keepalive_s: float
) -> AsyncGenerator[T | None, None]:
    """Yields the items, and None after each `keepalive_s` without an item (`first_item_s` before the first).

    Raises StreamCancelled, and the errors of `items`, which it closes at the end. It requests an item only when the
    caller has taken the item before.
    """
    timeout = first_item_s
    next_item: asyncio.Future[T | None] | None = None
    try:
        while True:
            next_item = asyncio.ensure_future(_next_item(items))
            while not next_item.done():
                ends: tuple[asyncio.Future[Any], ...] = (next_item, client.cancelled)
                await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if client.cancelled.done():
                    raise StreamCancelled(client.cancelled.result())
                if not next_item.done():
                    yield None
                timeout = keepalive_s
            item = next_item.result()
            if item is None:
                return
            yield item
    finally:
        if next_item is not None:
            await _cancel_and_wait(next_item)
        await items.aclose()


async def until_disconnect(work: asyncio.Future[int], client: ClientStream) -> int:
    """Returns the result of the work. If the client goes first, cancels the work and raises StreamCancelled."""
    try:
        await asyncio.wait((work, client.cancelled), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise StreamCancelled(client.cancelled.result())
        return work.result()
    finally:
        await _cancel_and_wait(work)


async def _next_item(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


async def _cancel_and_wait(work: asyncio.Future[Any]) -> None:
    """Cancels the work and retrieves its exception; asyncio would log it otherwise."""
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        with suppress(BaseException):
            work.exception()
