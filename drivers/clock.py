"""The clock as an argument: its protocol, the clock of this computer, and a timer that can be rescheduled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

CHARACTER_S = 0.100  # 11 units at 110 baud - Teletype Bulletin 310B 574-122-100TC 3.02


class Clock(Protocol):
    """A clock in seconds since an arbitrary start."""

    def now(self) -> float: ...

    async def sleep_until(self, deadline: float) -> None:
        """Returns no earlier than the deadline; yields to other tasks once even if the deadline has passed."""
        ...


class WallClock:
    """The monotonic clock of this computer."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        # Sleeping until deadlines, not for delays, keeps a late wake-up out of the next one.
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))


class Timer:
    """Runs one callback at a deadline, which can be moved or cancelled before it comes."""

    def __init__(self, clock: Clock, callback: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._callback = callback
        self._deadline = float("inf")
        self._sleeping_until = float("inf")
        self._task: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def schedule(self, deadline: float) -> None:
        """Runs the callback at `deadline`, in place of any earlier setting."""
        if self._closed:
            return
        self._deadline = deadline
        if self._task is not None and deadline < self._sleeping_until:
            self._task.cancel()
            self._task = None
        if self._task is None:
            self._task = asyncio.ensure_future(self._wait())

    def cancel(self) -> None:
        """Drops the deadline. A callback that already runs continues."""
        self._deadline = float("inf")

    async def close(self) -> None:
        """Drops the deadline and stops a callback that runs."""
        self._closed = True
        tasks = [task for task in (self._task, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self) -> None:
        # Rescheduling reuses the sleeping task, so that a key does not create a new one.
        while self._running is not None or self._deadline > self._clock.now():
            if self._running is not None:
                await asyncio.wait({self._running})  # one callback at a time
            elif self._deadline == float("inf"):
                self._task = None
                return
            else:
                self._sleeping_until = self._deadline
                await self._clock.sleep_until(self._deadline)
        self._deadline = self._sleeping_until = float("inf")
        self._running, self._task = self._task, None
        try:
            await self._callback()
        finally:
            self._running = None
