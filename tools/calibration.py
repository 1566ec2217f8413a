"""The guided calibration print: patterns that a Model 33 prints one way or another, and what the operator sees.

In the manner of DEC's MAINDEC-08-D2QD, but the operator answers Y or N and does no sums. Knows a line, a clock, and
a way to be answered from elsewhere; writes no file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from drivers import profile as profiles
from drivers.clock import Clock
from drivers.errors import Interrupted
from drivers.events import Event, KeyReceived
from drivers.input.keyboard import Keyboard
from drivers.line.line import Line
from drivers.paper.paper import LF
from drivers.profile import Profile
from drivers.tape.tape import encode_text, leader
from drivers.teletype import Teletype
from drivers.text.charset import apply_parity
from drivers.text.printer import Stroke
from tools.calibration_answers import AnswerHistory, AnswerT, AnswerTakenBack

SAFE_CR_TRAVEL_MS = 500  # for questions: slower than any carriage that still goes home
CR_TRAVEL_MS = (400, 350, 300, 250, 200, 150)
SLOWER_CR_TRAVEL_MS = (500, 650, 800, 1000)
MAX_COLUMNS = int(profiles.RANGES["columns"][1])
MIN_COLUMNS = int(profiles.RANGES["columns"][0])
WIDER_COLUMNS = (73, 74, 76, 80, 86, 104, MAX_COLUMNS - 1)
BREAK_WAIT_S = 30.0
DUPLEX_WAIT_S = 2.0  # longer than any echo takes to come back
TEST_LINES = 4

PrintPattern = Callable[[Teletype], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """What was found out: a profile, and what has no place in one."""

    profile: Profile
    duplex: str | None
    keyboard_parity: str | None
    answerback: bytes = b""
    notes: list[str] = field(default_factory=list)


class Calibration:
    """One machine and one operator, who answers at it or by `typed` (a line at a time), whichever comes first."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        known_profile: Profile,
        read_terminal_line: Callable[[], Awaitable[str]],
        print_message: Callable[[str], None],
    ) -> None:
        self._line, self._clock, self._read_terminal_line, self._print_message = (
            line,
            clock,
            read_terminal_line,
            print_message,
        )
        self._known_profile = known_profile
        # The motor is switched on once, before all of it.
        self._initial_profile = replace(
            known_profile, motor="always", auto_return=False, return_feeds=False, feed_returns=False
        )
        self._profile = self._initial_profile
        self._history = AnswerHistory()
        self._keyboard = Keyboard()  # of all answers together: one is too short to learn its parity from
        self._duplex: str | None = None
        self._answerback = b""

    async def run(self) -> CalibrationResult:
        """From the first greeting to the last question. Raises EndOfInput (^D), LineLost, and what the driver does."""
        await self._start_motor()
        while True:
            try:
                return await self._run_from_top()
            except AnswerTakenBack:
                self._history.forget_last()

    async def _run_from_top(self) -> CalibrationResult:
        """All of it, by what was learned already as far as that goes, and then by asking."""
        self._profile = self._initial_profile
        self._history.restart()
        await self._greet()
        await self._find_right_margin()
        await self._find_return_and_feed_kits()
        await self._find_cr_travel()
        await self._find_type_wheel()
        await self._find_break_route()
        await self._find_options()
        profile = replace(self._profile, motor=self._known_profile.motor)
        await self._run_pattern(lambda tty: tty.print("\nTHAT IS ALL.\n" + profiles.profile_to_toml(profile)))
        return CalibrationResult(profile, self._duplex, self._keyboard.parity, self._answerback)

    async def _start_motor(self) -> None:
        if self._known_profile.motor != "always":
            async with self._teletype(self._known_profile) as tty:
                await tty.switch_motor(True)
                await self._clock.sleep_until(self._clock.now() + self._known_profile.spin_up_ms / 1000)

    async def _greet(self) -> None:
        async def greet(tty: Teletype) -> None:
            await tty.print("\nASR33 CALIBRATION. ANSWER Y OR N AND RETURN; ? REPEATS, B GOES BACK.\n")
            await tty.finish()
            await self._clock.sleep_until(self._clock.now() + DUPLEX_WAIT_S)

        await self._ask_yes_no(greet, "CAN YOU READ THIS")
        if self._duplex is not None:
            self._profile = replace(self._profile, duplex="half" if self._duplex == "half" else "full")

    # The right margin.

    async def _find_right_margin(self) -> None:
        """The smallest count at which one strike more does not go beside the last but on it, or to a new line."""
        columns = self._known_profile.columns if self._known_profile.columns < MAX_COLUMNS else MAX_COLUMNS - 1
        if await self._has_at_most(columns):
            low, high = columns - 1, columns
            if await self._has_at_most(low):
                low, high = MIN_COLUMNS - 1, low
        else:
            low, high = columns, MAX_COLUMNS
            for count in (count for count in WIDER_COLUMNS if count > columns):
                if await self._has_at_most(count):
                    high = count
                    break
                low = count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if await self._has_at_most(middle) else (middle, high)
        self._profile = replace(self._profile, columns=high)

    async def _has_at_most(self, count: int) -> bool:
        """Whether a machine has no more than so many columns."""

        async def overrun(tty: Teletype) -> None:
            await tty.print_raw(ruler(count))

        # Two strikes may pile up here: this profile has more columns than a machine has, so that nothing is cut.
        wide = replace(self._profile, columns=MAX_COLUMNS, travel_ms=SAFE_CR_TRAVEL_MS)
        if await self._ask_yes_no(overrun, "DO THE LAST TWO STRIKES STAND ON EACH OTHER", wide):
            return True
        if await self._ask_yes_no(None, "DID THE LAST STRIKE GO TO A NEW LINE BY ITSELF"):
            self._profile = replace(self._profile, auto_return=True)
            return True
        return False

    # What CR and LF do.

    async def _find_return_and_feed_kits(self) -> None:
        async def over(tty: Teletype) -> None:
            await tty.print_raw("HHHHHHHH\rIIIIIIII")

        async def under(tty: Teletype) -> None:
            await tty.print_raw("HHHHHHHH")
            feed = Stroke(LF, tty.column, SAFE_CR_TRAVEL_MS / 1000)
            await tty.send_strokes([(feed, apply_parity(LF, self._profile.send_parity))])
            await tty.print_raw("IIIIIIII")
            tty.lose_track()

        if not await self._ask_yes_no(over, "DO THE I'S STAND ON THE H'S"):
            self._profile = replace(self._profile, return_feeds=True)
        if await self._ask_yes_no(under, "DO THE LOWER I'S BEGIN AT THE LEFT MARGIN"):
            self._profile = replace(self._profile, feed_returns=True)

    async def _find_cr_travel(self) -> None:
        """From slow to fast, to the first that is not clean; where not even the slowest is, slower still."""
        if not await self._is_travel_clean(CR_TRAVEL_MS[0]):
            for slower in SLOWER_CR_TRAVEL_MS:
                self._profile = replace(self._profile, travel_ms=slower)
                if await self._is_travel_clean(slower):
                    return
            return
        self._profile = replace(self._profile, travel_ms=CR_TRAVEL_MS[0])
        for faster in CR_TRAVEL_MS[1:]:
            if not await self._is_travel_clean(faster):
                return
            self._profile = replace(self._profile, travel_ms=faster)

    async def _is_travel_clean(self, travel_ms: int) -> bool:
        at_this = replace(self._profile, travel_ms=travel_ms, gentle=False)
        line = "H" + "-" * (at_this.usable_columns - 1)

        async def full_lines(tty: Teletype) -> None:
            await tty.print_raw("\n".join([line] * TEST_LINES))

        return await self._ask_yes_no(full_lines, "DOES EACH LINE BEGIN WITH A CLEAN H AT THE MARGIN", at_this)

    async def _find_type_wheel(self) -> None:
        plain = replace(self._profile, wheel="1968", travel_ms=SAFE_CR_TRAVEL_MS)
        arrows = await self._ask_yes_no(
            lambda tty: tty.print_raw("^ _"), "ARE THESE AN ARROW UP AND AN ARROW LEFT", plain
        )
        self._profile = replace(self._profile, wheel="1963" if arrows else "1968")

    # The wire and what hangs at it.

    async def _find_break_route(self) -> None:
        route = await self._history.ask_once(self._wait_for_break)
        if route == "break":
            self._profile = replace(self._profile, break_detect="marked")
        elif route == "nul":
            self._profile = replace(self._profile, break_detect="nul")

    async def _wait_for_break(self) -> str | None:
        """By which route it came."""
        async with self._teletype(replace(self._profile, break_detect="auto")) as tty, tty.until_break() as scope:
            await tty.fresh_line()
            await tty.print(f"\nPRESS BREAK WITHIN {BREAK_WAIT_S:.0f} SECONDS.\n")
            await tty.finish()
            self._print_message("press BREAK at the machine")
            await self._clock.sleep_until(self._clock.now() + BREAK_WAIT_S)
        if scope.route not in ("break", "nul"):
            self._print_message(
                "no BREAK was heard" if scope.route is None else f"BREAK was heard by its {scope.route}"
            )
        return scope.route

    async def _find_options(self) -> None:
        self._answerback = read = b""
        if await self._ask_yes_no(None, "MAY THE ANSWERBACK BE ASKED"):
            self._answerback = await self._history.ask_once(
                lambda: self._run_with_options(Teletype.answerback, answerback=True)
            )
        if await self._ask_yes_no(None, "DOES THE READER OBEY X-ON, AND IS A TAPE IN IT"):
            read = await self._history.ask_once(lambda: self._run_with_options(Teletype.read_tape, auto_reader=True))
        punches = False
        if await self._ask_yes_no(None, "DOES THE PUNCH OBEY TAPE ON (DC2)"):
            rows = leader(5) + encode_text("PUNCHED\n", self._profile.send_parity) + leader(5)
            await self._history.ask_once(
                lambda: self._run_with_options(lambda tty: tty.punch(rows, text=True), auto_punch=True)
            )
            punches = await self._ask_yes_no(None, "DID IT PUNCH BY ITSELF")
        self._profile = replace(
            self._profile, answerback=bool(self._answerback), auto_reader=bool(read), auto_punch=punches
        )

    async def _run_with_options(self, procedure: Callable[[Teletype], Awaitable[AnswerT]], **fitted: Any) -> AnswerT:
        """At a machine that has this."""
        async with self._teletype(replace(self._profile, **fitted)) as tty:
            return await procedure(tty)

    # Showing and asking.

    async def _ask_yes_no(
        self, print_pattern: PrintPattern | None, question: str, profile: Profile | None = None
    ) -> bool:
        return await self._history.ask_once(lambda: self._show_and_ask(print_pattern, question, profile), question)

    async def _show_and_ask(self, print_pattern: PrintPattern | None, question: str, profile: Profile | None) -> bool:
        """Shows it, and asks; `?` shows it again."""
        while True:
            if print_pattern is not None:
                await self._run_pattern(print_pattern, profile)
            async with self._teletype() as tty:
                answer = await self._read_answer(tty, f"{question}? ")
            if answer[:1] == "B":
                raise AnswerTakenBack
            if answer[:1] in ("Y", "N"):
                return answer[:1] == "Y"

    async def _run_pattern(self, print_pattern: PrintPattern, profile: Profile | None = None) -> None:
        async with self._teletype(profile) as tty:
            await tty.fresh_line()
            await print_pattern(tty)
            await tty.fresh_line()
            await tty.finish()

    @asynccontextmanager
    async def _teletype(self, profile: Profile | None = None) -> AsyncIterator[Teletype]:
        """A teletype with that profile, or with a safe one; each begins by going to a clean margin."""
        safe = replace(self._profile, columns=min(self._profile.columns, 72), travel_ms=SAFE_CR_TRAVEL_MS, gentle=True)
        tty = Teletype(self._line, self._clock, profile or safe, on_event=None if profile else self._on_event)
        try:
            yield tty
            await tty.finish()
        finally:
            self._duplex = tty.status().duplex or self._duplex
            await tty.close()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, KeyReceived) and not event.damaged:
            self._keyboard.decode_byte(event.byte, event.at)

    async def _read_answer(self, tty: Teletype, question: str) -> str:
        """What is typed at the machine or elsewhere; BREAK asks again."""
        self._print_message(question)
        await tty.fresh_line()
        reading: asyncio.Future[Any] = asyncio.ensure_future(tty.read_line(question))
        elsewhere: asyncio.Future[Any] = asyncio.ensure_future(self._read_terminal_line())
        try:
            await asyncio.wait({reading, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
            answer: str = reading.result() if reading.done() else elsewhere.result()
            return answer.strip().upper()
        except Interrupted:
            return "?"
        finally:
            for one in (reading, elsewhere):
                one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(reading, elsewhere, return_exceptions=True)


def ruler(count: int) -> str:
    """So many strikes and one more: `I` in the last column that is asked for, and `-` where the next would be."""
    dashes = ("----I" * MAX_COLUMNS)[: count - 2]
    return f"{dashes}-I-"
