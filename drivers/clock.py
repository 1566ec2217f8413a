"""Time as an argument: what the pacing asks for, and the clock on the wall."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

CHARACTER_S = 0.100  # 11 units at 110 baud - Teletype Bulletin 310B 574-122-100TC 3.02


class Clock(Protocol):
    """Seconds from some beginning, and a way to wait for one of them."""

    def now(self) -> float: ...

    async def sleep_until(self, deadline: float) -> None:
        """Back no earlier than the deadline; gives way to others once even if it has passed."""
        ...


class WallClock:
    """The monotonic clock of this computer."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        # Deadlines, not delays: a late wake-up is not carried into the next one.
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))
