"""How the head of an HTTP reply arrives: when it began, and how long it is. httpx2 reports only its end.

A server may send its head byte by byte, or interim replies (100 Continue) for ever. A hook lets each new connection
tell the bytes that it reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from model.errors import ServerLost

MAX_HEAD_BYTES = 1 << 18  # with all interim replies before it
START_BYTES = 5  # as many as "HTTP/" has


@dataclass(slots=True)
class ReplyHead:
    """How far a head has come; `begun_at` is the loop's time of its first byte."""

    begun_at: float | None = None
    size: int = 0
    start: bytes = b""  # the first bytes, which tell the protocol
    is_complete: bool = False

    def note_read(self, data: bytes) -> None:
        """Raises ServerLost for a head without end."""
        if data and not self.is_complete:
            self.begun_at = asyncio.get_running_loop().time() if self.begun_at is None else self.begun_at
            self.start = self.start or data[:START_BYTES]
            self.size += len(data)
            if self.size > MAX_HEAD_BYTES:
                raise ServerLost(f"the head of its reply has over {MAX_HEAD_BYTES:,} bytes: is it a model server?")


_current_head: ContextVar[ReplyHead | None] = ContextVar("reply_head", default=None)  # of this task's request


@contextmanager
def follow_head(head: ReplyHead) -> Iterator[None]:
    """Counts all that this task reads inside the block as this head; after the block it is complete."""
    token = _current_head.set(head)
    try:
        yield
    finally:
        head.is_complete = True
        _current_head.reset(token)


async def trace_connection(name: str, info: Mapping[str, Any]) -> None:
    """The trace hook of a request: wraps the stream of a new connection, so that its reads are counted."""
    if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
        stream = info["return_value"]
        stream.read = _count_reads(stream.read)


def _count_reads(read: Any) -> Any:
    async def read_and_count(*args: Any, **options: Any) -> Any:
        data = await read(*args, **options)
        if (head := _current_head.get()) is not None:
            head.note_read(data)
        return data

    return read_and_count
