"""The machine's end of a pty: one name that lasts, however often the cable is pulled and plugged in again.

Knows bytes and who holds a name; no marks, no pace. A pty carries no BREAK, no speed and no drain: what its far end
has written and we have not read is all that can be known of it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
import tty
from pathlib import Path

from drivers.clock import Clock
from drivers.errors import LineBusy, LineNotFound


class Port:
    """`path` is what a driver opens; `link`, if there is one, leads to it."""

    def __init__(self, clock: Clock, link: Path | None = None) -> None:
        self.path = ""
        self._clock = clock
        self._link = link
        self._fds: tuple[int, int] | None = None  # master and slave; None while unplugged
        self._plugged = asyncio.Event()
        self._arrived: asyncio.Future[float | None] | None = None  # None comes of a cable pulled

    @property
    def plugged(self) -> bool:
        return self._fds is not None

    @property
    def waiting(self) -> int:
        """Bytes that the far end has written and nobody has taken."""
        if self._fds is None:
            return 0
        count: int = struct.unpack("i", fcntl.ioctl(self._fds[0], termios.FIONREAD, bytes(4)))[0]
        return count

    def plug_in(self) -> None:
        """A new pty, under the same link. Raises LineBusy, LineNotFound for a link that cannot be made."""
        if self._fds is not None:
            return
        # Our own hold on the far end: without it each close of the driver would be a hang-up here.
        self._fds = master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self.path = os.ttyname(slave)
        try:
            self._make_link()
        except BaseException:
            self.unplug()
            raise
        self._plugged.set()

    def unplug(self) -> None:
        """The far end's read gives b'', and then EIO. What lay on the way is gone."""
        if self._fds is None:
            return
        asyncio.get_running_loop().remove_reader(self._fds[0])
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        for fd in self._fds:
            os.close(fd)
        self._fds = None
        self._plugged.clear()

    async def arrival(self) -> float:
        """Back when something waits, with the moment at which that was seen; unplugged, nothing ever does."""
        while True:
            await self._plugged.wait()
            assert self._fds is not None
            arrived: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
            self._arrived = arrived
            asyncio.get_running_loop().add_reader(self._fds[0], self._readable, self._fds[0])
            if (moment := await arrived) is not None:
                return moment

    def read(self, count: int) -> bytes:
        """So many bytes or fewer; none if the cable is out."""
        if self._fds is None:
            return b""
        try:
            return os.read(self._fds[0], count)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """How many bytes were lost because the far end had no room for them."""
        if self._fds is None:
            return len(data)
        try:
            return len(data) - os.write(self._fds[0], data)
        except BlockingIOError:
            return len(data)

    def _readable(self, master: int) -> None:
        asyncio.get_running_loop().remove_reader(master)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(self._clock.now())

    def _make_link(self) -> None:
        if self._link is None:
            return
        left = _pty_behind(self._link)
        # A pty has a name only as long as its master lives. The name of a dead one may have become ours.
        if left is not None and str(left) != self.path and left.exists():
            raise LineBusy(f"{self._link} leads to {left}, which lives: remove it, or name another --link")
        try:
            if left is not None:  # by a machine that was killed
                self._link.unlink()
            self._link.symlink_to(self.path)
        except FileExistsError:
            raise LineBusy(f"{self._link} is there and no link of ours: remove it, or name another --link") from None
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "?")
            raise LineNotFound(f"{self._link} cannot be made ({reason}): name a --link in a folder of yours") from None


def _pty_behind(link: Path) -> Path | None:
    try:
        target = link.readlink()
    except OSError:
        return None
    return target if target.is_relative_to("/dev/pts") else None
