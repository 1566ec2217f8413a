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
from drivers.clock import Clock, Timer
from drivers.line.line import Line
from drivers.output.pacing import StrikeTiming
from drivers.paper.paper import BEL, CR, LF
from drivers.status import MachineCounters
from drivers.text.printer import Stroke

PAUSE_TIMEOUT_S = 300.0  # a ^S that nobody ends with ^Q is forgotten after so long
_POLL_S = 0.005  # how often to look whether a UART slower than our clock has taken the byte before
_MAX_RESENT_STROKES = 2000  # of one line, kept to be struck again: 72 columns overprinted many times


@dataclass(frozen=True, slots=True)
class QueuedByte:
    """A stroke not yet written, the byte that will be, and when its text was handed over.

    `again`: not in its first place, as after a hang-up. `kept`: it stands on the paper, or moves the carriage.
    """

    stroke: Stroke
    byte: int
    queued: float
    is_resent: bool = False
    resendable: bool = True


class Transmitter:
    """Strikes in order; a task of its own writes for as long as anything stands ready, whoever may wait for that."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        timing: StrikeTiming,
        on_event: Callable[[events.Event], None],
        counters: MachineCounters,
        *,
        on_sent: Callable[[int, float], None],
        ensure_motor: Callable[[], Awaitable[None]],
        line_end_bytes: Collection[int] = (LF,),
        wait_for_line: bool,
    ) -> None:
        """`sent` is told each byte and its start; `power` is awaited before a byte goes to a motor that may stand.

        `feeds` are the bytes that leave a line. `patient`: a hang-up is waited out until `attach`; else it raises
        LineLost.
        """
        self.line = line
        self.hang_up_reason: str | None = None
        self.paused_at: float | None = None
        self._clock, self._timing, self._on_event, self._counters = clock, timing, on_event, counters
        self._on_sent, self._ensure_motor, self._wait_for_line = on_sent, ensure_motor, wait_for_line
        self._line_end_bytes = line_end_bytes
        self._queue: deque[QueuedByte] = deque()
        self._write_task: asyncio.Task[None] | None = None
        self._connected, self._unpaused, self._disconnected = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._connected.set()
        self._unpaused.set()
        self._pause_timer = Timer(clock, self._time_out_pause)
        self._current_line: deque[QueuedByte] = deque(maxlen=_MAX_RESENT_STROKES)
        self._previous_line: list[QueuedByte] = []  # with the LF that left it, until that is surely struck
        self._previous_line_sure_at = float("-inf")

    @property
    def queue_length(self) -> int:
        """How many strokes are not yet written."""
        return len(self._queue)

    @property
    def next_stroke(self) -> Stroke | None:
        """The first of them."""
        return self._queue[0].stroke if self._queue else None

    @property
    def has_resent(self) -> bool:
        """Something goes first that was not given out in that order: the carriage is not where the strokes say."""
        return any(due.is_resent for due in self._queue)

    async def send(self, strokes: Iterable[tuple[Stroke, int]], *, resendable: bool = True) -> None:
        """Queue these, each with its byte of 8 bits; back when all that is queued is written.

        What is not `kept` is not struck again after a hang-up. Raises LineLost, MotorStuck. Cancelled, it leaves
        the queue as it is: see `forget`.
        """
        queued = self._clock.now()
        self._queue.extend(QueuedByte(stroke, byte, queued, resendable=resendable) for stroke, byte in strokes)
        self._start_writing()
        if self._write_task is not None:
            await asyncio.shield(self._write_task)

    def discard_queue(self) -> list[Stroke]:
        """Throws away all that is not yet written, and returns it."""
        forgotten = [due.stroke for due in self._queue]
        self._queue.clear()
        return forgotten

    async def close(self) -> None:
        await self._pause_timer.close()
        if self._write_task is not None:
            self._write_task.cancel()
            await asyncio.wait({self._write_task})

    # Pausing.

    def pause(self) -> None:
        if self.paused_at is None:
            self.paused_at = self._clock.now()
            self._unpaused.clear()
            self._on_event(events.PrintingPaused(self.paused_at))
            self._pause_timer.schedule(self.paused_at + PAUSE_TIMEOUT_S)

    def resume(self, *, timed_out: bool = False) -> None:
        if self.paused_at is not None:
            now = self._clock.now()
            self._on_event(events.PrintingResumed(now, now - self.paused_at, timed_out))
            self.paused_at = None
            self._unpaused.set()
            self._pause_timer.cancel()

    async def _time_out_pause(self) -> None:
        # It rings before it goes on, for somebody may still stand there.
        column = self._queue[0].stroke.column if self._queue else None
        self._queue.appendleft(QueuedByte(Stroke(BEL, column), BEL, self._clock.now()))
        self.resume(timed_out=True)
        self._start_writing()

    # Hang-up and return.

    def hang_up(self, reason: str) -> None:
        if self.hang_up_reason is None:
            self.hang_up_reason = reason
            self._counters.hang_ups += 1
            self._connected.clear()
            self._disconnected.set()
            self._on_event(events.LineDisconnected(self._clock.now(), reason))
            self.resume()  # with the line goes whoever might have typed ^Q
            # What was below us may be gone with the line: the LF that left a line is sure when its time is over.
            if self._clock.now() >= self._previous_line_sure_at:
                self._previous_line = []

    async def wait_for_hang_up(self) -> str:
        """Back when the line is lost, with the reason."""
        await self._disconnected.wait()
        return self.hang_up_reason or ""

    def attach(self, line: Line, fresh_line: Sequence[tuple[Stroke, int]]) -> None:
        """Go on, on a new line: `fresh` takes the carriage to a clean line, then the lost one is struck again."""
        now = self._clock.now()
        again = [replace(due, is_resent=True) for due in (*self._previous_line, *self._current_line)]
        self._previous_line = []
        self._current_line.clear()
        self._queue.extendleft(reversed(again))
        self.prepend(fresh_line)
        self.line, self.hang_up_reason = line, None
        self._disconnected.clear()
        self._connected.set()
        self._on_event(events.LineReconnected(now, line.name, len(again)))
        self._start_writing()

    def prepend(self, strokes: Sequence[tuple[Stroke, int]]) -> None:
        """Before all that stands ready, whose columns then hold no longer."""
        now = self._clock.now()
        self._queue.extendleft(QueuedByte(stroke, byte, now, is_resent=True) for stroke, byte in reversed(strokes))

    def note_local_print(self, stroke: Stroke, byte: int) -> None:
        """In half duplex: a key that the machine has printed just now."""
        now = self._clock.now()
        self._timing.note_local_print(stroke.settle_s, now)
        self._record_for_resend(QueuedByte(stroke, byte, now))

    # Writing.

    def _start_writing(self) -> None:
        if self._queue and (self._write_task is None or self._write_task.done()):
            self._write_task = asyncio.ensure_future(self._write_all())
            self._write_task.add_done_callback(_retrieve_exception)

    async def _write_all(self) -> None:
        while self._queue:
            await self._write_next()

    async def _write_next(self) -> None:
        """Waits for whatever must be waited for, and then writes one byte or finds that there is none any more."""
        if not await self._wait_ready():
            return
        await self._clock.sleep_until(self._timing.write_time(self._queue[0].stroke))
        # Much may have happened in that time.
        if self._is_blocked() or self._timing.write_time(self._queue[0].stroke) > self._clock.now():
            return
        if self.line.out_waiting:
            await self._clock.sleep_until(self._clock.now() + _POLL_S)
            self._timing.note_late_uart(self._clock.now())
            return
        due = self._queue[0]
        try:
            self.line.write(due.byte)
        except errors.LineLost as error:
            self.hang_up(str(error))
            return
        self._queue.popleft()
        # Told in the same turn of the loop, and a serial port is written to in the next: a daemon that is killed has
        # logged all that was struck.
        start = self._timing.note_written(due.stroke, self._clock.now())
        self._counters.struck += 1
        self._on_sent(due.byte, start)
        self._record_for_resend(due)
        self._on_event(events.CharacterStruck(start, due.queued, due.stroke.byte, due.stroke.column))
        await self._wait_accepted(start)

    def _is_blocked(self) -> bool:
        return not self._queue or self.hang_up_reason is not None or self.paused_at is not None

    async def _wait_ready(self) -> bool:
        """Whether a byte may go now; waits while the line is lost or the operator has stopped us."""
        if self.hang_up_reason is not None:
            if not self._wait_for_line:
                raise errors.LineLost(self.hang_up_reason)
            await self._connected.wait()
        elif self.paused_at is not None:
            await self._unpaused.wait()
        else:
            await self._ensure_motor()
        return not self._is_blocked()

    async def _wait_accepted(self, start: float) -> None:
        """Waits until the byte is out of our hands."""
        try:
            await self.line.drain()
        finally:
            if self._clock.now() > start + _POLL_S:  # the far end took nothing for a while
                self._timing.note_late_uart(self._clock.now())
        if self._previous_line_sure_at == float("inf"):
            self._previous_line_sure_at = self._timing.free_at
        if self.hang_up_reason is not None and not self._wait_for_line:
            raise errors.LineLost(self.hang_up_reason)

    def _record_for_resend(self, due: QueuedByte) -> None:
        if not due.resendable or (due.stroke.byte < 0x20 and due.stroke.byte not in (CR, LF)):
            return  # a row of a tape, a bell, a reader's or a punch's code: nothing that stands on the paper
        self._current_line.append(due)
        if due.stroke.byte in self._line_end_bytes:
            self._previous_line = list(self._current_line)
            self._previous_line_sure_at = float("inf")
            self._current_line.clear()


def _retrieve_exception(writing: asyncio.Task[None]) -> None:
    """Who waits for the wheel is told what befell it; there may be nobody, after a bell or a hang-up."""
    if not writing.cancelled():
        writing.exception()
