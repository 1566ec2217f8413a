"""The machine's end of a pty: one name that lasts, however often the cable is pulled and plugged in again.

A pty carries no BREAK, no speed and no drain: what its far end has written and we have not read is all that can be
known of it.
"""

from __future__ import annotations

import os
import tty
from pathlib import Path

from drivers.clock import Clock
from drivers.errors import LineBusy, LineNotFound
from drivers.virtual.port import Port


class PtyPort(Port):
    """`link`, if there is one, leads to the pty."""

    def __init__(self, clock: Clock, link: Path | None = None) -> None:
        super().__init__(clock)
        self._link = link
        self._fds: tuple[int, int] | None = None  # master and slave; None while unplugged

    @property
    def is_plugged(self) -> bool:
        return self._fds is not None

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
        self._peer_connected(master)

    def unplug(self) -> None:
        """The far end's read gives b'', and then EIO. What lay on the way is gone."""
        if self._fds is None:
            return
        self._peer_disconnected()
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self.path:
            self._link.unlink()
        for fd in self._fds:
            os.close(fd)
        self._fds = None

    def _handle_peer_hang_up(self) -> None:
        """Never: we hold the far end ourselves."""

    def _make_link(self) -> None:
        if self._link is None:
            return
        left = _pty_behind_link(self._link)
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
            raise LineNotFound(
                f"{self._link} cannot be made ({error.strerror}): name a --link in a folder of yours"
            ) from None


def _pty_behind_link(link: Path) -> Path | None:
    try:
        target = link.readlink()
    except OSError:
        return None
    return target if target.is_relative_to("/dev/pts") else None
