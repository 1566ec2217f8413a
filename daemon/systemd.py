"""Notifies systemd by sd_notify(3): ready, status, stopping, and the watchdog of a daemon that makes progress.

The watchdog is fed only while the machine makes progress. If characters are queued and nothing blocks them (lost line,
^S), at least one must have been struck in the last 10 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.session import TeletypeSession

MAX_STATUS_CHARS = 512
CHECK_INTERVAL_S = 2.0
STALL_LIMIT_S = 10.0  # longer than the motor takes to start
SHUTDOWN_LIMIT_S = 45.0  # for the line that is being struck, and a goodbye


class SystemdNotifier:
    """Sends messages to the service manager at $NOTIFY_SOCKET; without one, or after an error, nothing is sent."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A path that begins with @ names an abstract socket, whose first byte is zero (unix(7)).
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_s = _watchdog_timeout(environ)

    def send_ready(self, status: str = "") -> None:
        """Tells systemd that the service is ready."""
        self._send("READY=1", *_status_lines(status))

    def send_stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status_lines(status))

    def send_status(self, status: str) -> None:
        """Sets the line that `systemctl status` shows."""
        self._send(*_status_lines(status))

    def send_watchdog(self) -> None:
        """Feeds the watchdog; the caller must do so once in every `watchdog_s`, better twice."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Extends the timeout of the start or the stop to these seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


@dataclass(slots=True)
class StrikeWatch:
    """Detects a machine that has stopped striking. The time is an argument."""

    struck: int = -1
    changed_at: float = 0.0

    def is_progressing(self, now: float, struck: int, *, blocked: bool) -> bool:
        """Returns False after STALL_LIMIT_S without a stroke. `blocked`: no stroke is ready or allowed."""
        if blocked or struck != self.struck:
            self.struck, self.changed_at = struck, now
        return now - self.changed_at < STALL_LIMIT_S


async def run_watchdog(session: TeletypeSession, notifier: SystemdNotifier) -> None:
    """Feeds the watchdog and reports the status until it is cancelled."""
    loop, strikes, sent_status = asyncio.get_running_loop(), StrikeWatch(), ""
    interval_s = min(CHECK_INTERVAL_S, (notifier.watchdog_s or math.inf) / 2)
    while True:
        machine = session.tty.status()
        blocked = machine.ready == machine.held or machine.lost is not None or machine.paused
        if strikes.is_progressing(loop.time(), machine.counters.struck, blocked=blocked):
            notifier.send_watchdog()
        if (status := format_status_line(session, machine.lost)) != sent_status:
            notifier.send_status(sent_status := status)
        await asyncio.sleep(interval_s)


def format_status_line(session: TeletypeSession, hang_up_reason: str | None = None) -> str:
    """Returns the line that `systemctl status` shows."""
    state = session.activity.upper() if hang_up_reason is None else "HUNG UP"
    return "; ".join([f"{state}, model {session.model_name}", *session.spool.troubles.values()])


def _status_lines(status: str) -> list[str]:
    return [f"STATUS={' '.join(status.split())[:MAX_STATUS_CHARS]}"] if status else []


def _watchdog_timeout(environ: Mapping[str, str]) -> float | None:
    """Returns the longest time between two watchdog messages of this process; None if none are expected."""
    is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if is_ours and usec.isdecimal() and int(usec) > 0 else None
