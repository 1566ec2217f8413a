"""The clock of the spool: it counts without steps, and knows whether it shows the time of day.

A computer without a battery clock starts in 1970, or with the time of its last shutdown, and gets the right time from
the network minutes later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from daemon.system_clock import is_synchronised

MIN_STEP_S = 2.0  # a smaller difference is the slow correction of a clock that runs
PLAUSIBLE_S = 1_767_225_600.0  # 2026: an earlier time is no time
# A plausible clock that no server has set for so long is set by hand or by a battery clock.
GRACE_S = 600.0


class SpoolClock:
    """Seconds of the epoch that do not jump: `check` tells of a step of the system's clock, and follows it."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        is_synchronised: Callable[[], bool] = is_synchronised,
    ) -> None:
        """`uptime`: seconds since the computer was started, also those in which it slept."""
        self._wall, self._uptime, self._is_synchronised = wall, uptime, is_synchronised
        self._offset = wall() - uptime()
        self._was_stepped = False

    def now(self) -> float:
        return self._uptime() + self._offset

    def check(self) -> float:
        """Returns by how many seconds the system's clock was set since the last call; 0 if it was not."""
        step = self._wall() - self.now()
        if abs(step) < MIN_STEP_S:
            return 0.0
        self._offset += step
        self._was_stepped = True
        return step

    @property
    def is_set(self) -> bool:
        """Whether the clock shows the time of day: a server or a hand has set it, or nothing else is to come."""
        if self.now() < PLAUSIBLE_S:
            return False
        return self._was_stepped or self._uptime() >= GRACE_S or self._is_synchronised()
