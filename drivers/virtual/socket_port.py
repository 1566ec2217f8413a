"""The machine behind a serial server: a TCP port that takes one driver at a time, and the next when that one is gone.

Bytes only, as `socket://` has them: no speed, and no BREAK but what the machine's adapter makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from drivers.clock import Clock
from drivers.errors import LineBusy, LineNotFound, LineRefused
from drivers.virtual.port import Port


class SocketPort(Port):
    """Port number 0 takes any that is free, and keeps it."""

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
        """Listen. Raises LineBusy, LineNotFound, LineRefused."""
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        where = f"{self._host}:{self._port}"
        try:
            self._listener = socket.create_server((self._host, self._port), family=family, backlog=1)
        except PermissionError:
            raise LineRefused(f"you may not listen at {where}: take a port over 1023") from None
        except OSError as error:  # of a name that nobody knows it has a negative number
            if error.errno is None or error.errno < 0 or error.errno == errno.EADDRNOTAVAIL:
                raise LineNotFound(f"no address {self._host} here: name one of this computer, as 127.0.0.1") from None
            reason = os.strerror(error.errno)
            raise LineBusy(f"{where} cannot be listened at ({reason}): name another port") from None
        self._port = self._listener.getsockname()[1]
        host = f"[{self._host}]" if family == socket.AF_INET6 else self._host
        self.path = f"socket://{host}:{self._port}"
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def unplug(self) -> None:
        """The driver's connection ends, and no other is taken."""
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
            caller, _ = self._listener.accept()
            if self._driver is not None and _has_hung_up(self._driver):
                self._handle_peer_hang_up()  # its end lies here unread
            if self._driver is not None:
                caller.close()  # one machine, one driver
                return
            caller.setblocking(False)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._driver = caller
            self._peer_connected(caller.fileno())

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
