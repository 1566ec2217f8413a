"""What systemd is told of a daemon: that it turns, and what it is at.

That it turns is not that a timer runs out: where strokes stand ready, and nothing keeps them, some must have been
struck since the last look; and whoever takes the turns must still be there. Then, and only then, it is alive.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon.session import TeletypeSession
from daemon.systemd import SystemdNotifier

CHECK_INTERVAL_S = 2.0  # between two looks
STALL_LIMIT_S = 10.0  # a stroke that stands ready for so long is never struck; a motor that starts takes less
SHUTDOWN_LIMIT_S = 45.0  # the line that is being struck, and a goodbye


@dataclass(slots=True)
class StrikeWatch:
    """Whether strokes are struck, look by look; the time is an argument."""

    struck: int = -1
    changed_at: float = 0.0

    def is_progressing(self, now: float, struck: int, *, blocked: bool) -> bool:
        """`kept`: none stands ready, or none may be struck: no line, or ^S."""
        if blocked or struck != self.struck:
            self.struck, self.changed_at = struck, now
        return now - self.changed_at < STALL_LIMIT_S


async def run_watchdog(
    session: TeletypeSession, notifier: SystemdNotifier, interval_s: float = CHECK_INTERVAL_S
) -> None:
    """Tell, for as long as there is something to tell; to be cancelled."""
    loop, progress, told = asyncio.get_running_loop(), StrikeWatch(), ""
    if notifier.watchdog_s is not None:
        interval_s = min(interval_s, notifier.watchdog_s / 2)
    while True:
        now = session.tty.status()
        kept = now.ready == now.held or now.lost is not None or now.paused
        if progress.is_progressing(loop.time(), now.counters.struck, blocked=kept):
            notifier.send_watchdog()
        if (said := format_status_line(session, now.lost)) != told:
            notifier.send_status(told := said)
        await asyncio.sleep(interval_s)


def format_status_line(session: TeletypeSession, hang_up_reason: str | None = None) -> str:
    """As `systemctl status` shows it."""
    return f"{session.activity.upper() if hang_up_reason is None else 'HUNG UP'}, model {session.model_name}"
