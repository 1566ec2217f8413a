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
from drivers.charset import level8
from drivers.clock import Clock
from drivers.errors import Interrupted
from drivers.events import Event, Keyed
from drivers.keyboard import Keyboard
from drivers.line import Line
from drivers.paper import LF
from drivers.printer import Stroke
from drivers.profile import Profile
from drivers.tape import leader, text_rows
from drivers.teletype import Teletype
from tools.answers import Answers, Learned, TakenBack

SAFE_MS = 500  # for questions: slower than any carriage that still goes home
TRAVEL_MS = (400, 350, 300, 250, 200, 150)
SLOWER_MS = (500, 650, 800, 1000)
WIDEST = int(profiles.RANGES["columns"][1])
NARROWEST = int(profiles.RANGES["columns"][0])
WIDER = (73, 74, 76, 80, 86, 104, WIDEST - 1)
BREAK_S = 30.0
DUPLEX_S = 2.0  # longer than any echo takes to come back
LINES = 4

Show = Callable[[Teletype], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Found:
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
        known: Profile,
        typed: Callable[[], Awaitable[str]],
        say: Callable[[str], None],
    ) -> None:
        self._line, self._clock, self._typed, self._say = line, clock, typed, say
        self._known = known
        # The motor is switched on once, before all of it.
        self._bare = replace(known, motor="always", auto_return=False, return_feeds=False, feed_returns=False)
        self._found = self._bare
        self._answers = Answers()
        self._keyboard = Keyboard()  # of all answers together: one is too short to learn its parity from
        self._duplex: str | None = None
        self._answer = b""

    async def run(self) -> Found:
        """From the first greeting to the last question. Raises EndOfInput (^D), LineLost, and what the driver does."""
        await self._start_motor()
        while True:
            try:
                return await self._through()
            except TakenBack:
                self._answers.take_back()

    async def _through(self) -> Found:
        """All of it, by what was learned already as far as that goes, and then by asking."""
        self._found = self._bare
        self._answers.from_the_top()
        await self._begin()
        await self._margin()
        await self._kits()
        await self._travel()
        await self._wheel()
        await self._break()
        await self._options()
        profile = replace(self._found, motor=self._known.motor)
        await self._show(lambda tty: tty.print("\nTHAT IS ALL.\n" + profiles.as_toml(profile)))
        return Found(profile, self._duplex, self._keyboard.parity, self._answer)

    async def _start_motor(self) -> None:
        if self._known.motor != "always":
            async with self._machine(self._known) as tty:
                await tty.switch_motor(True)
                await self._clock.sleep_until(self._clock.now() + self._known.spin_up_ms / 1000)

    async def _begin(self) -> None:
        async def greet(tty: Teletype) -> None:
            await tty.print("\nASR33 CALIBRATION. ANSWER Y OR N AND RETURN; ? REPEATS, B GOES BACK.\n")
            await tty.finish()
            await self._clock.sleep_until(self._clock.now() + DUPLEX_S)

        await self._yes(greet, "CAN YOU READ THIS")
        if self._duplex is not None:
            self._found = replace(self._found, duplex="half" if self._duplex == "half" else "full")

    # The right margin.

    async def _margin(self) -> None:
        """The smallest count at which one strike more does not go beside the last but on it, or to a new line."""
        columns = self._known.columns if self._known.columns < WIDEST else WIDEST - 1
        if await self._is_beyond(columns):
            low, high = columns - 1, columns
            if await self._is_beyond(low):
                low, high = NARROWEST - 1, low
        else:
            low, high = columns, WIDEST
            for count in (count for count in WIDER if count > columns):
                if await self._is_beyond(count):
                    high = count
                    break
                low = count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if await self._is_beyond(middle) else (middle, high)
        self._found = replace(self._found, columns=high)

    async def _is_beyond(self, count: int) -> bool:
        """Whether a machine has no more than so many columns."""

        async def overrun(tty: Teletype) -> None:
            await tty.print_raw(ruler(count))

        # Two strikes may pile up here: this profile has more columns than a machine has, so that nothing is cut.
        wide = replace(self._found, columns=WIDEST, travel_ms=SAFE_MS)
        if await self._yes(overrun, "DO THE LAST TWO STRIKES STAND ON EACH OTHER", wide):
            return True
        if await self._yes(None, "DID THE LAST STRIKE GO TO A NEW LINE BY ITSELF"):
            self._found = replace(self._found, auto_return=True)
            return True
        return False

    # What CR and LF do.

    async def _kits(self) -> None:
        async def over(tty: Teletype) -> None:
            await tty.print_raw("HHHHHHHH\rIIIIIIII")

        async def under(tty: Teletype) -> None:
            await tty.print_raw("HHHHHHHH")
            feed = Stroke(LF, tty.column, SAFE_MS / 1000)
            await tty.send([(feed, level8(LF, self._found.send_parity))])
            await tty.print_raw("IIIIIIII")
            tty.lose_track()

        if not await self._yes(over, "DO THE I'S STAND ON THE H'S"):
            self._found = replace(self._found, return_feeds=True)
        if await self._yes(under, "DO THE LOWER I'S BEGIN AT THE LEFT MARGIN"):
            self._found = replace(self._found, feed_returns=True)

    async def _travel(self) -> None:
        """From slow to fast, to the first that is not clean; where not even the slowest is, slower still."""
        if not await self._is_clean(TRAVEL_MS[0]):
            for slower in SLOWER_MS:
                self._found = replace(self._found, travel_ms=slower)
                if await self._is_clean(slower):
                    return
            return
        self._found = replace(self._found, travel_ms=TRAVEL_MS[0])
        for faster in TRAVEL_MS[1:]:
            if not await self._is_clean(faster):
                return
            self._found = replace(self._found, travel_ms=faster)

    async def _is_clean(self, travel_ms: int) -> bool:
        at_this = replace(self._found, travel_ms=travel_ms, gentle=False)
        line = "H" + "-" * (at_this.usable - 1)

        async def full_lines(tty: Teletype) -> None:
            await tty.print_raw("\n".join([line] * LINES))

        return await self._yes(full_lines, "DOES EACH LINE BEGIN WITH A CLEAN H AT THE MARGIN", at_this)

    async def _wheel(self) -> None:
        plain = replace(self._found, wheel="1968", travel_ms=SAFE_MS)
        arrows = await self._yes(lambda tty: tty.print_raw("^ _"), "ARE THESE AN ARROW UP AND AN ARROW LEFT", plain)
        self._found = replace(self._found, wheel="1963" if arrows else "1968")

    # The wire and what hangs at it.

    async def _break(self) -> None:
        route = await self._answers.once(self._break_pressed)
        if route == "break":
            self._found = replace(self._found, break_detect="marked")
        elif route == "nul":
            self._found = replace(self._found, break_detect="nul")

    async def _break_pressed(self) -> str | None:
        """By which route it came."""
        async with self._machine(replace(self._found, break_detect="auto")) as tty, tty.until_break() as scope:
            await tty.fresh_line()
            await tty.print(f"\nPRESS BREAK WITHIN {BREAK_S:.0f} SECONDS.\n")
            await tty.finish()
            self._say("press BREAK at the machine")
            await self._clock.sleep_until(self._clock.now() + BREAK_S)
        if scope.route not in ("break", "nul"):
            self._say("no BREAK was heard" if scope.route is None else f"BREAK was heard by its {scope.route}")
        return scope.route

    async def _options(self) -> None:
        self._answer = read = b""
        if await self._yes(None, "MAY THE ANSWERBACK BE ASKED"):
            self._answer = await self._answers.once(lambda: self._at_one(Teletype.answerback, answerback=True))
        if await self._yes(None, "DOES THE READER OBEY X-ON, AND IS A TAPE IN IT"):
            read = await self._answers.once(lambda: self._at_one(Teletype.read_tape, auto_reader=True))
        punches = False
        if await self._yes(None, "DOES THE PUNCH OBEY TAPE ON (DC2)"):
            rows = leader(5) + text_rows("PUNCHED\n", self._found.send_parity) + leader(5)
            await self._answers.once(lambda: self._at_one(lambda tty: tty.punch(rows, text=True), auto_punch=True))
            punches = await self._yes(None, "DID IT PUNCH BY ITSELF")
        self._found = replace(self._found, answerback=bool(self._answer), auto_reader=bool(read), auto_punch=punches)

    async def _at_one(self, do: Callable[[Teletype], Awaitable[Learned]], **fitted: Any) -> Learned:
        """At a machine that has this."""
        async with self._machine(replace(self._found, **fitted)) as tty:
            return await do(tty)

    # Showing and asking.

    async def _yes(self, show: Show | None, question: str, shown_by: Profile | None = None) -> bool:
        return await self._answers.once(lambda: self._seen(show, question, shown_by), question)

    async def _seen(self, show: Show | None, question: str, shown_by: Profile | None) -> bool:
        """Shows it, and asks; `?` shows it again."""
        while True:
            if show is not None:
                await self._show(show, shown_by)
            async with self._machine() as tty:
                answer = await self._answered(tty, f"{question}? ")
            if answer[:1] == "B":
                raise TakenBack
            if answer[:1] in ("Y", "N"):
                return answer[:1] == "Y"

    async def _show(self, show: Show, by: Profile | None = None) -> None:
        async with self._machine(by) as tty:
            await tty.fresh_line()
            await show(tty)
            await tty.fresh_line()
            await tty.finish()

    @asynccontextmanager
    async def _machine(self, by: Profile | None = None) -> AsyncIterator[Teletype]:
        """A teletype with that profile, or with a safe one; each begins by going to a clean margin."""
        safe = replace(self._found, columns=min(self._found.columns, 72), travel_ms=SAFE_MS, gentle=True)
        tty = Teletype(self._line, self._clock, by or safe, tap=None if by else self._hear)
        try:
            yield tty
            await tty.finish()
        finally:
            self._duplex = tty.status().duplex or self._duplex
            await tty.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Keyed) and not event.damaged:
            self._keyboard.receive(event.byte, event.at)

    async def _answered(self, tty: Teletype, question: str) -> str:
        """What is typed at the machine or elsewhere; BREAK asks again."""
        self._say(question)
        await tty.fresh_line()
        reading: asyncio.Future[Any] = asyncio.ensure_future(tty.read_line(question))
        elsewhere: asyncio.Future[Any] = asyncio.ensure_future(self._typed())
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
    dashes = ("----I" * WIDEST)[: count - 2]
    return f"{dashes}-I-"
