"""The Teletype as the daemon sees it: print text, read a line, stop at BREAK. Observers get its events.

Joins the printer, the transmitter, the input queue, the motor and the line. Knows no model and no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from drivers import errors, events
from drivers.clock import CHARACTER_S, Clock, Timer
from drivers.input.break_scope import BreakScope
from drivers.input.input_queue import InputQueue
from drivers.input.keyboard import NOISE_KEY, Keyboard
from drivers.input.line_editor import MAX_LINE_CHARACTERS, EditResult, LineEditor, echo_left_to_print
from drivers.input.receiver import CaptureMode
from drivers.line.line import Line
from drivers.line.line_input import LineInput
from drivers.output.motor_control import MotorController
from drivers.output.pacing import StrikeTiming
from drivers.output.transmitter import Transmitter
from drivers.profile import Profile
from drivers.status import MachineCounters, Status
from drivers.text.charset import Style, apply_parity
from drivers.text.printer import Printer, Stroke

WORD_HOLD_S = 2.0  # after this time an unfinished word is printed as far as it has come
NOISE_NOTICE = "-- NOISE ON THE LINE --\n"
_NOISE_NOTICE_INTERVAL_S = 600.0


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
        """`character_s` 0 drops the pacing.

        `wait_for_line`: after a hang-up printing waits for `attach`; otherwise print and read_line raise LineLost.
        """
        self.profile = profile = profile or Profile()
        self.clock, self.character_s = clock, character_s
        self.counters = MachineCounters()
        self.rows_after_xoff = bytearray()  # rows that the reader still sent after its X-OFF
        self._on_event = on_event = on_event or (lambda event: None)
        self._max_line_characters, self._wait_for_line = max_line_characters, wait_for_line
        self._printer, self._timing = printer, timing = Printer(profile), StrikeTiming(character_s)
        self._motor = motor = MotorController(profile, line, clock, timing, on_event)
        self._transmitter = Transmitter(
            line, clock, profile, printer, timing, motor, self.counters, on_event, wait_for_line=wait_for_line
        )
        self._input = InputQueue(
            profile, clock, self._transmitter, self.counters, on_event, character_s, is_serial=line.is_serial
        )
        self._noise_noted_at = float("-inf")
        self._word_timer = Timer(clock, self._flush_held_word)
        self._editor: LineEditor | None = None  # while a line is read
        line.listen(self._receive)

    async def close(self) -> None:
        """Stops all timers and tasks. The caller who opened the line closes it."""
        for part in (self._word_timer, self._input, self._motor, self._transmitter):
            await part.close()

    @property
    def column(self) -> int | None:
        """Column of the carriage when all written bytes are struck; None: unknown."""
        stroke = self._transmitter.next_stroke
        return stroke.column if stroke else self._printer.column

    @property
    def has_partial_line(self) -> bool:
        """Whether a line is being read and is not empty."""
        return self._editor is not None and self._editor.text != ""

    @property
    def keyboard(self) -> Keyboard:
        """The keyboard decoder, which knows the keyboard's parity."""
        return self._input.receiver.keyboard

    @property
    def is_half_duplex(self) -> bool:
        """Whether the machine prints its own keys; False while that is unknown."""
        return self._input.receiver.is_half_duplex

    @property
    def hang_up_reason(self) -> str | None:
        """The reason while the line is lost; None while there is a line."""
        return self._transmitter.hang_up_reason

    def status(self) -> Status:
        now, receiver = self.clock.now(), self._input.receiver
        receiver.echo_canceller.expire(now)
        return Status(
            line=self._transmitter.line.name,
            lost=self.hang_up_reason,
            column=self.column,
            keyboard_parity=receiver.keyboard.parity,
            wrong_parity=receiver.keyboard.wrong_parity,
            is_noisy=receiver.noise_filter.is_noisy,
            duplex=receiver.echo_canceller.duplex,
            below=self._timing.in_flight(now),
            ready=self._transmitter.queue_length + self._printer.held_characters,
            mid_word=(stroke := self._transmitter.next_stroke) is not None and 0x20 < stroke.byte < 0x7F,
            held=self._printer.held_characters,
            idle_ms=round(max(0.0, self._timing.free_at - now) * 1000),
            character_ms=self.character_s * 1000,
            paused=self._transmitter.paused_at is not None,
            motor_on=self._motor.is_on,
            motor_ran_s=self._motor.ran_s(now),
            missing_echoes=receiver.echo_canceller.missing,
            counters=dataclasses.replace(self.counters),
        )

    # Printing.

    async def print(self, text: str, *, style: Style = "prose", overstrike: bool = False) -> None:
        """Prints text, cut anywhere into pieces. Returns when at most the held-back word and two bytes are unstruck.

        `overstrike`: a\\bb strikes b over a, as typewriters and nroff do; otherwise \\b is dropped.
        """
        if not text:
            return
        self._word_timer.cancel()
        await self._send_printed(self._printer.feed(text, style=style, overstrike=overstrike))
        if self._printer.has_held_word:
            self._word_timer.schedule(max(self.clock.now(), self._timing.free_at) + WORD_HOLD_S)

    async def print_raw(self, text: str) -> None:
        """Prints art: each character in its cell, `\\r` for another pass over the line, nothing beyond the margin."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.feed_raw(text))

    async def flush(self) -> None:
        """Prints the held-back word."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.flush())

    async def fresh_line(self) -> None:
        """Moves the carriage to the left margin of a clean line; prints nothing if it is there already."""
        self._word_timer.cancel()
        await self._send_printed(self._printer.fresh_line())

    async def finish(self) -> None:
        """Flushes, and waits until the last character is struck."""
        await self.flush()
        await self.clock.sleep_until(self._timing.free_at)

    async def _flush_held_word(self) -> None:
        with contextlib.suppress(errors.DriverError):  # the next call that prints raises it
            await self._send_printed(self._printer.flush())

    async def _send_printed(self, strokes: Iterable[Stroke]) -> None:
        await self.send_strokes((stroke, apply_parity(stroke.byte, self.profile.send_parity)) for stroke in strokes)

    async def send_strokes(
        self, strokes: Iterable[tuple[Stroke, int]], *, urgent: bool = False, resendable: bool = True
    ) -> None:
        """Sends strokes, each with its byte of 8 bits, and waits until they are written.

        `urgent`: they are sent after a BREAK too. `resendable`: they are struck again after a hang-up.
        """
        if self._input.is_break_pending and not urgent:
            self._printer.forget_unstruck([stroke for stroke, _ in strokes])
            await asyncio.sleep(0)  # the scope cancels its body here
            return
        try:
            await self._transmitter.send(strokes, resendable=resendable)
        except BaseException:
            self._transmitter.discard_output()
            raise

    # Reading a line.

    async def read_line(self, prompt: str = "", on_key: Callable[[str], None] = lambda text: None) -> str:
        """Reads a line up to RETURN, with echo and editing; keys typed ahead come first. `\\n` is a soft new line.

        Raises Interrupted on BREAK or ^C, EndOfInput on ^D in an empty line, LineLost. When the call is cancelled,
        the next line begins with the text typed so far. `on_key` is called with that text at each key.
        """
        editor = await self._begin_line(prompt)
        key, result = "", EditResult("")
        try:
            restored = [editor.press(key).echo for key in self._input.take_restored_line()]
            on_key(editor.text)
            await self._send_printed(self._printer.echo_keys("".join(restored)))
            while True:
                if (key := await self._next_key()) == NOISE_KEY:
                    await self._note_noise()
                    editor = await self._begin_line(prompt)
                    on_key("")
                    continue
                if not await self._input.is_confirmed(key, at_start=not editor.text):
                    continue
                result = editor.press(key)
                on_key(editor.text)
                await self._send_printed(self._echo_strokes(key, result.echo))
                if result.outcome == "submit":
                    return editor.text
                if result.outcome == "interrupt":
                    raise errors.Interrupted("the operator pressed BREAK or ^C")
                if result.outcome == "end":
                    raise errors.EndOfInput("the operator typed ^D")
        except asyncio.CancelledError:
            self._input.restore_line(editor.text, key if result.outcome == "submit" else "")
            raise
        finally:
            self._editor = None

    async def _begin_line(self, prompt: str) -> LineEditor:
        await self.print(prompt)
        await self.flush()
        self._editor = LineEditor(prompt, limit=self._max_line_characters, half_duplex=self.is_half_duplex)
        return self._editor

    async def _note_noise(self) -> None:
        """Ends the line that noise has begun, and tells the operator once in a while why no key is echoed."""
        self._printer.lose_track()  # noise may have printed, or moved the carriage
        await self.fresh_line()
        now = self.clock.now()
        if now - self._noise_noted_at > _NOISE_NOTICE_INTERVAL_S:
            self._noise_noted_at = now
            await self.print(NOISE_NOTICE)

    def _echo_strokes(self, key: str, echo: str) -> list[Stroke]:
        if not self.is_half_duplex:
            return self._printer.echo_keys(echo if self.profile.keyboard == "fitted" else "")
        remaining = echo_left_to_print(echo, key)
        return self._printer.echo_keys(remaining) if remaining else self._printer.return_at_margin()

    async def _next_key(self) -> str:
        """Returns the next key. Keys already buffered are still returned after the line is lost."""
        while not self._input.has_keys:
            if self.hang_up_reason is not None and not self._wait_for_line:
                raise errors.LineLost(self.hang_up_reason)
            await self._input.wait_for_input()
        return self._input.take_key()

    def discard_typed(self) -> None:
        """Drops the keys typed ahead, and the text of a line whose reading was cancelled."""
        self._input.discard_typed()

    def until_break(self) -> BreakScope:
        """Returns an `async with` scope whose body BREAK or ^C cancels; see its `is_broken` and `route` afterwards."""
        return BreakScope(self._input)

    def press_break(self) -> None:
        """Does what the BREAK key does, for a viewer elsewhere."""
        self._input.press_break()

    def capture_input(self, mode: CaptureMode = "tape") -> contextlib.AbstractContextManager[bytearray]:
        """Collects the bytes from the line as raw rows, not as keys, while the context is open."""
        return self._input.capture_input(mode)

    def report_answerback(self, data: bytes) -> None:
        self._on_event(events.AnswerbackReceived(self.clock.now(), data))

    async def wait_character_times(self, characters: int) -> None:
        """Waits so many character times after the last stroke; without pacing a tenth of that."""
        wait_s = characters * (self.character_s or CHARACTER_S / 10)
        await self.clock.sleep_until(max(self.clock.now(), self._timing.free_at) + wait_s)

    def observe_byte(self, byte: int) -> float:
        """Updates the column for a byte that the machine acts on. Returns the seconds that the carriage travels."""
        return self._printer.observe_byte(byte)

    def lose_track(self) -> None:
        """Makes the column unknown: the machine has moved the carriage by itself."""
        self._printer.lose_track()

    async def switch_motor(self, on: bool) -> None:
        """Switches the motor on or off. Raises DriverError."""
        await (self._motor.switch_on() if on else self._motor.switch_off())

    def _receive(self, line_input: LineInput) -> None:
        self._motor.note_use()
        self._input.receive(line_input)

    async def wait_for_hang_up(self) -> str:
        """Waits until the line is lost; returns the reason."""
        return await self._transmitter.wait_for_hang_up()

    def attach(self, line: Line) -> None:
        """Continues on this line: strikes the lost line of paper again, then the queued output."""
        self._motor.attach(line)
        line.listen(self._receive)
        self._transmitter.attach(line)
