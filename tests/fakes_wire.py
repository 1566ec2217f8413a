"""The far ends of a line: a pty's other side, a serial server's port, and an ear for what comes up the wire."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from fakes import spin_loop

from drivers.events import HangUp, LineInput
from drivers.line.line import Line

HELD = 4095  # bytes that a pty keeps for whoever reads it, of Linux's 4096; what comes then waits on the way


class FarEnd:
    """A pty whose near end is a line; this is its other end."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(slave)
        self.slave: int | None = slave

    def fill(self) -> None:
        """As many bytes as a pty holds, about 20,000, so that a line has to wait."""
        assert self.slave is not None
        os.set_blocking(self.slave, False)
        # The kernel moves what it has taken on to the far end in its own time, and then there is room again.
        refused = 0
        while refused < 3:
            try:
                os.write(self.slave, b"A" * 1000)
                refused = 0
            except BlockingIOError:
                refused = refused + 1 if self._holds() >= HELD else 0
                time.sleep(0.005)

    def _holds(self) -> int:
        return int.from_bytes(fcntl.ioctl(self.master, termios.FIONREAD, bytes(4)), sys.byteorder)

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        for fd in (self.master, self.slave):
            if fd is not None and fd >= 0:
                os.close(fd)


@contextmanager
def far_end() -> Iterator[FarEnd]:
    end = FarEnd()
    try:
        yield end
    finally:
        end.close()


class LineRecorder:
    """All that was heard, and a way to wait for so and so much of it."""

    def __init__(self, line: Line) -> None:
        self.heard: list[LineInput] = []
        self._more = asyncio.Event()
        line.listen(self._listen)

    def _listen(self, heard: LineInput) -> None:
        self.heard.append(heard)
        self._more.set()

    async def first(self, count: int) -> list[LineInput]:
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard

    async def hang_up(self) -> None:
        while not any(isinstance(heard, HangUp) for heard in self.heard):
            await self.first(len(self.heard) + 1)


async def read_from(end: FarEnd, count: int) -> bytes:
    data = b""
    async with asyncio.timeout(30):
        while len(data) < count:
            try:
                data += os.read(end.master, count - len(data))
            except BlockingIOError:
                await asyncio.sleep(0.002)
    return data


class FakeSerialServer:
    """A serial server that serves one: `async with` it, and open `url`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    async def __aenter__(self) -> Self:
        self._accepted = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(lambda *ends: self._accepted.set_result(ends), self._host, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"socket://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"
        return self

    async def accepted(self) -> None:
        self.reader, self._writer = await asyncio.wait_for(self._accepted, 30)

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    def finish(self) -> None:
        """FIN: no more comes from here, though more would be taken."""
        self._writer.write_eof()

    def reset(self) -> None:
        """RST: what a server that has crashed answers with."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def __aexit__(self, *error: object) -> None:
        await spin_loop()  # whoever connected and left at once is still on the way in
        self._server.close()
        if self._accepted.done():
            writer = self._accepted.result()[1]
            writer.transport.abort()
            await asyncio.sleep(0)
        await self._server.wait_closed()
