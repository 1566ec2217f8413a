"""Time as an argument: what the pacing asks for, the clock on the wall, and something to be done at a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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


class Timer:
    """One thing to be done at a moment, unless the moment is moved or it is called off before."""

    def __init__(self, clock: Clock, callback: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._callback = callback
        self._deadline = float("inf")
        self._sleeping_until = float("inf")
        self._task: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def schedule(self, deadline: float) -> None:
        """Do it then, and not when was said before."""
        if self._closed:
            return
        self._deadline = deadline
        if self._task is not None and deadline < self._sleeping_until:
            self._task.cancel()
            self._task = None
        if self._task is None:
            self._task = asyncio.ensure_future(self._wait())

    def cancel(self) -> None:
        """Do not do it. What is being done already goes on."""
        self._deadline = float("inf")

    async def close(self) -> None:
        """Do nothing any more, and stop what is being done."""
        self._closed = True
        tasks = [task for task in (self._task, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self) -> None:
        # Moved deadlines are looked at when the old one comes: a key typed costs no new task.
        while self._running is not None or self._deadline > self._clock.now():
            if self._running is not None:
                await asyncio.wait({self._running})  # one at a time
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
