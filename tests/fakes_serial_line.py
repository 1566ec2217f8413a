"""Far ends of a line: the other side of a pty and a serial server; and a recorder of the line's input."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from fakes_flaky_network import reset_connection
from fakes_teletype import spin_loop

from drivers.line.line import Line, open_tty
from drivers.line.line_input import HangUp, LineInput, ParmrkDecoder
from drivers.line.line_transport import LineTransport

PTY_BUFFER_BYTES = 4095  # that a pty of Linux keeps for its reader; the kernel keeps further bytes elsewhere


class FarEnd:
    """The far end of a pty whose near end is a line."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(slave)
        self.slave: int | None = slave

    def fill(self) -> None:
        """Writes as many bytes as a pty holds, about 20,000, so that a line has to wait."""
        assert self.slave is not None
        os.set_blocking(self.slave, False)
        # The kernel passes the bytes on to the far end with a delay; then there is room again.
        refused = 0
        while refused < 3:
            try:
                os.write(self.slave, b"A" * 1000)
                refused = 0
            except BlockingIOError:
                refused = refused + 1 if self._buffered_bytes() >= PTY_BUFFER_BYTES else 0
                time.sleep(0.005)

    def _buffered_bytes(self) -> int:
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


async def open_pty_as_tty(path: str, *, parmrk: bool = True) -> LineTransport:
    """Opens a pty as if it were a real tty, which it resembles in all but its speed."""
    line = LineTransport(path, "tty", ParmrkDecoder())
    await open_tty(line, path, parmrk=parmrk)
    return line


class LineRecorder:
    """Records all input of a line."""

    def __init__(self, line: Line) -> None:
        self.inputs: list[LineInput] = []
        self._more = asyncio.Event()
        line.listen(self._listen)

    def _listen(self, line_input: LineInput) -> None:
        self.inputs.append(line_input)
        self._more.set()

    async def wait_for_inputs(self, count: int) -> list[LineInput]:
        async with asyncio.timeout(30):
            while len(self.inputs) < count:
                self._more.clear()
                await self._more.wait()
        return self.inputs

    async def wait_for_hang_up(self) -> None:
        while not any(isinstance(line_input, HangUp) for line_input in self.inputs):
            await self.wait_for_inputs(len(self.inputs) + 1)


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
    """A serial server for one connection: `async with` it, and open `url`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    async def __aenter__(self) -> Self:
        self._accepted = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(lambda *ends: self._accepted.set_result(ends), self._host, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"socket://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"
        return self

    async def wait_accepted(self) -> None:
        self.reader, self._writer = await asyncio.wait_for(self._accepted, 30)

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def send_eof(self) -> None:
        """Sends FIN: the server sends no more data, but still receives."""
        self._writer.write_eof()

    def reset(self) -> None:
        reset_connection(self._writer)

    async def __aexit__(self, *error: object) -> None:
        await spin_loop()  # accepts a client that left at once
        self._server.close()
        if self._accepted.done():
            self._accepted.result()[1].transport.abort()
            await asyncio.sleep(0)
        await self._server.wait_closed()
