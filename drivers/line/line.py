"""Opening the wire: a tty device, a pty, or a serial server's TCP port. The only file that knows pyserial(-asyncio).

8 bits, no parity, 2 stop bits at 110 baud always: ptys and some UARTs refuse anything else, so parity is made in
software, by others. Knows bytes; no characters, no pace, no paper.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import termios
from collections.abc import Callable
from typing import Any, Protocol

import serial
import serial_asyncio

from drivers.events import LineInput, ParmrkDecoder
from drivers.line import port_names
from drivers.line.line_transport import LineTransport

BAUD = 110
CONNECT_TIMEOUT_S = 5.0

# A far end that has gone without a word is missed within a minute and a half when the line is idle, and within half
# a minute of the first character that it does not confirm.
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 30,
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 30_000,
}


class Line(Protocol):
    """What a Teletype needs of its wire."""

    @property
    def name(self) -> str: ...

    @property
    def is_pty(self) -> bool:
        """Whether a program is at the far end, not a machine: it may be given more than ten characters a second."""
        ...

    @property
    def out_waiting(self) -> int:
        """Bytes known to lie between us and the machine; 0 also where nobody can know (a pty, most USB chips)."""
        ...

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        """Tell this listener all that comes from now on, and what came before anyone listened."""
        ...

    def set_rts(self, on: bool) -> None:
        """The RTS line, where a motor relay may hang; nothing on a line that has none."""
        ...

    def write(self, byte: int) -> None:
        """Hand one byte of 8 bits on at once. Raises LineLost after a hang-up."""
        ...

    async def drain(self) -> None:
        """Back when what was written is out of our hands; waits while the far end takes nothing."""
        ...

    async def close(self) -> None:
        """Let the last characters go out, then give the port back. No hang-up is reported."""
        ...


async def open_line(
    port_name: str, marked: bool | None = None, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> LineTransport:
    """The line at `/dev/...`, at a pty or at `socket://HOST:PORT`; the first two are exclusively ours.

    `marked`: BREAK and damaged bytes come marked as termios' PARMRK does it. None is what the kind of line does: a
    real tty's driver marks them; for a pty, which cannot carry a BREAK, the far end does; a serial server does not.
    Say False for a program that does not double its FF. Raises LineNotFound, LineBusy, LineRefused, LineUnfit.
    """
    kind = port_names.port_kind(port_name)
    if marked is None:
        marked = kind != "socket"
    wire = LineTransport(port_names.printable(port_name), kind, ParmrkDecoder() if marked else None)
    if kind == "socket":
        await _connect(wire, port_name, connect_timeout_s)
    else:
        await open_tty(wire, port_name, parmrk=marked and kind == "tty")
    return wire


async def _connect(wire: LineTransport, url: str, timeout_s: float) -> None:
    # Not pyserial's socket port: it connects and sleeps in the event loop, and leaves a reset connection open.
    host, port = port_names.parse_socket_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: wire, host, port)
    except (OSError, UnicodeError) as error:
        raise port_names.connect_error_for(url, error) from None
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEPALIVE.items():
        connected.setsockopt(socket.IPPROTO_TCP, option, value)


async def open_tty(wire: LineTransport, port_name: str, *, parmrk: bool) -> None:
    """Opens the tty or pty for this wire. Raises as `open_line` does."""
    port = _NonBlockingSerial(wire.abort_soon, parmrk=parmrk)
    try:
        port.port = port_name
        port.open()
        if wire.kind == "tty":
            # flock alone keeps out only those who ask for it. Not on a pty: its far end keeps it open, and so the
            # mark of a daemon that was killed would stay, and lock out the next.
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
        transport, _ = await serial_asyncio.connection_for_serial(asyncio.get_running_loop(), lambda: wire, port)
    except (OSError, termios.error) as error:  # SerialException is an OSError
        port.close()
        raise port_names.driver_error_for(port_name, error) from None
    try:
        await asyncio.sleep(0)  # connection_made is the next in the loop's queue
    except asyncio.CancelledError:
        transport.abort()
        raise


class _NonBlockingSerial(serial.Serial):
    """pyserial, less what would stop the event loop, fill the log, or forget how a BREAK is marked."""

    def __init__(self, on_failure: Callable[[], None], *, parmrk: bool) -> None:
        self._on_failure = on_failure
        self._parmrk = parmrk
        super().__init__(None, BAUD, serial.EIGHTBITS, serial.PARITY_NONE, serial.STOPBITS_TWO, exclusive=True)

    def _reconfigure_port(self, force_update: bool = False) -> None:
        # It clears PARMRK, and is called for as little as a new time-out; of it the stubs of pyserial know nothing.
        super()._reconfigure_port(force_update)  # type: ignore[misc]
        assert self.fd is not None  # pyserial has just used it
        _set_termios(self.fd, parmrk=self._parmrk)

    def read(self, size: int = 1) -> bytes:
        try:
            data = os.read(self.fileno(), size)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._on_failure()
        return data

    def write(self, data: Any, /) -> int:
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0  # pyserial would try again at once, and again, until there is room
        except OSError:
            self._on_failure()
            return len(data)

    def flush(self) -> None:
        """Not tcdrain: the transport calls this from the event loop, and at 110 baud it would stand for seconds."""


def _set_termios(fd: int, *, parmrk: bool) -> None:
    """What pyserial leaves unset: marking of BREAK, no hang-up signal on close, no empty read but a hang-up's."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag &= ~(termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IGNPAR | termios.PARMRK | termios.INPCK)
    if parmrk:
        iflag |= termios.PARMRK | termios.INPCK  # a CP210x reports a BREAK only if INPCK is set
    cflag &= ~termios.HUPCL
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
