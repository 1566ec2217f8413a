"""A proxy between client and server that has the faults of a network: it cuts, stalls and buffers replies."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

TOKENS = re.compile(rb'"tokens":\[\d')
EVENT_END = b"\n\n"


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST, as a crashed computer does."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ConnectionCut(Exception):
    """Raised by a fault: the proxy must reset the connection."""


@dataclass
class ProxiedConnection:
    """A connection to a client.

    `bytes_sent` counts from the last POST; `post_number` is the number of this POST among all of the proxy.
    """

    writer: asyncio.StreamWriter
    post_number: int = 0
    bytes_sent: int = 0

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


# Receives the bytes of the server, b"" at their end, and decides what the client receives.
Fault = Callable[[ProxiedConnection, bytes], Awaitable[None]]


async def pass_through(connection: ProxiedConnection, data: bytes) -> None:
    await connection.write(data)


@dataclass
class FaultyProxy:
    """`fault` applies to the replies to POSTs; other replies pass. `async with` runs the proxy."""

    target: int
    fault: Fault = pass_through
    port: int = 0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: no byte passes
    posts: int = 0
    max_bytes: int = 0  # of the longest reply to a POST
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
        await asyncio.sleep(0)  # so that a connection accepted just now has a task to cancel
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = ProxiedConnection(writer)
        try:
            await self.is_open.wait()
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            directions = [
                asyncio.ensure_future(self._pass_requests(connection, reader, server_writer)),
                asyncio.ensure_future(self._pass_replies(connection, server_reader)),
            ]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                server_writer.close()  # first, as a cancellation may end the next lines
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_requests(
        self, connection: ProxiedConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            await self.is_open.wait()
            if data.startswith(b"POST"):
                self.posts += 1
                connection.post_number, connection.bytes_sent = self.posts, 0
            writer.write(data)
            await writer.drain()

    async def _pass_replies(self, connection: ProxiedConnection, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionCut):
            while True:
                data = await reader.read(65536)
                await self.is_open.wait()
                await (self.fault if connection.post_number else pass_through)(connection, data)
                connection.bytes_sent += len(data)
                self.max_bytes = max(self.max_bytes, connection.bytes_sent)
                if not data:
                    return
        self.cuts += 1
        reset_connection(connection.writer)


def cut_at_token(number: int, action: Callable[[], Awaitable[None]], pattern: re.Pattern[bytes] = TOKENS) -> Fault:
    """Passes `number` events that match the pattern, then runs the action and cuts the connection, once."""
    events, is_done = 0, False

    async def fault(connection: ProxiedConnection, data: bytes) -> None:
        nonlocal events, is_done
        for event in data.split(EVENT_END):
            if pattern.search(event) and not is_done:
                events += 1
                if events > number:
                    is_done = True
                    await connection.write(data[: data.index(event)])
                    await action()
                    raise ConnectionCut
        await connection.write(data)

    return fault


def cut_at_byte(number: int) -> Fault:
    """Passes `number` bytes of the reply to the first POST, then cuts the connection."""

    async def fault(connection: ProxiedConnection, data: bytes) -> None:
        if connection.post_number == 1 and connection.bytes_sent + len(data) > number:
            await connection.write(data[: number - connection.bytes_sent])
            raise ConnectionCut
        await connection.write(data)

    return fault


def buffer_until(max_bytes: int) -> Fault:
    """Holds a stream back until `max_bytes` have come, or its end."""
    buffer = bytearray()

    async def fault(connection: ProxiedConnection, data: bytes) -> None:
        if not buffer and b"event-stream" not in data:
            await connection.write(data)
            return
        buffer.extend(data)
        if len(buffer) >= max_bytes or buffer.endswith(b"0\r\n\r\n") or not data:
            block = bytes(buffer)
            buffer.clear()
            await connection.write(block)

    return fault
