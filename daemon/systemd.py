"""What systemd is told of a service, by own lines to the socket that it names: sd_notify(3) without a library.

Knows the words of that protocol; nothing of who is ready, or with what. Without $NOTIFY_SOCKET nobody is told.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

MAX_STATUS_CHARS = 512  # characters of a status


class SystemdNotifier:
    """Tells the service's own supervisor; where there is none, or it does not listen, nothing happens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        named = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is of the abstract kind, which has a zero there (unix(7)).
        self._address = "\0" + named[1:] if named.startswith("@") else named
        self.watchdog_s = _watchdog_timeout(environ)

    def send_ready(self, status: str = "") -> None:
        """The service does what it is for, from now on."""
        self._send("READY=1", *_status_lines(status))

    def send_stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status_lines(status))

    def send_status(self, status: str) -> None:
        """One line, as `systemctl status` shows it."""
        self._send(*_status_lines(status))

    def send_watchdog(self) -> None:
        """To be told at least once in every `watchdog_s`; better twice."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Starting, or stopping, may take so much longer, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def _status_lines(status: str) -> list[str]:
    return [f"STATUS={' '.join(status.split())[:MAX_STATUS_CHARS]}"] if status else []


def _watchdog_timeout(environ: Mapping[str, str]) -> float | None:
    """How long this process may be silent; None if nobody minds."""
    for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if for_us and usec.isdecimal() and int(usec) > 0 else None
