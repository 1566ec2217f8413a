"""Opens the line: a tty device, a pty, or the TCP port of a serial server. The only file that knows pyserial(-asyncio).

Always 110 baud, 8 bits, no parity, 2 stop bits: ptys and some UARTs refuse other settings, so parity is computed in
software. Knows bytes; no characters, no pacing, no paper.
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

from drivers.errors import DriverError
from drivers.line import port_names
from drivers.line.line_input import LineInput, ParmrkDecoder
from drivers.line.line_transport import LineTransport
from drivers.line.telnet import TelnetCodec
from drivers.line.tty_holders import find_terminal_user

BAUD = 110
CONNECT_TIMEOUT_S = 5.0

# A far end that vanished is noticed within 90 s on an idle line, and within 30 s of the first unacknowledged byte.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4, socket.TCP_USER_TIMEOUT: 30_000}


class Line(Protocol):
    """The line that a Teletype needs."""

    @property
    def name(self) -> str: ...

    @property
    def is_pty(self) -> bool:
        """Whether the far end is a program, not a machine: it may be sent more than ten characters a second."""
        ...

    @property
    def is_serial(self) -> bool:
        """Whether it is a serial port of this computer: no more than ten characters a second can come from it."""
        ...

    @property
    def out_waiting(self) -> int:
        """Bytes known to lie between the driver and the machine; 0 where unknown (a pty, most USB chips)."""
        ...

    def restore_settings(self) -> bool:
        """Sets the port as it was opened; returns whether another program had changed it."""
        ...

    def listen(self, listener: Callable[[LineInput], None]) -> None:
        """Calls `listener` with all input from now on, and with the input that came before."""
        ...

    def set_rts(self, on: bool) -> None:
        """Sets the RTS line, which may switch a motor relay; has no effect on a line without RTS."""
        ...

    def write(self, byte: int) -> None:
        """Writes one byte of 8 bits at once. Raises LineLost after a hang-up."""
        ...

    async def drain(self) -> None:
        """Waits until the line has accepted the written bytes."""
        ...

    async def close(self) -> None:
        """Sends the last characters, then closes the port. Reports no hang-up."""
        ...


async def open_line(
    port_name: str, marked: bool | None = None, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
) -> LineTransport:
    """Opens `/dev/...`, a pty, or `socket://`, `telnet://` or `rfc2217://HOST:PORT`; the first two exclusively.

    Raises DriverError.

    `marked`: BREAK and damaged bytes come marked as by PARMRK of termios. None: as usual for the kind of line. The
    kernel marks them on a real tty. A pty cannot carry a BREAK, so its far end marks them. A serial server does not.
    False is for a program that does not double its FF.
    """
    kind = port_names.port_kind(port_name)
    if marked is None:
        marked = kind != "socket"
    decoder = ParmrkDecoder() if marked else None
    line = LineTransport(port_names.printable(port_name), kind, decoder, _telnet_codec_for(port_name))
    if kind == "socket":
        await _connect(line, port_name, connect_timeout_s)
    else:
        _require_no_terminal(line)
        await open_tty(line, port_name, parmrk=marked and kind == "tty")
    return line


def _require_no_terminal(line: LineTransport) -> None:
    """Raises DriverError for a pty at which a user works: a link to the pty of a dead machine may lead there."""
    if line.kind == "pty" and (user := find_terminal_user(line.name)):
        raise DriverError(
            f"{line.name} is the terminal of {user.name} (process {user.pid}): "
            "give the path of a pty that no session works at, and remove a link that leads here",
            "busy",
        )


def _telnet_codec_for(port_name: str) -> TelnetCodec | None:
    # pyserial's RFC 2217 reads in a thread of its own, polls for answers, and reports no BREAK of the far end.
    scheme = port_names.url_scheme(port_name)
    if scheme == "socket" or not scheme:
        return None
    return TelnetCodec(baud=BAUD if scheme == "rfc2217" else None)


async def _connect(line: LineTransport, url: str, timeout_s: float) -> None:
    # pyserial's socket port connects and sleeps in the event loop, and leaves a reset connection open.
    host, port = port_names.parse_socket_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: line, host, port)
    except (OSError, UnicodeError) as error:
        raise port_names.connect_error_for(url, error) from None
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def open_tty(line: LineTransport, port_name: str, *, parmrk: bool) -> None:
    """Opens the tty or pty for this transport. Raises as `open_line` does."""
    port = _NonBlockingSerial(line.abort_soon, parmrk=parmrk)
    try:
        port.port = port_name
        port.open()
        if line.kind == "tty":
            # flock alone does not keep out programs that do not ask for it. A pty gets no TIOCEXCL: its far end keeps
            # it open, so the mark of a killed daemon would lock out the next daemon.
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
        transport, _ = await serial_asyncio.connection_for_serial(asyncio.get_running_loop(), lambda: line, port)
    except (OSError, termios.error) as error:  # SerialException is an OSError
        port.close()
        raise port_names.driver_error_for(port_name, error) from None
    try:
        await asyncio.sleep(0)  # connection_made is the next in the loop's queue
    except asyncio.CancelledError:
        transport.abort()
        raise


class _NonBlockingSerial(serial.Serial):
    """pyserial's port, changed so that it neither blocks the event loop, nor fills the log, nor unmarks a BREAK."""

    def __init__(self, on_failure: Callable[[], None], *, parmrk: bool) -> None:
        self._on_failure = on_failure
        self._parmrk = parmrk
        super().__init__(None, BAUD, serial.EIGHTBITS, serial.PARITY_NONE, serial.STOPBITS_TWO, exclusive=True)

    def _reconfigure_port(self, force_update: bool = False) -> None:
        # pyserial's method clears PARMRK, also for a new time-out alone; its type stubs do not declare it.
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
            return 0  # pyserial would retry in a loop until there is room
        except OSError:
            self._on_failure()
            return len(data)

    def restore_settings(self) -> bool:
        """Sets the port as it was opened; returns whether its terminal modes were other ones, as a getty sets them."""
        if not _is_cooked(self.fileno()):
            return False
        self._reconfigure_port(force_update=True)
        return True

    def flush(self) -> None:
        """Does nothing: the transport calls it in the event loop, where tcdrain would block for seconds."""


def _is_cooked(fd: int) -> bool:
    """Whether the terminal edits, echoes or translates: pyserial and `_set_termios` have turned all of it off."""
    iflag, oflag, _, lflag, *_ = termios.tcgetattr(fd)
    is_translated = iflag & (termios.ISTRIP | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    return bool(is_translated or oflag & termios.OPOST or lflag & (termios.ECHO | termios.ICANON | termios.ISIG))


def _set_termios(fd: int, *, parmrk: bool) -> None:
    """Sets what pyserial leaves unset: marking of BREAK, no hang-up on close, reads of at least one byte."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag &= ~(termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IGNPAR | termios.PARMRK | termios.INPCK)
    if parmrk:
        iflag |= termios.PARMRK | termios.INPCK  # a CP210x reports a BREAK only if INPCK is set
    cflag &= ~termios.HUPCL
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
