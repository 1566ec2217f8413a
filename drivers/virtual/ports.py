"""The machine's end of the line: a pty, or a TCP port like a serial server's. Both can be plugged and unplugged.

Knows descriptors; no BREAK encoding, no pacing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import tty
from abc import ABC, abstractmethod
from pathlib import Path

from drivers.clock import Clock
from drivers.errors import DriverError


class Port(ABC):
    """`path` is the port that a driver opens. It may be plugged while no driver is connected."""

    def __init__(self, clock: Clock) -> None:
        self.path = ""
        self._clock = clock
        self._fd: int | None = None  # descriptor of the data; None while no driver is connected
        self._peer_present = asyncio.Event()
        self._arrival: asyncio.Future[float | None] | None = None  # its result is None if the driver disconnects

    @property
    @abstractmethod
    def is_plugged(self) -> bool: ...

    @abstractmethod
    def plug_in(self) -> None:
        """Makes the port available to a driver. Raises DriverError."""

    @abstractmethod
    def unplug(self) -> None:
        """Hangs up. Bytes on the way are lost."""

    @property
    def in_waiting(self) -> int:
        """Bytes that the driver has written and the machine has not read."""
        if self._fd is None:
            return 0
        return int(struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0])

    async def wait_for_arrival(self) -> float:
        """Waits for bytes, and returns the time at which they were seen; never returns while the port is unplugged."""
        while True:
            await self._peer_present.wait()
            assert self._fd is not None
            loop = asyncio.get_running_loop()
            arrival: asyncio.Future[float | None] = loop.create_future()
            self._arrival = arrival
            loop.add_reader(self._fd, self._on_readable, self._fd)
            if (arrived_at := await arrival) is not None:
                return arrived_at

    def read(self, count: int) -> bytes:
        """Returns at most `count` bytes; none while no driver is connected."""
        if self._fd is None:
            return b""
        try:
            data = os.read(self._fd, count)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._handle_peer_hang_up()
        return data

    def write(self, data: bytes) -> int:
        """Returns the number of bytes that were lost because the driver's end is full."""
        if self._fd is None:
            return len(data)
        try:
            return len(data) - os.write(self._fd, data)
        except OSError:  # it is full, or it is closed, which the next read reports
            return len(data)

    def _peer_connected(self, fd: int) -> None:
        """Uses this descriptor from now on."""
        self._fd = fd
        self._peer_present.set()

    def _peer_disconnected(self) -> None:
        """Forgets the descriptor, before it is closed."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        self._fd = None
        self._peer_present.clear()

    @abstractmethod
    def _handle_peer_hang_up(self) -> None:
        """Called when the driver has closed its end."""

    def _on_readable(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(self._clock.now())


class PtyPort(Port):
    """A pty, with an optional `link` to it."""

    def __init__(self, clock: Clock, link: Path | None = None) -> None:
        super().__init__(clock)
        self._link = link
        self._fds: tuple[int, int] | None = None  # master and slave; None while unplugged

    @property
    def is_plugged(self) -> bool:
        return self._fds is not None

    def plug_in(self) -> None:
        """Makes a new pty, under the same link. Raises DriverError if the link cannot be made."""
        if self._fds is not None:
            return
        # The slave is kept open here: otherwise each close by the driver would be a hang-up.
        self._fds = master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self.path = os.ttyname(slave)
        try:
            self._make_link()
        except BaseException:
            self.unplug()
            raise
        self._peer_connected(master)

    def unplug(self) -> None:
        """Closes the pty: the driver reads b'', and then EIO. Bytes on the way are lost."""
        if self._fds is None:
            return
        self._peer_disconnected()
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        for fd in self._fds:
            os.close(fd)
        self._fds = None

    def _handle_peer_hang_up(self) -> None:
        """Never called: this class holds the slave open itself."""

    def _make_link(self) -> None:
        if self._link is None:
            return
        target = _pty_behind_link(self._link)
        # A pty has its name only while its master is open. This pty may have the name of a closed one.
        if target is not None and str(target) != self.path and target.exists():
            raise DriverError(
                f"{self._link} leads to {target}, which is in use: remove it, or name another --link", "busy"
            )
        try:
            if target is not None:  # left by a machine that was killed
                self._link.unlink()
            self._link.symlink_to(self.path)
        except FileExistsError:
            raise DriverError(
                f"{self._link} exists and is not a link to a virtual machine: remove it, or name another --link", "busy"
            ) from None
        except OSError as error:
            raise DriverError(
                f"{self._link} cannot be made ({error.strerror}): name a --link in a folder of yours", "missing"
            ) from None


def _pty_behind_link(link: Path) -> Path | None:
    try:
        target = link.readlink()
    except OSError:
        return None
    return target if target.is_relative_to("/dev/pts") else None


class SocketPort(Port):
    """A TCP port for one driver at a time. Port number 0 takes a free port, and keeps it."""

    def __init__(self, clock: Clock, host: str, port: int) -> None:
        super().__init__(clock)
        self._host = host
        self._port = port
        self._listener: socket.socket | None = None
        self._driver: socket.socket | None = None

    @property
    def is_plugged(self) -> bool:
        return self._listener is not None

    def plug_in(self) -> None:
        """Listens. Raises DriverError."""
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        address = f"{self._host}:{self._port}"
        try:
            self._listener = socket.create_server((self._host, self._port), family=family, backlog=1)
        except PermissionError:
            raise DriverError(f"you may not listen at {address}: take a port over 1023", "denied") from None
        except OSError as error:  # an unknown host name has a negative errno
            if error.errno is None or error.errno < 0 or error.errno == errno.EADDRNOTAVAIL:
                raise DriverError(
                    f"no address {self._host} here: name one of this computer, as 127.0.0.1", "missing"
                ) from None
            reason = os.strerror(error.errno)
            raise DriverError(f"{address} cannot be listened at ({reason}): name another port", "busy") from None
        self._port = self._listener.getsockname()[1]
        host = f"[{self._host}]" if family == socket.AF_INET6 else self._host
        self.path = f"socket://{host}:{self._port}"
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def unplug(self) -> None:
        """Ends the driver's connection, and accepts no other."""
        if self._listener is None:
            return
        self._handle_peer_hang_up()
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._listener = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            if self._driver is not None and _has_hung_up(self._driver):
                self._handle_peer_hang_up()  # its end of file is not yet read
            if self._driver is not None:
                client.close()  # one machine, one driver
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._driver = client
            self._peer_connected(client.fileno())

    def _handle_peer_hang_up(self) -> None:
        if self._driver is not None:
            self._peer_disconnected()
            self._driver.close()
            self._driver = None


def _has_hung_up(driver: socket.socket) -> bool:
    try:
        return not driver.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
