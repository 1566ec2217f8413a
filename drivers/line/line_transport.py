"""An open port as the event loop sees it: bytes out, and what is heard. `drivers.line.line` opens it.

Knows its transport, be it pyserial's or a socket's, and counts. No names of ports, no characters, no pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from drivers.errors import LineLost
from drivers.events import Break, Byte, FramingError, HangUp, LineInput, ParmrkDecoder
from drivers.line.port_names import PortKind

_DRAIN_TIMEOUT_S = 1.0  # two characters take 0.2 s; whoever is slower has stopped reading
_POLL_S = 0.02
_SIOCOUTQNSD = 0x894B  # bytes that TCP has not yet sent - linux/sockios.h
_CURES = {
    "tty": "see that the cable is in and the far end runs",
    "pty": "see that the cable is in and the far end runs",
    "socket": "see that the serial server and the network run",
}


@dataclass(slots=True)
class LineCounters:
    """What has gone over one wire since it was opened."""

    sent: int = 0
    received: int = 0  # characters, the damaged ones among them
    breaks: int = 0
    framing_errors: int = 0
    hang_ups: int = 0


class LineTransport(asyncio.Protocol):
    """A `Line`. `kind` says what it was opened on."""

    def __init__(self, name: str, kind: PortKind, decoder: ParmrkDecoder | None) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.kind = kind
        self.counters = LineCounters()
        self._cure = _CURES[kind]
        self._disconnected: asyncio.Future[None] = loop.create_future()
        self._writable = asyncio.Event()
        self._decoder = decoder
        self._transport: Any = None
        self._listener: Callable[[LineInput], None] | None = None
        self._undelivered: list[LineInput] = []
        self._closing = False

    @property
    def is_pty(self) -> bool:
        return self.kind == "pty"

    @property
    def tty_fd(self) -> int | None:
        """The descriptor of a real tty, for who would ask the kernel about it; None elsewhere, and after a hang-up."""
        return self._port.fileno() if self.kind == "tty" and not self._transport.is_closing() else None

    @property
    def out_waiting(self) -> int:
        # Of a socket, what the far end has not yet confirmed may long be there: only what was not sent is sure.
        if self._transport.is_closing():
            return 0
        try:
            below = self._port.out_waiting if self._port is not None else _unsent_tcp_bytes(self._socket)
        except (OSError, termios.error):  # hung up just now
            return 0
        return int(self._transport.get_write_buffer_size() + below)

    def set_rts(self, on: bool) -> None:
        if self._port is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError, termios.error):  # a pty has no such line
                self._port.rts = on

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        self._listener = listener
        early, self._undelivered = self._undelivered, []
        for heard in early:
            listener(heard)

    def stop_listening(self, pending: Iterable[LineInput] = ()) -> None:
        """Nobody listens any more; whoever does next is told this first."""
        self._listener = None
        self._undelivered = [*pending, *self._undelivered]

    def write(self, byte: int) -> None:
        if self._transport.is_closing():
            raise LineLost(self._hang_up_message())
        self._transport.write(bytes((byte,)))
        self.counters.sent += 1

    async def drain(self) -> None:
        await self._writable.wait()

    def discard_output(self) -> None:
        """Throws away what the kernel still holds for a far end that takes nothing; frees whoever waits for it."""
        if self._port is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError, termios.error):  # unplugged just now
                self._port.reset_output_buffer()

    async def close(self) -> None:
        self._closing = True
        try:
            await self._drain_or_discard()
        finally:
            self._abort()
        await asyncio.shield(self._disconnected)

    async def _drain_or_discard(self) -> None:
        """Waits for the last characters; what the far end does not take in time is thrown away.

        The kernel would else hold close() for half a minute (closing_wait), and the event loop with it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRAIN_TIMEOUT_S
        try:
            while self.out_waiting:
                await asyncio.sleep(_POLL_S)
                if loop.time() > deadline:
                    return
        finally:
            if self.out_waiting:
                self.discard_output()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        self._port = transport.get_extra_info("serial")
        self._socket = transport.get_extra_info("socket")
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        for heard in self._decoder.feed(data) if self._decoder else map(Byte, data):
            self._count_input(heard)
            self._deliver(heard)

    def eof_received(self) -> None:
        """A far end that says no more is gone, also if it still owes us room for what is to be written."""
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if not self._disconnected.done():
            self._disconnected.set_result(None)
        if not self._closing:
            self.counters.hang_ups += 1
            self._deliver(HangUp(self._hang_up_message()))

    def abort_soon(self) -> None:
        """What the port calls when the system refuses to read or write: the line is gone, whatever waits in it."""
        asyncio.get_running_loop().call_soon(self._abort)

    def _abort(self) -> None:
        if not self._transport.is_closing():
            self._transport.abort()

    def _hang_up_message(self) -> str:
        return f"{self.name}: the line hung up: {self._cure}"

    def _count_input(self, heard: Byte | Break | FramingError) -> None:
        if isinstance(heard, Break):
            self.counters.breaks += 1
            return
        self.counters.received += 1
        self.counters.framing_errors += isinstance(heard, FramingError)

    def _deliver(self, heard: LineInput) -> None:
        if self._listener is None:
            self._undelivered.append(heard)
        else:
            self._listener(heard)


def _unsent_tcp_bytes(socket: Any) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(socket.fileno(), _SIOCOUTQNSD, bytes(4)))[0]
    return count
