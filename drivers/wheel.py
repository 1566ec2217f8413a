"""The strokes on their way to the machine: queued, paced, paused, and struck again where the line was lost.

One byte per write, on absolute deadlines, so that never more than one byte waits below us beside the one being
struck. Knows bytes and moments; no text, no key, no prompt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from drivers import errors, events
from drivers.clock import Clock, Later
from drivers.line import Line
from drivers.pace import Pace
from drivers.paper import BEL, CR, LF
from drivers.printer import Stroke

PAUSE_S = 300.0  # a ^S that nobody ends with ^Q is forgotten after so long
_GLANCE_S = 0.005  # how often to look whether a UART slower than our clock has taken the byte before
_LINE_STROKES = 2000  # of one line, kept to be struck again: 72 columns overprinted many times


@dataclass(frozen=True, slots=True)
class Due:
    """A stroke not yet written, the byte that will be, and when its text was handed over."""

    stroke: Stroke
    byte: int
    queued: float


class Wheel:
    """Strikes in order; one task at a time writes, and takes along what others have queued."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        pace: Pace,
        tap: Callable[[events.Event], None],
        *,
        sent: Callable[[int, float], None],
        power: Callable[[], Awaitable[None]],
        feeds: Collection[int] = (LF,),
        patient: bool,
    ) -> None:
        """`sent` is told each byte and its start; `power` is awaited before a byte goes to a motor that may stand.

        `feeds` are the bytes that leave a line. `patient`: a hang-up is waited out until `attach`; else it raises
        LineLost.
        """
        self.line = line
        self.lost: str | None = None
        self.paused_at: float | None = None
        self._clock, self._pace, self._tap = clock, pace, tap
        self._sent, self._power, self._patient = sent, power, patient
        self._feeds = feeds
        self._ready: deque[Due] = deque()
        self._turn = asyncio.Lock()
        self._there, self._going, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._there.set()
        self._going.set()
        self._forgotten = Later(clock, self._end_forgotten)
        self._line_struck: deque[Due] = deque(maxlen=_LINE_STROKES)
        self._line_above: list[Due] = []  # with the LF that left it, until that is surely struck
        self._above_sure_at = float("-inf")

    @property
    def unwritten(self) -> list[Stroke]:
        """What stands ready, first things first."""
        return [due.stroke for due in self._ready]

    async def strike(self, strokes: Iterable[tuple[Stroke, int]]) -> None:
        """Queue these, each with its byte of 8 bits; back when all is written. Cancelled, it forgets what is not."""
        queued = self._clock.now()
        self._ready.extend(Due(stroke, byte, queued) for stroke, byte in strokes)
        async with self._turn:
            while self._ready:
                await self._write_next()

    def forget(self) -> list[Stroke]:
        """Throws away all that is not yet written, and returns it."""
        forgotten = self.unwritten
        self._ready.clear()
        return forgotten

    async def close(self) -> None:
        await self._forgotten.close()

    # Pausing.

    def pause(self) -> None:
        if self.paused_at is None:
            self.paused_at = self._clock.now()
            self._going.clear()
            self._tap(events.Paused(self.paused_at))
            self._forgotten.at(self.paused_at + PAUSE_S)

    def go_on(self, *, forgotten: bool = False) -> None:
        if self.paused_at is not None:
            now = self._clock.now()
            self._tap(events.Resumed(now, now - self.paused_at, forgotten))
            self.paused_at = None
            self._going.set()
            self._forgotten.off()

    async def _end_forgotten(self) -> None:
        # It rings before it goes on, for somebody may still stand there.
        column = self._ready[0].stroke.column if self._ready else None
        self._ready.appendleft(Due(Stroke(BEL, column), BEL, self._clock.now()))
        self.go_on(forgotten=True)
        if not self._turn.locked():
            await self.strike(())

    # Hang-up and return.

    def hang_up(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._there.clear()
            self._gone.set()
            self._tap(events.Lost(self._clock.now(), reason))
            # What was below us may be gone with the line: the LF that left a line is sure when its time is over.
            if self._clock.now() >= self._above_sure_at:
                self._line_above = []

    async def hung_up(self) -> str:
        """Back when the line is lost, with the reason."""
        await self._gone.wait()
        return self.lost or ""

    async def attach(self, line: Line, fresh: Sequence[tuple[Stroke, int]]) -> None:
        """Go on, on a new line: `fresh` takes the carriage to a clean line, then the lost one is struck again."""
        now = self._clock.now()
        again = [*self._line_above, *self._line_struck]
        self._line_above = []
        self._line_struck.clear()
        self._ready.extendleft(reversed([*(Due(stroke, byte, now) for stroke, byte in fresh), *again]))
        self.line, self.lost = line, None
        self._gone.clear()
        self._there.set()
        self._tap(events.Found(now, line.name, len(again)))
        if not self._turn.locked():
            await self.strike(())

    def printed_itself(self, stroke: Stroke, byte: int, settle_s: float) -> None:
        """In half duplex: a key that the machine has printed just now."""
        now = self._clock.now()
        self._pace.keyed(settle_s, now)
        self._record(Due(stroke, byte, now))

    # Writing.

    async def _write_next(self) -> None:
        """Waits for whatever must be waited for, and then writes one byte or finds that there is none any more."""
        if not await self._clear():
            return
        await self._clock.sleep_until(self._pace.write_at(self._ready[0].stroke))
        # Much may have happened in that time.
        if self._standing() or self._pace.write_at(self._ready[0].stroke) > self._clock.now():
            return
        if self.line.waiting:
            await self._clock.sleep_until(self._clock.now() + _GLANCE_S)
            self._pace.slipped(self._clock.now())
            return
        due = self._ready[0]
        try:
            self.line.write(due.byte)
        except errors.LineLost as error:
            self.hang_up(str(error))
            return
        self._ready.popleft()
        # Told before it can be on the wire: a daemon that is killed has logged all that was struck.
        start = self._pace.written(due.stroke, self._clock.now())
        self._sent(due.byte, start)
        self._record(due)
        self._tap(events.Struck(start, due.queued, due.stroke.byte, due.stroke.column))
        await self._let_go(start)

    def _standing(self) -> bool:
        return not self._ready or self.lost is not None or self.paused_at is not None

    async def _clear(self) -> bool:
        """Whether a byte may go now; waits while the line is lost or the operator has stopped us."""
        if self.lost is not None:
            if not self._patient:
                raise errors.LineLost(self.lost)
            await self._there.wait()
        elif self.paused_at is not None:
            await self._going.wait()
        else:
            await self._power()
        return not self._standing()

    async def _let_go(self, start: float) -> None:
        """Waits until the byte is out of our hands."""
        try:
            await self.line.drain()
        finally:
            if self._clock.now() > start + _GLANCE_S:  # the far end took nothing for a while
                self._pace.slipped(self._clock.now())
        if self._above_sure_at == float("inf"):
            self._above_sure_at = self._pace.free_at
        if self.lost is not None and not self._patient:
            raise errors.LineLost(self.lost)

    def _record(self, due: Due) -> None:
        if due.stroke.byte < 0x20 and due.stroke.byte not in (CR, LF):
            return  # a bell, a reader's or a punch's code: nothing that stands on the paper
        self._line_struck.append(due)
        if due.stroke.byte in self._feeds:
            self._line_above = list(self._line_struck)
            self._above_sure_at = float("inf")
            self._line_struck.clear()
