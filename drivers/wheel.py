"""The strokes on their way to the machine: queued, paced, paused, and struck again where the line was lost.

One byte per write, on absolute deadlines, so that never more than one byte waits below us beside the one being
struck. Knows bytes and moments; no text, no key, no prompt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from drivers import errors, events
from drivers.clock import Clock, Later
from drivers.line import Line
from drivers.pace import Pace
from drivers.paper import BEL, CR, LF
from drivers.printer import Stroke
from drivers.status import Counters

PAUSE_S = 300.0  # a ^S that nobody ends with ^Q is forgotten after so long
_GLANCE_S = 0.005  # how often to look whether a UART slower than our clock has taken the byte before
_LINE_STROKES = 2000  # of one line, kept to be struck again: 72 columns overprinted many times


@dataclass(frozen=True, slots=True)
class Due:
    """A stroke not yet written, the byte that will be, and when its text was handed over.

    `again`: not in its first place, as after a hang-up. `kept`: it stands on the paper, or moves the carriage.
    """

    stroke: Stroke
    byte: int
    queued: float
    again: bool = False
    kept: bool = True


class Wheel:
    """Strikes in order; a task of its own writes for as long as anything stands ready, whoever may wait for that."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        pace: Pace,
        tap: Callable[[events.Event], None],
        counters: Counters,
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
        self._clock, self._pace, self._tap, self._counters = clock, pace, tap, counters
        self._sent, self._power, self._patient = sent, power, patient
        self._feeds = feeds
        self._ready: deque[Due] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._there, self._going, self._gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._there.set()
        self._going.set()
        self._patience = Later(clock, self._end_pause)
        self._line_struck: deque[Due] = deque(maxlen=_LINE_STROKES)
        self._line_above: list[Due] = []  # with the LF that left it, until that is surely struck
        self._above_sure_at = float("-inf")

    @property
    def ready(self) -> int:
        """How many strokes are not yet written."""
        return len(self._ready)

    @property
    def next(self) -> Stroke | None:
        """The first of them."""
        return self._ready[0].stroke if self._ready else None

    @property
    def strikes_again(self) -> bool:
        """Something goes first that was not given out in that order: the carriage is not where the strokes say."""
        return any(due.again for due in self._ready)

    async def strike(self, strokes: Iterable[tuple[Stroke, int]], *, kept: bool = True) -> None:
        """Queue these, each with its byte of 8 bits; back when all that is queued is written.

        What is not `kept` is not struck again after a hang-up. Raises LineLost, MotorStuck. Cancelled, it leaves
        the queue as it is: see `forget`.
        """
        queued = self._clock.now()
        self._ready.extend(Due(stroke, byte, queued, kept=kept) for stroke, byte in strokes)
        self._start()
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def forget(self) -> list[Stroke]:
        """Throws away all that is not yet written, and returns it."""
        forgotten = [due.stroke for due in self._ready]
        self._ready.clear()
        return forgotten

    async def close(self) -> None:
        await self._patience.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})

    # Pausing.

    def pause(self) -> None:
        if self.paused_at is None:
            self.paused_at = self._clock.now()
            self._going.clear()
            self._tap(events.Paused(self.paused_at))
            self._patience.at(self.paused_at + PAUSE_S)

    def go_on(self, *, forgotten: bool = False) -> None:
        if self.paused_at is not None:
            now = self._clock.now()
            self._tap(events.Resumed(now, now - self.paused_at, forgotten))
            self.paused_at = None
            self._going.set()
            self._patience.off()

    async def _end_pause(self) -> None:
        # It rings before it goes on, for somebody may still stand there.
        column = self._ready[0].stroke.column if self._ready else None
        self._ready.appendleft(Due(Stroke(BEL, column), BEL, self._clock.now()))
        self.go_on(forgotten=True)
        self._start()

    # Hang-up and return.

    def hang_up(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._counters.hang_ups += 1
            self._there.clear()
            self._gone.set()
            self._tap(events.Lost(self._clock.now(), reason))
            self.go_on()  # with the line goes whoever might have typed ^Q
            # What was below us may be gone with the line: the LF that left a line is sure when its time is over.
            if self._clock.now() >= self._above_sure_at:
                self._line_above = []

    async def hung_up(self) -> str:
        """Back when the line is lost, with the reason."""
        await self._gone.wait()
        return self.lost or ""

    def attach(self, line: Line, fresh: Sequence[tuple[Stroke, int]]) -> None:
        """Go on, on a new line: `fresh` takes the carriage to a clean line, then the lost one is struck again."""
        now = self._clock.now()
        again = [replace(due, again=True) for due in (*self._line_above, *self._line_struck)]
        self._line_above = []
        self._line_struck.clear()
        self._ready.extendleft(reversed(again))
        self.go_first(fresh)
        self.line, self.lost = line, None
        self._gone.clear()
        self._there.set()
        self._tap(events.Found(now, line.name, len(again)))
        self._start()

    def go_first(self, strokes: Sequence[tuple[Stroke, int]]) -> None:
        """Before all that stands ready, whose columns then hold no longer."""
        now = self._clock.now()
        self._ready.extendleft(Due(stroke, byte, now, again=True) for stroke, byte in reversed(strokes))

    def printed_itself(self, stroke: Stroke, byte: int) -> None:
        """In half duplex: a key that the machine has printed just now."""
        now = self._clock.now()
        self._pace.keyed(stroke.settle_s, now)
        self._record(Due(stroke, byte, now))

    # Writing.

    def _start(self) -> None:
        if self._ready and (self._writing is None or self._writing.done()):
            self._writing = asyncio.ensure_future(self._write_all())
            self._writing.add_done_callback(_looked_at)

    async def _write_all(self) -> None:
        while self._ready:
            await self._write_next()

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
        # Told in the same turn of the loop, and a serial port is written to in the next: a daemon that is killed has
        # logged all that was struck.
        start = self._pace.written(due.stroke, self._clock.now())
        self._counters.struck += 1
        self._sent(due.byte, start)
        self._record(due)
        self._tap(events.Struck(start, due.queued, due.stroke.byte, due.stroke.column))
        await self._handed_over(start)

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

    async def _handed_over(self, start: float) -> None:
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
        if not due.kept or (due.stroke.byte < 0x20 and due.stroke.byte not in (CR, LF)):
            return  # a row of a tape, a bell, a reader's or a punch's code: nothing that stands on the paper
        self._line_struck.append(due)
        if due.stroke.byte in self._feeds:
            self._line_above = list(self._line_struck)
            self._above_sure_at = float("inf")
            self._line_struck.clear()


def _looked_at(writing: asyncio.Task[None]) -> None:
    """Who waits for the wheel is told what befell it; there may be nobody, after a bell or a hang-up."""
    if not writing.cancelled():
        writing.exception()
