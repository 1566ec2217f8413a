"""The guided calibration: it prints patterns that depend on the machine's properties and asks the operator about them.

It follows DEC's MAINDEC-08-D2QD, but the operator only answers Y or N. It writes no file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from drivers import profile as profiles
from drivers import tape_units
from drivers.paper.paper import LF
from drivers.profile import Profile
from drivers.tape import encode_text, leader
from drivers.teletype import Teletype
from drivers.text.charset import apply_parity
from drivers.text.printer import Stroke
from tools.calibrate.dialogue import SAFE_CR_TRAVEL_MS, AnswerT, AnswerTakenBack, CalibrationDialogue, PrintPattern

CR_TRAVEL_MS = (400, 350, 300, 250, 200, 150)
SLOWER_CR_TRAVEL_MS = (500, 650, 800, 1000)
MAX_COLUMNS = int(profiles.RANGES["columns"][1])
MIN_COLUMNS = int(profiles.RANGES["columns"][0])
WIDER_COLUMNS = (73, 74, 76, 80, 86, 104, MAX_COLUMNS - 1)
BREAK_WAIT_S = 30.0
DUPLEX_WAIT_S = 2.0  # longer than any echo takes
TEST_LINES = 4


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The profile, and the findings that are not part of a profile."""

    profile: Profile
    duplex: str | None
    keyboard_parity: str | None
    answerback: bytes = b""


class Calibration(CalibrationDialogue):
    """Calibrates one machine with one operator, who answers at its keyboard or by `read_terminal_line`."""

    _answerback = b""

    async def run(self) -> CalibrationResult:
        """Runs the whole calibration. Raises EndOfInput (^D) and other DriverErrors."""
        await self._start_motor()
        initial_profile = self._profile
        while True:
            self._profile = initial_profile
            try:
                return await self._run_from_top()
            except AnswerTakenBack:
                self._history.forget_last()

    async def _run_from_top(self) -> CalibrationResult:
        """Runs all steps; asks only the questions that have no answer in the history."""
        self._history.restart()
        await self._greet()
        await self._find_right_margin()
        await self._find_return_and_feed_kits()
        await self._find_cr_travel()
        await self._find_type_wheel()
        await self._find_break_route()
        await self._find_options()
        profile = replace(self._profile, motor=self._known_profile.motor)
        await self._print_pattern(lambda tty: tty.print("\nTHAT IS ALL.\n" + profiles.profile_to_toml(profile)))
        return CalibrationResult(profile, self._duplex, self._keyboard.parity, self._answerback)

    async def _start_motor(self) -> None:
        if self._known_profile.motor != "always":
            async with self._teletype(self._known_profile) as tty:
                await tty.switch_motor(True)
                await self._clock.sleep_until(self._clock.now() + self._known_profile.spin_up_ms / 1000)

    def _set(self, **fields: Any) -> None:
        self._profile = replace(self._profile, **fields)

    async def _greet(self) -> None:
        async def greet(tty: Teletype) -> None:
            await tty.print("\nASR33 CALIBRATION. ANSWER Y OR N AND RETURN; ? REPEATS, B GOES BACK.\n")
            await tty.finish()
            await self._clock.sleep_until(self._clock.now() + DUPLEX_WAIT_S)

        await self._ask_yes_no(greet, "CAN YOU READ THIS")
        if self._duplex is not None:
            self._set(duplex="half" if self._duplex == "half" else "full")

    async def _find_right_margin(self) -> None:
        """Finds the number of columns by bisection: a strike beyond the last falls on it or on a new line."""
        columns = min(self._known_profile.columns, MAX_COLUMNS - 1)
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
        self._set(columns=high)

    async def _has_at_most(self, count: int) -> bool:
        """Whether the machine has at most `count` columns."""
        # The profile is wider than any machine, so that the printer cuts nothing; two strikes may pile up.
        wide = replace(self._profile, columns=MAX_COLUMNS, travel_ms=SAFE_CR_TRAVEL_MS)
        print_ruler = _raw_pattern(ruler(count))
        if await self._ask_yes_no(print_ruler, "DO THE LAST TWO STRIKES STAND ON EACH OTHER", wide):
            return True
        if await self._ask_yes_no(None, "DID THE LAST STRIKE GO TO A NEW LINE BY ITSELF"):
            self._set(auto_return=True)
            return True
        return False

    async def _find_return_and_feed_kits(self) -> None:
        async def feed_without_return(tty: Teletype) -> None:
            await tty.print_raw("HHHHHHHH")
            feed = Stroke(LF, tty.column, SAFE_CR_TRAVEL_MS / 1000)
            await tty.send_strokes([(feed, apply_parity(LF, self._profile.send_parity))])
            await tty.print_raw("IIIIIIII")
            tty.lose_track()

        if not await self._ask_yes_no(_raw_pattern("HHHHHHHH\rIIIIIIII"), "DO THE I'S STAND ON THE H'S"):
            self._set(return_feeds=True)
        if await self._ask_yes_no(feed_without_return, "DO THE LOWER I'S BEGIN AT THE LEFT MARGIN"):
            self._set(feed_returns=True)

    async def _find_cr_travel(self) -> None:
        """Finds the shortest clean travel time; tries unusually long times if no usual time is clean."""
        if not await self._is_travel_clean(CR_TRAVEL_MS[0]):
            for slower in SLOWER_CR_TRAVEL_MS:
                self._set(travel_ms=slower)
                if await self._is_travel_clean(slower):
                    return
            return
        self._set(travel_ms=CR_TRAVEL_MS[0])
        for faster in CR_TRAVEL_MS[1:]:
            if not await self._is_travel_clean(faster):
                return
            self._set(travel_ms=faster)

    async def _is_travel_clean(self, travel_ms: int) -> bool:
        tested = replace(self._profile, travel_ms=travel_ms, gentle=False)
        line = "H" + "-" * (tested.usable_columns - 1)
        full_lines = _raw_pattern("\n".join([line] * TEST_LINES))
        return await self._ask_yes_no(full_lines, "DOES EACH LINE BEGIN WITH A CLEAN H AT THE MARGIN", tested)

    async def _find_type_wheel(self) -> None:
        plain = replace(self._profile, wheel="1968", travel_ms=SAFE_CR_TRAVEL_MS)
        has_arrows = await self._ask_yes_no(_raw_pattern("^ _"), "ARE THESE AN ARROW UP AND AN ARROW LEFT", plain)
        self._set(wheel="1963" if has_arrows else "1968")

    async def _find_break_route(self) -> None:
        route = await self._history.ask_once(self._wait_for_break)
        if route in ("break", "nul"):
            self._set(break_detect="marked" if route == "break" else "nul")

    async def _wait_for_break(self) -> str | None:
        """Asks the operator to press BREAK and returns its route; None if no BREAK came."""
        async with self._teletype(replace(self._profile, break_detect="auto")) as tty, tty.until_break() as scope:
            await tty.fresh_line()
            await tty.print(f"\nPRESS BREAK WITHIN {BREAK_WAIT_S:.0f} SECONDS.\n")
            await tty.finish()
            self._print_message("press BREAK at the machine")
            await self._clock.sleep_until(self._clock.now() + BREAK_WAIT_S)
        if scope.route not in ("break", "nul"):
            self._print_message("no BREAK came" if scope.route is None else f"BREAK came by its {scope.route}")
        return scope.route

    async def _find_options(self) -> None:
        self._answerback = tape_rows = b""
        if await self._ask_yes_no(None, "MAY THE ANSWERBACK BE ASKED"):
            request = partial(self._run_with_options, tape_units.request_answerback, answerback=True)
            self._answerback = await self._history.ask_once(request)
        if await self._ask_yes_no(None, "DOES THE READER OBEY X-ON, AND IS A TAPE IN IT"):
            read_tape = partial(self._run_with_options, tape_units.read_tape, auto_reader=True)
            tape_rows = await self._history.ask_once(read_tape)
        punches = False
        if await self._ask_yes_no(None, "DOES THE PUNCH OBEY TAPE ON (DC2)"):
            rows = leader(5) + encode_text("PUNCHED\n", self._profile.send_parity) + leader(5)
            punch_tape = partial(tape_units.punch_tape, rows=rows, text=True)
            await self._history.ask_once(partial(self._run_with_options, punch_tape, auto_punch=True))
            punches = await self._ask_yes_no(None, "DID IT PUNCH BY ITSELF")
        self._set(answerback=bool(self._answerback), auto_reader=bool(tape_rows), auto_punch=punches)

    async def _run_with_options(self, procedure: Callable[[Teletype], Awaitable[AnswerT]], **options: Any) -> AnswerT:
        """Runs a procedure with a profile that has these options."""
        async with self._teletype(replace(self._profile, **options)) as tty:
            return await procedure(tty)


def _raw_pattern(text: str) -> PrintPattern:
    return lambda tty: tty.print_raw(text)


def ruler(count: int) -> str:
    """Returns count + 1 strikes: `I` in column `count` and `-` in the next one."""
    dashes = ("----I" * MAX_COLUMNS)[: count - 2]
    return f"{dashes}-I-"
