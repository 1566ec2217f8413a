"""The transmit queue: strokes are queued, paced, paused, and struck again after a hang-up.

Each byte is written by itself at its deadline, so that at most one byte waits below the driver beside the byte being
struck. Knows bytes, moments and the printer's state; no key, no prompt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from drivers import events
from drivers.clock import Clock, Timer
from drivers.errors import LineLost
from drivers.line.line import Line
from drivers.output.motor_control import MotorController
from drivers.output.pacing import StrikeTiming
from drivers.paper.paper import BEL, CR, LF
from drivers.profile import Profile
from drivers.status import MachineCounters
from drivers.text.charset import apply_parity, strip_parity
from drivers.text.printer import Printer, Stroke

PAUSE_TIMEOUT_S = 300.0  # after this time the driver ends a ^S without a ^Q
_POLL_S = 0.005  # between two checks whether a UART slower than the clock has taken the byte before
_MAX_FRESH_LINES = 2  # in a row: the first may be lost with the line
_MAX_RESENT_STROKES = 2000  # of one line, kept to be struck again: 72 columns overprinted many times


@dataclass(frozen=True, slots=True)
class QueuedByte:
    """A stroke that is not yet written, the byte to write for it, and when its text was handed over.

    `is_resent`: it was put before the queue, as after a hang-up. `resendable`: it leaves ink or moves the carriage.
    `is_fresh_line`: it belongs to the new line after a hang-up.
    """

    stroke: Stroke
    byte: int
    queued: float
    is_resent: bool = False
    resendable: bool = True
    is_fresh_line: bool = False


class Transmitter:
    """Writes the queue in order, in a task of its own that runs as long as the queue is not empty.

    `on_sent` is called with each byte and the start of its character time.
    """

    def __init__(
        self,
        line: Line,
        clock: Clock,
        profile: Profile,
        printer: Printer,
        timing: StrikeTiming,
        motor: MotorController,
        counters: MachineCounters,
        on_event: Callable[[events.Event], None],
        *,
        wait_for_line: bool,
    ) -> None:
        """`wait_for_line`: after a hang-up the queue waits for `attach`; otherwise `send` raises LineLost."""
        self.line = line
        self.hang_up_reason: str | None = None
        self.paused_at: float | None = None
        self.on_sent: Callable[[int, float], None] = lambda byte, start: None
        self._clock, self._profile, self._printer, self._timing, self._motor = clock, profile, printer, timing, motor
        self._counters, self._on_event, self._wait_for_line = counters, on_event, wait_for_line
        self._line_end_bytes = (CR, LF) if profile.return_feeds else (LF,)
        self._queue: deque[QueuedByte] = deque()
        self._write_task: asyncio.Task[None] | None = None
        self._connected, self._unpaused, self._disconnected = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._connected.set()
        self._unpaused.set()
        self._pause_timer = Timer(clock, self._time_out_pause)
        self._current_line: deque[QueuedByte] = deque(maxlen=_MAX_RESENT_STROKES)
        self._previous_line: list[QueuedByte] = []  # with the LF that ended it, until that LF is surely struck
        self._previous_line_sure_at = float("-inf")
        self._fresh_lines = 0  # written after hang-ups, with nothing struck since
        self._fresh_line_sure_at = float("-inf")

    @property
    def queue_length(self) -> int:
        """Number of strokes that are not yet written."""
        return len(self._queue)

    @property
    def next_stroke(self) -> Stroke | None:
        """The first stroke of the queue."""
        return self._queue[0].stroke if self._queue else None

    async def send(self, strokes: Iterable[tuple[Stroke, int]], *, resendable: bool = True) -> None:
        """Queues strokes, each with its byte of 8 bits, and waits until the queue is written.

        Strokes that are not `resendable` are not struck again after a hang-up. Raises LineLost, DriverError. A
        cancelled call leaves the queue as it is: see `discard_output`.
        """
        queued = self._clock.now()
        self._queue.extend(QueuedByte(stroke, byte, queued, resendable=resendable) for stroke, byte in strokes)
        self._start_writing()
        if self._write_task is not None:
            await asyncio.shield(self._write_task)

    def discard_output(self) -> int:
        """Drops the queue and the word that the printer holds back; returns the number of dropped characters."""
        has_resent = any(item.is_resent for item in self._queue)
        unstruck = [item.stroke for item in self._queue]
        self._queue.clear()
        count = len(unstruck) + self._printer.held_characters
        self._printer.forget_unstruck(unstruck)
        if has_resent:
            self._printer.lose_track()  # the strokes were not queued in the order in which the printer made them
        return count

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
        # The bell rings first, to warn an operator at the machine.
        column = self.next_stroke.column if self.next_stroke else None
        self._queue.appendleft(QueuedByte(Stroke(BEL, column), BEL, self._clock.now()))
        self.resume(timed_out=True)
        self._start_writing()

    # Hang-up and reconnection.

    def hang_up(self, reason: str) -> None:
        if self.hang_up_reason is None:
            self.hang_up_reason = reason
            self._counters.hang_ups += 1
            self._connected.clear()
            self._disconnected.set()
            self._on_event(events.LineDisconnected(self._clock.now(), reason))
            self.resume()  # no ^Q can come any more
            # Bytes below the driver may be lost with the line: an LF is sure only when its character time is over.
            if self._clock.now() >= self._previous_line_sure_at:
                self._previous_line = []
            if self._fresh_lines and self._clock.now() >= self._fresh_line_sure_at:
                self._fresh_lines = _MAX_FRESH_LINES  # it was struck: no other is needed

    async def wait_for_hang_up(self) -> str:
        """Waits until the line is lost; returns the reason."""
        await self._disconnected.wait()
        return self.hang_up_reason or ""

    def attach(self, line: Line) -> None:
        """Continues on a new line: moves the carriage to a clean line, then strikes the lost line again.

        A line that hangs up again and again feeds the paper once.
        """
        while self._queue and self._queue[0].is_fresh_line:  # of the attempt before
            self._queue.popleft()
        resent = [replace(item, is_resent=True) for item in (*self._previous_line, *self._current_line)]
        self._previous_line = []
        self._current_line.clear()
        self._queue.extendleft(reversed(resent))
        if self._fresh_lines < _MAX_FRESH_LINES:
            self._prepend_fresh_line(after_hang_up=True)
        self.line, self.hang_up_reason = line, None
        self._disconnected.clear()
        self._connected.set()
        self._on_event(events.LineReconnected(self._clock.now(), line.name, len(resent)))
        self._start_writing()

    # What the machine prints by itself.

    def follow_local_print(self, byte: int) -> None:
        """Follows a key that the machine has just printed by itself. Queued strokes of this line get a fresh line."""
        column, now = self._printer.column, self._clock.now()
        stroke = Stroke(strip_parity(byte), column, self._printer.observe_byte(byte))
        self._timing.note_local_print(stroke.settle_s, now)
        self._record_for_resend(QueuedByte(stroke, byte, now))
        if self._queue:
            if self._queue[0].stroke.is_spacing:
                self._prepend_fresh_line()
            self._printer.lose_track()

    def lose_track(self) -> None:
        """Makes the column unknown."""
        self._printer.lose_track()

    def _prepend_fresh_line(self, *, after_hang_up: bool = False) -> None:
        """Puts a new line before the queue. The columns in the queued strokes are then wrong."""
        now, parity = self._clock.now(), self._profile.send_parity
        for stroke in reversed(Printer(self._profile).fresh_line()):
            byte = apply_parity(stroke.byte, parity)
            item = QueuedByte(stroke, byte, now, is_resent=True, is_fresh_line=after_hang_up)
            self._queue.appendleft(item)

    # Writing.

    def _start_writing(self) -> None:
        if self._queue and (self._write_task is None or self._write_task.done()):
            self._write_task = asyncio.ensure_future(self._write_all())
            self._write_task.add_done_callback(_retrieve_exception)

    async def _write_all(self) -> None:
        while self._queue:
            await self._write_next()

    async def _write_next(self) -> None:
        """Waits until a byte may be written, and writes it; returns without writing if the state has changed."""
        if not await self._wait_ready():
            return
        await self._clock.sleep_until(self._timing.write_time(self._queue[0].stroke))
        # The queue, the line and the deadline may have changed in that time.
        if self._is_blocked() or self._timing.write_time(self._queue[0].stroke) > self._clock.now():
            return
        if self.line.out_waiting:
            await self._clock.sleep_until(self._clock.now() + _POLL_S)
            self._timing.note_late_uart(self._clock.now())
            return
        item = self._queue[0]
        try:
            self.line.write(item.byte)
        except LineLost as error:
            self.hang_up(str(error))
            return
        self._queue.popleft()
        # The event is sent in the same turn of the loop, and the serial port is written in the next: the log has
        # written a line of paper before its LF is struck.
        start = self._timing.note_written(item.stroke, self._clock.now())
        self._counters.count_strike(item.stroke.byte, item.stroke.is_overprint)
        self.on_sent(item.byte, start)
        self._record_for_resend(item)
        self._on_event(events.CharacterStruck(start, item.queued, item.stroke.byte, item.stroke.column))
        await self._wait_accepted(start)

    def _is_blocked(self) -> bool:
        return not self._queue or self.hang_up_reason is not None or self.paused_at is not None

    async def _wait_ready(self) -> bool:
        """Waits while the line is lost, printing is paused or the motor starts; returns whether a byte may go now."""
        if self.hang_up_reason is not None:
            if not self._wait_for_line:
                raise LineLost(self.hang_up_reason)
            await self._connected.wait()
        elif self.paused_at is not None:
            await self._unpaused.wait()
        else:
            await self._motor.switch_on()
        return not self._is_blocked()

    async def _wait_accepted(self, start: float) -> None:
        """Waits until the line has accepted the byte."""
        try:
            await self.line.drain()
        finally:
            if self._clock.now() > start + _POLL_S:  # the far end accepted nothing for a while
                self._timing.note_late_uart(self._clock.now())
        if self._previous_line_sure_at == float("inf"):
            self._previous_line_sure_at = self._timing.free_at
        if self.hang_up_reason is not None and not self._wait_for_line:
            raise LineLost(self.hang_up_reason)

    def _record_for_resend(self, item: QueuedByte) -> None:
        if item.is_fresh_line:
            if item.stroke.byte in self._line_end_bytes:
                self._fresh_lines += 1
                self._fresh_line_sure_at = self._timing.free_at
            return
        self._fresh_lines = 0
        if not item.resendable or (item.stroke.byte < 0x20 and item.stroke.byte not in (CR, LF)):
            return  # a tape row, a bell, or a code for reader or punch leaves nothing on the paper
        self._current_line.append(item)
        if item.stroke.byte in self._line_end_bytes:
            self._previous_line = list(self._current_line)
            self._previous_line_sure_at = float("inf")
            self._current_line.clear()


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    """Marks the exception as seen: after a bell or a hang-up no caller may wait for the task."""
    if not task.cancelled():
        task.exception()
