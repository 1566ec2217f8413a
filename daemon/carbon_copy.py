"""The carbon copy: what the machine prints, at the same time on a second Teletype or in a file.

A copy that is slow, gone or failing never delays the paper: it is told once, tried again until it is back, and goes on
with a line that says how many characters are missing. It gets what leaves ink, moves the carriage or rings, no code
for a reader or a punch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from daemon.line_connection import retry_intervals
from drivers.clock import Clock
from drivers.errors import DriverError
from drivers.events import CharacterStruck, Event
from drivers.paper.paper import BEL, CR, LF

MAX_WAITING = 600  # characters: a minute of paper. A copy that is further behind loses them
MAX_GAP_S = 0.5  # the longest pause of the paper that a copy behind it keeps: a carriage return
RETURN_S = 0.4  # a carriage return from the last column, and a character time
TELL_INTERVAL_S = 60.0
CLOSE_TIMEOUT_S = 2.0

_log = logging.getLogger("asr33")


class CopySink(Protocol):
    """Where a copy goes. The methods raise DriverError or OSError."""

    @property
    def name(self) -> str: ...

    @property
    def character_s(self) -> float:
        """The shortest time between two characters."""
        ...

    async def open(self) -> None: ...

    async def write(self, byte: int) -> None:
        """Writes a byte of 7 bits, and waits until it is taken."""
        ...

    async def close(self) -> None: ...


class CarbonCopy:
    """Copies the strokes to one sink, in a task of its own; `on_event` is the observer of the teletype's events."""

    def __init__(
        self, sink: CopySink, clock: Clock, intervals: Callable[[], Iterator[float]] = retry_intervals
    ) -> None:
        self.missing = 0  # characters that the copy lacks since it was last told
        self._sink, self._clock, self._intervals = sink, clock, intervals
        self._waiting: deque[tuple[float, int]] = deque()  # when it was written to the machine, and the byte
        self._is_skipping = False  # the rest of this line of paper is left out
        self._has_waiting, self._is_empty = asyncio.Event(), asyncio.Event()
        self._is_empty.set()
        self._is_told, self._tell_at = False, float("-inf")
        self._written_at = self._copied_at = float("-inf")
        self._task = asyncio.ensure_future(self._copy_forever())

    def on_event(self, event: Event) -> None:
        if isinstance(event, CharacterStruck) and (0x20 <= event.byte <= 0x5F or event.byte in (CR, LF, BEL)):
            self._add(event.byte)

    async def close(self) -> None:
        """Copies the last characters if the sink takes them soon, and closes it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._is_empty.wait()
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._close_sink()

    def _add(self, byte: int) -> None:
        if self._is_skipping:
            self.missing += 1
            self._is_skipping = byte != LF
            self._has_waiting.set()
            return
        self._waiting.append((self._clock.now(), byte))
        if len(self._waiting) > MAX_WAITING:
            self.missing += len(self._waiting)
            self._waiting.clear()
            self._is_skipping = byte != LF
            self._tell("it takes no characters")
        self._is_empty.clear()
        self._has_waiting.set()

    async def _copy_forever(self) -> None:
        while True:
            await self._open_sink()
            try:
                await self._start_line()
                while True:
                    await self._copy_next()
            except (DriverError, OSError) as error:
                self._tell(_reason_of(error))
            await self._close_sink()

    async def _open_sink(self) -> None:
        for wait_s in self._intervals():
            try:
                await self._sink.open()
                return
            except (DriverError, OSError) as error:
                self._tell(_reason_of(error))
            await self._clock.sleep_until(self._clock.now() + wait_s)

    async def _copy_next(self) -> None:
        """Copies one character, no sooner after the one before than the machine printed it."""
        await self._has_waiting.wait()
        if self.missing and not self._is_skipping:
            await self._write_missing()
        if not self._waiting:
            self._has_waiting.clear()
            self._is_empty.set()
            return
        written_at, byte = self._waiting[0]
        gap = max(self._sink.character_s, min(MAX_GAP_S, written_at - self._written_at))
        await self._clock.sleep_until(max(written_at, self._copied_at + gap))
        if not self._waiting or self._waiting[0] != (written_at, byte):
            return  # it was dropped meanwhile
        await self._sink.write(byte)
        if self._waiting and self._waiting[0] == (written_at, byte):
            self._waiting.popleft()
        self._written_at, self._copied_at = written_at, self._clock.now()
        if self._is_told and not self.missing:
            self._is_told = False
            _log.info("the carbon copy to %s goes on", self._sink.name)

    async def _write_missing(self) -> None:
        """Says on the copy how many characters it lacks."""
        count, self.missing = self.missing, 0
        await self._start_line()
        await self._write_text(f"-- {count} CHARACTERS ARE MISSING --")
        await self._start_line()
        if self._is_told:
            self._is_told = False
            _log.info("the carbon copy to %s goes on; %d characters are missing in it", self._sink.name, count)

    async def _start_line(self) -> None:
        await self._write_text("\r\n")
        await self._clock.sleep_until(self._clock.now() + RETURN_S)

    async def _write_text(self, text: str) -> None:
        for char in text:
            await self._clock.sleep_until(self._copied_at + self._sink.character_s)
            await self._sink.write(ord(char))
            self._copied_at = self._clock.now()

    async def _close_sink(self) -> None:
        with contextlib.suppress(DriverError, OSError):
            await self._sink.close()

    def _tell(self, reason: str) -> None:
        now = self._clock.now()
        if not self._is_told and now >= self._tell_at:
            self._is_told, self._tell_at = True, now + TELL_INTERVAL_S
            _log.warning("the carbon copy to %s: %s; the paper goes on, the copy when it can", self._sink.name, reason)


def _reason_of(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
