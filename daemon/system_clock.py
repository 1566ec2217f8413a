"""Whether the system clock is right, and by how much it was set since the start of the session.

A computer without a battery clock starts with the time of its last shutdown, and gets the right one from the network
minutes later. The log has the wall clock of its start, so it needs the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")  # made by systemd-timesyncd(8) at its first contact
FIRST_INTERVAL_S, INTERVAL_S = 5.0, 60.0
MIN_STEP_S = 0.5  # a smaller difference is the clocks' own
_STA_UNSYNC, _TIME_ERROR = 0x0040, 5  # linux/timex.h

ClockState = Literal["set", "not set", "unknown"]

_log = logging.getLogger("asr33")


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2) as far as `status`; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def is_synchronised(mark: Path = TIMESYNC_MARK) -> bool:
    """Returns whether a time server has set the clock; False too where the system does not tell."""
    return read_clock_state(mark) == "set"


def read_clock_state(mark: Path = TIMESYNC_MARK) -> ClockState:
    """Returns whether a time server has set the clock; unknown where the system does not tell."""
    with contextlib.suppress(OSError):
        if mark.exists():
            return "set"
    try:
        state = _Timex()
        result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return "unknown"
    if result == -1:  # a sandbox that protects the clock: asr33@.service does, so there the mark of timesyncd counts
        return "unknown"
    return "not set" if result == _TIME_ERROR or state.status & _STA_UNSYNC else "set"


@dataclass(slots=True)
class ClockWatch:
    """Compares the wall clock with one that is never set. `offset`: the last that was reported."""

    started_wall: float
    started_boottime: float  # CLOCK_BOOTTIME: it goes on while the computer sleeps, as the wall clock does
    offset: float | None = None

    def observe(self, wall: float, boottime: float, *, is_right: bool) -> float | None:
        """Returns the seconds to add to the start's wall clock if they are news: the clock is right, or was set."""
        offset = round((wall - boottime) - (self.started_wall - self.started_boottime), 3)
        is_step = abs(offset - (self.offset or 0.0)) >= MIN_STEP_S
        if not is_step and (self.offset is not None or not is_right):
            return None
        self.offset = offset
        return offset


async def watch_system_clock(watch: ClockWatch, report: Callable[[float], None]) -> None:
    """Calls `report` with the offset when the clock is known to be right, and after each step; never returns."""
    interval_s = 0.0
    while True:
        await asyncio.sleep(interval_s)
        offset = watch.observe(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), is_right=is_synchronised())
        if offset is not None:
            if offset:
                _log.info("the system clock was set by %+.1f s; the session log notes it", offset)
            report(offset)
        interval_s = FIRST_INTERVAL_S if watch.offset is None else INTERVAL_S
