"""What systemd is told of a daemon: that it turns, and what it is at.

That it turns is not that a timer runs out: where strokes stand ready, and nothing keeps them, some must have been
struck since the last look; and whoever takes the turns must still be there. Then, and only then, it is alive.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon.notify import Notify
from daemon.turns import App

EVERY_S = 2.0  # between two looks
STUCK_S = 10.0  # a stroke that stands ready for so long is never struck; a motor that starts takes less
LEAVING_S = 45.0  # the line that is being struck, and a goodbye


@dataclass(slots=True)
class Progress:
    """Whether strokes are struck, look by look; the time is an argument."""

    struck: int = -1
    since: float = 0.0

    def turns(self, now: float, struck: int, *, kept: bool) -> bool:
        """`kept`: none stands ready, or none may be struck: no line, or ^S."""
        if kept or struck != self.struck:
            self.struck, self.since = struck, now
        return now - self.since < STUCK_S


async def pulse(app: App, notify: Notify, every_s: float = EVERY_S) -> None:
    """Tell, for as long as there is something to tell; to be cancelled."""
    loop, progress, told = asyncio.get_running_loop(), Progress(), ""
    if notify.watchdog_s is not None:
        every_s = min(every_s, notify.watchdog_s / 2)
    while True:
        now = app.tty.status()
        kept = now.ready == now.held or now.lost is not None or now.paused
        if progress.turns(loop.time(), now.counters.struck, kept=kept):
            notify.alive()
        if (said := words(app, now.lost)) != told:
            notify.status(told := said)
        await asyncio.sleep(every_s)


def words(app: App, lost: str | None = None) -> str:
    """As `systemctl status` shows it."""
    return f"{app.doing.upper() if lost is None else 'HUNG UP'}, model {app.model}"
