"""The machine as the daemon sees it: print, read a line, stop at BREAK; one `tap` for whoever watches.

Joins the printer, the wheel, the keyboard, the clock and the line. Knows no model, and no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from drivers import errors, events
from drivers.clock import CHARACTER_S, Clock, Timer
from drivers.input.break_scope import BreakScope
from drivers.input.echo_canceller import ECHO_WINDOW_S
from drivers.input.input_queue import InputQueue
from drivers.input.keyboard import Keyboard
from drivers.input.line_editor import MAX_LINE_CHARACTERS, EditResult, LineEditor, echo_left_to_print
from drivers.input.receiver import CaptureMode
from drivers.line.line import Line
from drivers.output.motor_control import MotorController
from drivers.output.pacing import StrikeTiming
from drivers.output.transmitter import Transmitter
from drivers.paper.paper import CR, LF
from drivers.profile import Profile
from drivers.status import MachineCounters, Status
from drivers.tape import tape_units
from drivers.text.charset import Style, apply_parity
from drivers.text.printer import Printer, Stroke

WORD_HOLD_S = 2.0  # a word that does not go on is printed as far as it has come


class Teletype:
    """One machine at the end of one line. Only one task at a time may print or read."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        profile: Profile | None = None,
        *,
        on_event: Callable[[events.Event], None] | None = None,
        character_s: float = CHARACTER_S,
        max_line_characters: int = MAX_LINE_CHARACTERS,
        wait_for_line: bool = False,
    ) -> None:
        """`character_s` 0 drops the pace. `limit` is the longest prompt that may be typed.

        `patient`: a hang-up is waited out until `attach` brings a line; else print and read_line raise LineLost.
        """
        self.profile = profile = profile or Profile()
        self.clock = clock
        self.counters = MachineCounters()
        self.character_s = character_s
        self.rows_after_xoff = bytearray()  # rows that the reader still sent after its X-OFF
        self._on_event = on_event or (lambda event: None)
        self._max_line_characters = max_line_characters
        self._wait_for_line = wait_for_line
        self._printer, self._timing = Printer(profile), StrikeTiming(character_s)
        self._transmitter = Transmitter(
            line,
            clock,
            self._timing,
            self._on_event,
            self.counters,
            on_sent=self._note_sent,
            ensure_motor=lambda: self._motor.switch_on(),
            line_end_bytes=(CR, LF) if profile.return_feeds else (LF,),
            wait_for_line=wait_for_line,
        )
        self._input = InputQueue(
            profile, clock, self._printer, self._transmitter, self.counters, self._on_event, character_s
        )
        self._motor = MotorController(profile, line, clock, self._timing, self._on_event)
        self._word_timer = Timer(clock, self._flush_held)
        self._echo_timer = Timer(clock, self._input.check_echo_timeout)
        self._editor: LineEditor | None = None  # while a line is read
        line.listen(self._receive)

    async def close(self) -> None:
        """Stop what would else happen later. The line is its opener's."""
        for later in (self._word_timer, self._echo_timer, self._motor, self._transmitter):
            await later.close()

    # What whoever watches may ask.

    @property
    def column(self) -> int | None:
        """Where the carriage will be when all that was written is struck; None is unknown."""
        ready = self._transmitter.next_stroke
        return ready.column if ready else self._printer.column

    @property
    def has_partial_line(self) -> bool:
        """A line is being read, and something stands in it."""
        return self._editor is not None and self._editor.text != ""

    @property
    def keyboard(self) -> Keyboard:
        """What was learned about the keyboard's parity."""
        return self._input.receiver.keyboard

    @property
    def is_half_duplex(self) -> bool:
        """Whether the machine prints its own keys; not until that is known."""
        return self._input.receiver.is_half_duplex

    @property
    def hang_up_reason(self) -> str | None:
        """Why there is no line just now."""
        return self._transmitter.hang_up_reason

    def status(self) -> Status:
        now = self.clock.now()
        self._input.receiver.echo_canceller.expire(now)
        return Status(
            line=self._transmitter.line.name,
            lost=self._transmitter.hang_up_reason,
            column=self.column,
            keyboard_parity=self._input.receiver.keyboard.parity,
            wrong_parity=self._input.receiver.keyboard.wrong_parity,
            duplex=self._input.receiver.echo_canceller.duplex,
            below=self._timing.in_flight(now),
            ready=self._transmitter.queue_length + self._printer.held_characters,
            held=self._printer.held_characters,
            idle_ms=round(max(0.0, self._timing.free_at - now) * 1000),
            character_ms=self.character_s * 1000,
            paused=self._transmitter.paused_at is not None,
            motor_on=self._motor.is_on,
            motor_ran_s=self._motor.ran_s(now),
            missing_echoes=self._input.receiver.echo_canceller.missing,
            counters=dataclasses.replace(self.counters),
        )

    # Printing.

    async def print(self, text: str, *, style: Style = "prose", overstrike: bool = False) -> None:
        """Text in any pieces. Back when all but the held-back word is struck, or is one of two characters below us.

        `overstrike`: a\\bb strikes b over a, as typewriters and nroff do it; else a \\b is nothing.
        """
        if not text:
            return
        self._word_timer.cancel()
        await self._send_printed(self._printer.feed(text, style=style, overstrike=overstrike))
        if self._printer.has_held_word:
            self._word_timer.schedule(max(self.clock.now(), self._timing.free_at) + WORD_HOLD_S)

    async def print_raw(self, text: str) -> None:
        """Art: every character in its cell, `\\r` for another pass over the line, nothing beyond the margin."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.feed_raw(text))

    async def flush(self) -> None:
        """The held-back word too."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.flush())

    async def fresh_line(self) -> None:
        """To the left margin of a clean line; the carriage stays where it is if it is there."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.fresh_line())

    async def finish(self) -> None:
        """Flush, and wait until the last character is struck."""
        await self.flush()
        await self.clock.sleep_until(self._timing.free_at)

    async def _flush_held(self) -> None:
        with contextlib.suppress(errors.DriverError):  # whoever prints next is told
            await self._send_printed(self._printer.flush())

    async def _send_printed(self, strokes: Iterable[Stroke]) -> None:
        await self.send_strokes((stroke, apply_parity(stroke.byte, self.profile.send_parity)) for stroke in strokes)

    async def send_strokes(
        self, strokes: Iterable[tuple[Stroke, int]], *, urgent: bool = False, resendable: bool = True
    ) -> None:
        """Strokes, each with its byte of 8 bits; back when all is written. For codes that no text can be.

        `urgent` ones go out after a BREAK too; what is not `kept` is not struck again after a hang-up.
        """
        if self._input.is_break_pending and not urgent:
            self._printer.forget_unstruck([stroke for stroke, _ in strokes])
            await asyncio.sleep(0)  # the cancellation is on its way, and lands here
            return
        try:
            await self._transmitter.send(strokes, resendable=resendable)
        except BaseException:
            self._input.discard_output()
            raise

    def _note_sent(self, byte: int, start: float) -> None:
        self._input.receiver.echo_canceller.note_sent(byte, start)
        if self._input.receiver.echo_canceller.duplex is None:
            self._echo_timer.schedule(start + self.character_s + 1.1 * ECHO_WINDOW_S)

    # Reading a line.

    async def read_line(self, prompt: str = "", on_key: Callable[[str], None] = lambda text: None) -> str:
        """What is typed up to RETURN, echoed and edited; keys typed ahead come first. `\\n` is a soft new line.

        Raises Interrupted on BREAK or ^C, EndOfInput on ^D in an empty line, LineLost. What stands in the line
        when the wait is cancelled is as if typed ahead for the next one. `typed` is told at every key what stands.
        """
        await self.print(prompt)
        await self.flush()
        editor = self._editor = LineEditor(prompt, limit=self._max_line_characters, half_duplex=self.is_half_duplex)
        key, reply = "", EditResult("")
        try:
            begun = [editor.press(key).echo for key in self._input.take_restored_line()]
            on_key(editor.text)
            await self._send_printed(self._printer.echo_keys("".join(begun)))
            while True:
                reply = editor.press(key := await self._next_key())
                on_key(editor.text)
                await self._send_printed(self._echo_strokes(key, reply.echo))
                if reply.outcome == "submit":
                    return editor.text
                if reply.outcome == "interrupt":
                    raise errors.Interrupted("the operator pressed BREAK or ^C")
                if reply.outcome == "end":
                    raise errors.EndOfInput("the operator typed ^D")
        except asyncio.CancelledError:
            self._input.restore_line(editor.text, key if reply.outcome == "submit" else "")
            raise
        finally:
            self._editor = None

    def _echo_strokes(self, key: str, echo: str) -> list[Stroke]:
        if not self.is_half_duplex:
            return self._printer.echo_keys(echo)
        left = echo_left_to_print(echo, key)
        return self._printer.echo_keys(left) if left else self._printer.return_at_margin()

    async def _next_key(self) -> str:
        while not self._input.has_keys:
            if self._transmitter.hang_up_reason is not None and not self._wait_for_line:
                raise errors.LineLost(self._transmitter.hang_up_reason)
            await self._input.wait_for_input()
        return await self._input.next_key()

    def until_break(self) -> BreakScope:
        """`async with`: a body that BREAK or ^C ends wherever it waits; `broken` and `route` say so afterwards."""
        return BreakScope(self._input)

    # Reader, punch, answerback: by these calls alone.

    async def answerback(self) -> bytes:
        """What the drum answers to ENQ, raw; empty if there is none."""
        return await tape_units.request_answerback(self)

    async def punch(self, rows: bytes, *, text: bool) -> None:
        """Rows of eight holes onto a tape. `text`: they are also struck as they should be, else the column is lost."""
        await tape_units.punch_tape(self, rows, text=text)

    async def read_tape(self) -> bytes:
        """All rows of the tape in the reader, to its end."""
        return await tape_units.read_tape(self)

    async def read_tape_line(self) -> bytes:
        """The rows up to the next LF; what the reader sends after its X-OFF belongs to the line after. Empty: out."""
        return await tape_units.read_tape_line(self)

    def capture_input(self, mode: CaptureMode = "tape") -> contextlib.AbstractContextManager[bytearray]:
        """What comes up the wire meanwhile, raw: rows or an answer, not keys."""
        return self._input.capture_input(mode)

    def report_answerback(self, data: bytes) -> None:
        self._on_event(events.AnswerbackReceived(self.clock.now(), data))

    async def wait_character_times(self, characters: int) -> None:
        """So many character times after the last stroke; where there is no pace, a tenth of that."""
        resting_s = characters * (self.character_s or CHARACTER_S / 10)
        await self.clock.sleep_until(max(self.clock.now(), self._timing.free_at) + resting_s)

    def observe_byte(self, byte: int) -> float:
        """The machine acts on this byte, from whomever it comes: the column follows. Returns the carriage's time."""
        return self._printer.observe_byte(byte)

    def lose_track(self) -> None:
        """Nobody knows where the carriage is."""
        self._printer.lose_track()

    async def switch_motor(self, on: bool) -> None:
        """Raises MotorStuck."""
        await (self._motor.switch_on() if on else self._motor.switch_off())

    # The line: lost, found, listened to.

    def _receive(self, heard: events.LineInput) -> None:
        self._motor.note_use()
        self._input.receive(heard)

    async def wait_for_hang_up(self) -> str:
        """Back when the line is lost, with the reason."""
        return await self._transmitter.wait_for_hang_up()

    def attach(self, line: Line) -> None:
        """Go on, on this line: what stood half printed when it was lost is struck again, and nothing is left out."""
        self._motor.attach(line)
        line.listen(self._receive)
        self._transmitter.attach(line, self._input.fresh_line_strokes())
