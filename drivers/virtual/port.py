"""The machine's end of a line: what waits there, and since when. `pty_port` and `socket_port` are the two kinds.

Knows a descriptor that may come and go; no marks, no pace.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from abc import ABC, abstractmethod

from drivers.clock import Clock


class Port(ABC):
    """`path` is what a driver opens. It may be plugged in with nobody at the far end."""

    def __init__(self, clock: Clock) -> None:
        self.path = ""
        self._clock = clock
        self._fd: int | None = None  # where bytes come and go; None while there is nobody
        self._peer_present = asyncio.Event()
        self._arrival: asyncio.Future[float | None] | None = None  # None comes of an end that went away

    @property
    @abstractmethod
    def is_plugged(self) -> bool: ...

    @abstractmethod
    def plug_in(self) -> None:
        """Be there for a driver. Raises LineBusy, LineNotFound, LineRefused."""

    @abstractmethod
    def unplug(self) -> None:
        """Hang up. What lay on the way is gone."""

    @property
    def in_waiting(self) -> int:
        """Bytes that the far end has written and nobody has taken."""
        if self._fd is None:
            return 0
        count: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        return count

    async def wait_for_arrival(self) -> float:
        """Back when something waits, with the moment at which that was seen; unplugged, nothing ever does."""
        while True:
            await self._peer_present.wait()
            assert self._fd is not None
            arrived: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
            self._arrival = arrived
            asyncio.get_running_loop().add_reader(self._fd, self._on_readable, self._fd)
            if (moment := await arrived) is not None:
                return moment

    def read(self, count: int) -> bytes:
        """So many bytes or fewer; none if nobody is there."""
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
        """How many bytes were lost because the far end had no room for them."""
        if self._fd is None:
            return len(data)
        try:
            return len(data) - os.write(self._fd, data)
        except OSError:  # it is full; or it is gone, which the next read finds
            return len(data)

    def _peer_connected(self, fd: int) -> None:
        """Somebody may be at the far end now."""
        self._fd = fd
        self._peer_present.set()

    def _peer_disconnected(self) -> None:
        """Nobody is: forget the descriptor, before it is closed."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        self._fd = None
        self._peer_present.clear()

    @abstractmethod
    def _handle_peer_hang_up(self) -> None:
        """The far end has hung up."""

    def _on_readable(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(self._clock.now())
