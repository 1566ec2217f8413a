"""A way between a client and a server that does what networks do: it breaks, stalls, holds back, on purpose."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

TOKENS = re.compile(rb'"tokens":\[\d')
EVENT = b"\n\n"


class ConnectionCut(Exception):
    """The connection is to be reset."""


@dataclass
class ProxiedConnection:
    """One connection: what comes down it; `count` is of bytes since the last POST, `post` how many there were."""

    writer: asyncio.StreamWriter
    post_number: int = 0
    bytes_sent: int = 0

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault = Callable[
    [ProxiedConnection, bytes], Awaitable[None]
]  # what becomes of bytes on their way down; empty at their end


async def pass_through(way: ProxiedConnection, data: bytes) -> None:
    await way.write(data)


@dataclass
class FaultyProxy:
    """Use it as a context. `fault` is what it does to whatever comes down for a POST; all else goes through."""

    target: int
    fault: Fault = pass_through
    port: int = 0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: nothing goes either way
    posts: int = 0
    max_bytes: int = 0  # bytes that came down for one POST
    cuts: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FaultyProxy:
        self.is_open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.sleep(0)  # what was let in a moment ago has begun, and can be ended
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        way = ProxiedConnection(writer)
        try:
            await self.is_open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            both = [
                asyncio.ensure_future(self._up(way, reader, far_writer)),
                asyncio.ensure_future(self._down(way, far_reader)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                far_writer.close()  # before anything that can be cancelled
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _up(self, way: ProxiedConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.is_open.wait()
            if data.startswith(b"POST"):
                self.posts += 1
                way.post_number, way.bytes_sent = self.posts, 0
            writer.write(data)
            await writer.drain()

    async def _down(self, way: ProxiedConnection, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionCut):
            while True:
                data = await reader.read(65536)
                await self.is_open.wait()
                await (self.fault if way.post_number else pass_through)(way, data)
                way.bytes_sent += len(data)
                self.max_bytes = max(self.max_bytes, way.bytes_sent)
                if not data:
                    return
        self.cuts += 1
        way.reset()


def cut_at_token(number: int, action: Callable[[], Awaitable[None]], pattern: re.Pattern[bytes] = TOKENS) -> Fault:
    """So many tokens, or events in which that stands, go through, then that happens, once, and no more of them."""
    seen, done = 0, False

    async def fault(way: ProxiedConnection, data: bytes) -> None:
        nonlocal seen, done
        for event in data.split(EVENT):
            if pattern.search(event) and not done:
                seen += 1
                if seen > number:
                    done = True
                    await way.write(data[: data.index(event)])
                    await action()
                    raise ConnectionCut
        await way.write(data)

    return fault


def cut_at_byte(number: int) -> Fault:
    """So many bytes go through, then it is reset."""

    async def fault(way: ProxiedConnection, data: bytes) -> None:
        if way.post_number == 1 and way.bytes_sent + len(data) > number:
            await way.write(data[: number - way.bytes_sent])
            raise ConnectionCut
        await way.write(data)

    return fault


def buffer_until(max_bytes: int) -> Fault:
    """Nothing of a stream goes through before it is so many bytes, or its end has come."""
    held = bytearray()

    async def fault(way: ProxiedConnection, data: bytes) -> None:
        if not held and b"event-stream" not in data:
            await way.write(data)
            return
        held.extend(data)
        if len(held) >= max_bytes or held.endswith(b"0\r\n\r\n") or not data:
            out = bytes(held)
            held.clear()
            await way.write(out)

    return fault
