"""An open port as a transport of the event loop. `drivers.line.line` opens it.

Knows the transport of pyserial or of a socket, and counts bytes. No port names, no characters, no pacing.
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
from drivers.line.line_input import Break, Byte, FramingError, HangUp, LineInput, LineSignal, ParmrkDecoder
from drivers.line.port_names import PortKind
from drivers.line.telnet import TelnetCodec

_DRAIN_TIMEOUT_S = 1.0  # two characters take 0.2 s; a far end that is slower has stopped reading
_POLL_S = 0.02
_SIOCOUTQNSD = 0x894B  # bytes that TCP has not yet sent - linux/sockios.h


@dataclass(slots=True)
class LineCounters:
    """Counts of one line since it was opened."""

    sent: int = 0
    received: int = 0  # characters, the damaged ones included
    breaks: int = 0
    framing_errors: int = 0
    hang_ups: int = 0


class LineTransport(asyncio.Protocol):
    """A `Line`. `kind` is the kind of port that it was opened on."""

    def __init__(
        self, name: str, kind: PortKind, decoder: ParmrkDecoder | None, telnet: TelnetCodec | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.telnet = telnet
        self.counters = LineCounters()
        self._disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
    def is_serial(self) -> bool:
        return self.kind == "tty"

    @property
    def tty_fd(self) -> int | None:
        """File descriptor of a real tty, for questions to the kernel; None elsewhere and after a hang-up."""
        return self._port.fileno() if self.kind == "tty" and not self._transport.is_closing() else None

    @property
    def out_waiting(self) -> int:
        # Bytes that the far end of a socket has not acknowledged may have arrived: only unsent bytes count.
        if self._transport.is_closing():
            return 0
        try:
            kernel_bytes = self._port.out_waiting if self._port is not None else _unsent_tcp_bytes(self._socket)
        except (OSError, termios.error):  # hung up in this moment
            return 0
        return int(self._transport.get_write_buffer_size() + kernel_bytes)

    def set_rts(self, on: bool) -> None:
        if self._port is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError, termios.error):  # a pty has no RTS line
                self._port.rts = on
        if self.telnet is not None:
            self.telnet.set_rts(on)
            self._send_telnet_replies()

    def restore_settings(self) -> bool:
        if self._port is None or self._transport.is_closing():
            return False
        try:
            return bool(self._port.restore_settings())
        except (OSError, termios.error):  # hung up in this moment
            return False

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        self._listener = listener
        early, self._undelivered = self._undelivered, []
        for line_input in early:
            listener(line_input)

    def stop_listening(self, pending: Iterable[LineInput] = ()) -> None:
        """Removes the listener. The next listener is called with the `pending` input first."""
        self._listener = None
        self._undelivered = [*pending, *self._undelivered]

    def write(self, byte: int) -> None:
        if self._transport.is_closing():
            raise LineLost(self._hang_up_message())
        self._transport.write(self.telnet.encode_byte(byte) if self.telnet else bytes((byte,)))
        self.counters.sent += 1

    async def drain(self) -> None:
        await self._writable.wait()

    def discard_output(self) -> None:
        """Drops the bytes that the kernel holds for a far end that accepts none; ends a tcdrain."""
        if self._port is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError, termios.error):  # unplugged in this moment
                self._port.reset_output_buffer()

    async def close(self) -> None:
        self._closing = True
        try:
            await self._drain_or_discard()
        finally:
            self._abort()
        await asyncio.shield(self._disconnected)

    async def _drain_or_discard(self) -> None:
        """Waits for the last characters, and drops those that the far end does not accept in time.

        Otherwise the kernel would block close() for half a minute (closing_wait), and the event loop with it.
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

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        self._port = transport.get_extra_info("serial")
        self._socket = transport.get_extra_info("socket")
        self._writable.set()
        self._send_telnet_replies()

    def data_received(self, data: bytes) -> None:
        signals = self.telnet.feed(data) if self.telnet else list(map(Byte, data))
        self._send_telnet_replies()
        for signal in signals:
            for decoded in self._decode_marks(signal):
                self._count_input(decoded)
                self._deliver(decoded)

    def _decode_marks(self, signal: LineSignal) -> Iterable[LineSignal]:
        if self._decoder is None or not isinstance(signal, Byte):
            return (signal,)
        return self._decoder.feed(bytes((signal.value,)))

    def _send_telnet_replies(self) -> None:
        if self.telnet is not None and (replies := self.telnet.take_replies()) and not self._transport.is_closing():
            self._transport.write(replies)

    def eof_received(self) -> None:
        """Treats a far end that has closed its sending side as gone, although it could still receive."""
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
        """Called by the port when the system refuses to read or write: the line is lost, with its queued bytes."""
        asyncio.get_running_loop().call_soon(self._abort)

    def _abort(self) -> None:
        if not self._transport.is_closing():
            self._transport.abort()

    def _hang_up_message(self) -> str:
        cause = (
            "the serial server and the network run" if self.kind == "socket" else "the cable is in and the far end runs"
        )
        return f"{self.name}: the line hung up: see that {cause}"

    def _count_input(self, signal: LineSignal) -> None:
        if isinstance(signal, Break):
            self.counters.breaks += 1
            return
        self.counters.received += 1
        self.counters.framing_errors += isinstance(signal, FramingError)

    def _deliver(self, line_input: LineInput) -> None:
        if self._listener is None:
            self._undelivered.append(line_input)
        else:
            self._listener(line_input)


def _unsent_tcp_bytes(socket: Any) -> int:
    return int(struct.unpack("i", fcntl.ioctl(socket.fileno(), _SIOCOUTQNSD, bytes(4)))[0])
