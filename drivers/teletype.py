"""The machine as the daemon sees it: print, read a line, stop at BREAK; one `tap` for whoever watches.

Joins the printer, the wheel, the keyboard, the clock and the line. Knows no model, and no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from drivers import apparatus, errors, events
from drivers.charset import Style, level8
from drivers.clock import CHARACTER_S, Clock, Later
from drivers.ear import Captured
from drivers.echo import WINDOW_S
from drivers.editor import LIMIT, Editor, Reply, unprinted
from drivers.keyboard import Keyboard
from drivers.line import Line
from drivers.operator import Operator
from drivers.pace import Pace
from drivers.paper import CR, LF
from drivers.power import Power
from drivers.printer import Printer, Stroke
from drivers.profile import Profile
from drivers.scope import BreakScope
from drivers.status import Counters, Status
from drivers.wheel import Wheel

HOLD_S = 2.0  # a word that does not go on is printed as far as it has come


class Teletype:
    """One machine at the end of one line. Only one task at a time may print or read."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        profile: Profile | None = None,
        *,
        tap: Callable[[events.Event], None] | None = None,
        character_s: float = CHARACTER_S,
        limit: int = LIMIT,
        patient: bool = False,
    ) -> None:
        """`character_s` 0 drops the pace. `limit` is the longest prompt that may be typed.

        `patient`: a hang-up is waited out until `attach` brings a line; else print and read_line raise LineLost.
        """
        self.profile = profile = profile or Profile()
        self.clock = clock
        self.counters = Counters()
        self.character_s = character_s
        self.tape_ahead = bytearray()  # rows that the reader still sent after its X-OFF
        self._tap = tap or (lambda event: None)
        self._limit = limit
        self._patient = patient
        self._printer, self._pace = Printer(profile), Pace(character_s)
        self._wheel = Wheel(
            line,
            clock,
            self._pace,
            self._tap,
            self.counters,
            sent=self._sent,
            power=lambda: self._power.on(),
            feeds=(CR, LF) if profile.return_feeds else (LF,),
            patient=patient,
        )
        self._operator = Operator(profile, clock, self._printer, self._wheel, self.counters, self._tap, character_s)
        self._power = Power(profile, line, clock, self._pace, self._tap)
        self._hold = Later(clock, self._flush_held)
        self._listen = Later(clock, self._operator.listen_again)
        self._editor: Editor | None = None  # while a line is read
        line.listen(self._hear)

    async def close(self) -> None:
        """Stop what would else happen later. The line is its opener's."""
        for later in (self._hold, self._listen, self._power, self._wheel):
            await later.close()

    # What whoever watches may ask.

    @property
    def column(self) -> int | None:
        """Where the carriage will be when all that was written is struck; None is unknown."""
        ready = self._wheel.next
        return ready.column if ready else self._printer.column

    @property
    def begun(self) -> bool:
        """A line is being read, and something stands in it."""
        return self._editor is not None and self._editor.text != ""

    @property
    def keyboard(self) -> Keyboard:
        """What was learned about the keyboard's parity."""
        return self._operator.ear.keyboard

    @property
    def half_duplex(self) -> bool:
        """Whether the machine prints its own keys; not until that is known."""
        return self._operator.ear.half_duplex

    @property
    def lost(self) -> str | None:
        """Why there is no line just now."""
        return self._wheel.lost

    def status(self) -> Status:
        now = self.clock.now()
        self._operator.ear.echo.expire(now)
        return Status(
            line=self._wheel.line.name,
            lost=self._wheel.lost,
            column=self.column,
            keyboard_parity=self._operator.ear.keyboard.parity,
            wrong_parity=self._operator.ear.keyboard.wrong,
            duplex=self._operator.ear.echo.duplex,
            below=self._pace.below(now),
            ready=self._wheel.ready + self._printer.held,
            held=self._printer.held,
            idle_ms=round(max(0.0, self._pace.free_at - now) * 1000),
            character_ms=self.character_s * 1000,
            paused=self._wheel.paused_at is not None,
            motor_on=self._power.is_on,
            motor_ran_s=self._power.ran_s(now),
            missing_echoes=self._operator.ear.echo.missing,
            counters=dataclasses.replace(self.counters),
        )

    # Printing.

    async def print(self, text: str, *, style: Style = "prose", overstrike: bool = False) -> None:
        """Text in any pieces. Back when all but the held-back word is struck, or is one of two characters below us.

        `overstrike`: a\\bb strikes b over a, as typewriters and nroff do it; else a \\b is nothing.
        """
        if not text:
            return
        self._hold.off()
        await self._strike(self._printer.feed(text, style=style, overstrike=overstrike))
        if self._printer.word_is_held:
            self._hold.at(max(self.clock.now(), self._pace.free_at) + HOLD_S)

    async def print_raw(self, text: str) -> None:
        """Art: every character in its cell, `\\r` for another pass over the line, nothing beyond the margin."""
        self._hold.off()
        await self._strike(self._printer.raw(text))

    async def flush(self) -> None:
        """The held-back word too."""
        self._hold.off()
        await self._strike(self._printer.flush())

    async def fresh_line(self) -> None:
        """To the left margin of a clean line; the carriage stays where it is if it is there."""
        self._hold.off()
        await self._strike(self._printer.fresh_line())

    async def finish(self) -> None:
        """Flush, and wait until the last character is struck."""
        await self.flush()
        await self.clock.sleep_until(self._pace.free_at)

    async def _flush_held(self) -> None:
        with contextlib.suppress(errors.DriverError):  # whoever prints next is told
            await self._strike(self._printer.flush())

    async def _strike(self, strokes: Iterable[Stroke]) -> None:
        await self.send((stroke, level8(stroke.byte, self.profile.send_parity)) for stroke in strokes)

    async def send(self, strokes: Iterable[tuple[Stroke, int]], *, urgent: bool = False, kept: bool = True) -> None:
        """Strokes, each with its byte of 8 bits; back when all is written. For codes that no text can be.

        `urgent` ones go out after a BREAK too; what is not `kept` is not struck again after a hang-up.
        """
        if self._operator.has_broken and not urgent:
            self._printer.forget([stroke for stroke, _ in strokes])
            await asyncio.sleep(0)  # the cancellation is on its way, and lands here
            return
        try:
            await self._wheel.strike(strokes, kept=kept)
        except BaseException:
            self._operator.forget()
            raise

    def _sent(self, byte: int, start: float) -> None:
        self._operator.ear.echo.sent(byte, start)
        if self._operator.ear.echo.duplex is None:
            self._listen.at(start + self.character_s + 1.1 * WINDOW_S)

    # Reading a line.

    async def read_line(self, prompt: str = "", typed: Callable[[str], None] = lambda text: None) -> str:
        """What is typed up to RETURN, echoed and edited; keys typed ahead come first. `\\n` is a soft new line.

        Raises Interrupted on BREAK or ^C, EndOfInput on ^D in an empty line, LineLost. What stands in the line
        when the wait is cancelled is as if typed ahead for the next one. `typed` is told at every key what stands.
        """
        await self.print(prompt)
        await self.flush()
        editor = self._editor = Editor(prompt, limit=self._limit, half=self.half_duplex)
        key, reply = "", Reply("")
        try:
            begun = [editor.press(key).echo for key in self._operator.take_begun()]
            typed(editor.text)
            await self._strike(self._printer.echo("".join(begun)))
            while True:
                reply = editor.press(key := await self._key())
                typed(editor.text)
                await self._strike(self._echo(key, reply.echo))
                if reply.outcome == "submit":
                    return editor.text
                if reply.outcome == "interrupt":
                    raise errors.Interrupted("the operator pressed BREAK or ^C")
                if reply.outcome == "end":
                    raise errors.EndOfInput("the operator typed ^D")
        except asyncio.CancelledError:
            self._operator.put_back(editor.text, key if reply.outcome == "submit" else "")
            raise
        finally:
            self._editor = None

    def _echo(self, key: str, echo: str) -> list[Stroke]:
        if not self.half_duplex:
            return self._printer.echo(echo)
        left = unprinted(echo, key)
        return self._printer.echo(left) if left else self._printer.margin()

    async def _key(self) -> str:
        while not self._operator.has_typed:
            if self._wheel.lost is not None and not self._patient:
                raise errors.LineLost(self._wheel.lost)
            await self._operator.something()
        return await self._operator.key()

    def until_break(self) -> BreakScope:
        """`async with`: a body that BREAK or ^C ends wherever it waits; `broken` and `route` say so afterwards."""
        return BreakScope(self._operator)

    # Reader, punch, answerback: by these calls alone.

    async def answerback(self) -> bytes:
        """What the drum answers to ENQ, raw; empty if there is none."""
        return await apparatus.answerback(self)

    async def punch(self, rows: bytes, *, text: bool) -> None:
        """Rows of eight holes onto a tape. `text`: they are also struck as they should be, else the column is lost."""
        await apparatus.punch(self, rows, text=text)

    async def read_tape(self) -> bytes:
        """All rows of the tape in the reader, to its end."""
        return await apparatus.read_tape(self)

    async def read_tape_line(self) -> bytes:
        """The rows up to the next LF; what the reader sends after its X-OFF belongs to the line after. Empty: out."""
        return await apparatus.read_tape_line(self)

    def captured(self, what: Captured = "tape") -> contextlib.AbstractContextManager[bytearray]:
        """What comes up the wire meanwhile, raw: rows or an answer, not keys."""
        return self._operator.captured(what)

    def report_answer(self, data: bytes) -> None:
        self._tap(events.Answered(self.clock.now(), data))

    async def rest(self, characters: int) -> None:
        """So many character times after the last stroke; where there is no pace, a tenth of that."""
        resting_s = characters * (self.character_s or CHARACTER_S / 10)
        await self.clock.sleep_until(max(self.clock.now(), self._pace.free_at) + resting_s)

    def observe(self, byte: int) -> float:
        """The machine acts on this byte, from whomever it comes: the column follows. Returns the carriage's time."""
        return self._printer.observe(byte)

    def lose_track(self) -> None:
        """Nobody knows where the carriage is."""
        self._printer.lost_track()

    async def switch_motor(self, on: bool) -> None:
        """Raises MotorStuck."""
        await (self._power.on() if on else self._power.off())

    # The line: lost, found, listened to.

    def _hear(self, heard: events.Heard) -> None:
        self._power.used()
        self._operator.hear(heard)

    async def hung_up(self) -> str:
        """Back when the line is lost, with the reason."""
        return await self._wheel.hung_up()

    def attach(self, line: Line) -> None:
        """Go on, on this line: what stood half printed when it was lost is struck again, and nothing is left out."""
        self._power.attach(line)
        line.listen(self._hear)
        self._wheel.attach(line, self._operator.fresh_line())
