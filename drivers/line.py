"""The wire itself: a tty device or a pty. The only file that knows pyserial and pyserial-asyncio.

8 bits, no parity, 2 stop bits at 110 baud always: ptys and some UARTs refuse anything else, so parity is made in
software, by others. Knows bytes; no characters, no pace, no paper.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import serial
import serial_asyncio
from serial.tools import list_ports

from drivers.errors import DriverError, LineBusy, LineLost, LineNotFound, LineRefused, LineUnfit
from drivers.events import Byte, HangUp, Heard, Marking

BAUD = 110
_PTY_MAJORS = range(136, 144)  # UNIX98 pty slaves, Linux Documentation/admin-guide/devices.txt
_DRAIN_S = 1.0  # two characters take 0.2 s; whoever is slower has stopped reading


class Line(Protocol):
    """What a Teletype needs of its wire."""

    @property
    def name(self) -> str: ...

    @property
    def is_pty(self) -> bool:
        """Whether a program is at the far end, not a machine: it may be given more than ten characters a second."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes known to lie between us and the machine; 0 also where nobody can know (a pty, most USB chips)."""
        ...

    def listen(self, listener: Callable[[Heard], None]) -> None:
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


async def open_line(where: str, marked: bool | None = None) -> Line:
    """The line at `/dev/...` or at a pty, exclusively ours.

    `marked`: BREAK and damaged bytes come marked as termios' PARMRK does it. By default they do: a real tty's
    driver marks them, and for a pty, which cannot carry a BREAK, the far end does. Say False for a program that
    does not double its FF. Raises LineNotFound, LineBusy, LineRefused, LineUnfit.
    """
    is_pty = _looked_at(where)
    marked = marked is not False
    port = _opened(where)
    wire = Wire(_legible(where), Marking() if marked else None, is_pty=is_pty)
    # The transport sets pyserial's time-outs, and pyserial clears PARMRK each time: our modes come after it.
    transport, _ = await serial_asyncio.connection_for_serial(asyncio.get_running_loop(), lambda: wire, port)
    try:
        _set_modes(port.fileno(), kernel_marks=marked and not is_pty, exclusive=not is_pty)
        await wire.connected
    except termios.error as error:
        transport.abort()
        raise _translated(where, error) from None
    except BaseException:
        transport.abort()
        raise
    return wire


class _Port(serial.Serial):
    """pyserial, less what would stop the event loop or fill the log."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except serial.SerialException:
            return len(data)  # a hang-up: the reading side reports it, once and in one line

    def flush(self) -> None:
        """Not tcdrain: the transport calls this from the event loop, and at 110 baud it would stand for seconds."""


class Wire(asyncio.Protocol):
    """An open port. `open_line` makes it."""

    def __init__(self, name: str, marking: Marking | None, *, is_pty: bool) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.is_pty = is_pty
        self.connected: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._marking = marking
        self._transport: Any = None
        self._listener: Callable[[Heard], None] | None = None
        self._early: list[Heard] = []
        self._closing = False

    @property
    def waiting(self) -> int:
        try:
            return int(self._transport.get_write_buffer_size() + self._transport.serial.out_waiting)
        except (OSError, termios.error, AttributeError):  # hung up just now; or a socket, which hides its buffers
            return 0

    def set_rts(self, on: bool) -> None:
        with contextlib.suppress(OSError, termios.error):  # a pty has no such line
            self._transport.serial.rts = on

    def listen(self, listener: Callable[[Heard], None]) -> None:
        self._listener = listener
        early, self._early = self._early, []
        for heard in early:
            listener(heard)

    def write(self, byte: int) -> None:
        if self._transport.is_closing():
            raise LineLost(f"{self.name}: the line hung up: see that the cable is in and the far end runs")
        self._transport.write(bytes((byte,)))

    async def drain(self) -> None:
        await self._writable.wait()

    async def close(self) -> None:
        self._closing = True
        if not self._transport.is_closing():
            with contextlib.suppress(OSError, termios.error):  # unplugged just now: nothing is left to wait for
                await self._let_out(self._transport)
        if not self._transport.is_closing():
            self._transport.abort()
        await self._gone

    async def _let_out(self, transport: Any) -> None:
        """Waits for the last characters; what the far end does not take in time is thrown away.

        The kernel would else hold close() for half a minute (closing_wait), and the event loop with it.
        """
        loop = asyncio.get_running_loop()
        port = transport.serial
        deadline = loop.time() + _DRAIN_S
        while transport.get_write_buffer_size() or port.out_waiting:
            await asyncio.sleep(0.02)
            if transport.is_closing():
                return
            if loop.time() > deadline:
                port.reset_output_buffer()
                return

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        self.connected.set_result(None)

    def data_received(self, data: bytes) -> None:
        for heard in self._marking.feed(data) if self._marking else map(Byte, data):
            self._tell(heard)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self._gone.set_result(None)
        if not self._closing:
            self._tell(HangUp(f"{self.name}: the line hung up: see that the cable is in and the far end runs"))

    def _tell(self, heard: Heard) -> None:
        if self._listener is None:
            self._early.append(heard)
        else:
            self._listener(heard)


def _looked_at(where: str) -> bool:
    """Whether it is a pty; raises if it is nothing to open."""
    name = _legible(where)
    if "://" in where:
        raise LineUnfit(f"{name}: no line of that kind here: give a port like /dev/ttyUSB0, or the path of a pty")
    try:
        found = Path(where).stat()
    except OSError as error:
        raise _translated(where, error) from None
    except ValueError:  # a NUL in it, or what no file name can hold
        raise LineNotFound(f"no port {name}: {_ports()}") from None
    if not stat.S_ISCHR(found.st_mode):
        raise LineUnfit(f"{name} is no tty: give a port like /dev/ttyUSB0, or the path of a pty")
    return os.major(found.st_rdev) in _PTY_MAJORS


def _opened(where: str) -> _Port:
    try:
        return _Port(where, BAUD, serial.EIGHTBITS, serial.PARITY_NONE, serial.STOPBITS_TWO, exclusive=True)
    except (OSError, termios.error) as error:  # SerialException is an OSError
        raise _translated(where, error) from None


def _set_modes(fd: int, *, kernel_marks: bool, exclusive: bool) -> None:
    """What pyserial leaves unset: marking of BREAK, no hang-up signal on close, no one else."""
    iflag, oflag, cflag, *rest = termios.tcgetattr(fd)
    iflag &= ~(termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IGNPAR | termios.PARMRK | termios.INPCK)
    if kernel_marks:
        iflag |= termios.PARMRK | termios.INPCK  # a CP210x reports a BREAK only if INPCK is set
    cflag &= ~termios.HUPCL
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, *rest])
    if exclusive:
        # flock alone keeps out only those who ask for it. Not on a pty: its far end keeps it open, and so the mark
        # of a daemon that was killed would stay, and lock out the next.
        fcntl.ioctl(fd, termios.TIOCEXCL)


def _translated(where: str, error: Exception) -> DriverError:
    number, name = _number(error), _legible(where)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG):
        return LineNotFound(f"no port {name}: {_ports()}")
    if number in (errno.EACCES, errno.EPERM):
        return LineRefused(f"you may not open {name}: sudo usermod -aG dialout $USER, then log in anew")
    if number in (errno.EBUSY, errno.EAGAIN):
        return LineBusy(f"{name} is held by another program: `fuser -v {name}` names it; stop that first")
    reason = os.strerror(number) if number else "the system does not say why"
    return LineUnfit(f"{name} cannot be the line of a Teletype ({reason}): give the port of a serial adapter, or a pty")


def _number(error: BaseException | None) -> int | None:
    """The system's own number for it: pyserial gives some of its errors none, and has it in the one before."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None


def _legible(where: str) -> str:
    """The name for a message of one line, whatever somebody has put into it."""
    return where if where.isprintable() else ascii(where)


def _ports() -> str:
    ports = sorted(port.device for port in list_ports.comports())
    return f"there are {', '.join(ports)}" if ports else "this computer shows no serial port; plug the adapter in"
