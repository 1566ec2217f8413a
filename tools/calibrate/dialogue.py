"""The dialogue of the calibration: it prints a pattern, asks a question, and remembers the answers.

The operator answers at the machine or at the terminal, whichever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from drivers.clock import Clock
from drivers.errors import Interrupted
from drivers.events import Event, KeyReceived
from drivers.input.keyboard import Keyboard
from drivers.line.line import Line
from drivers.profile import Profile
from drivers.teletype import Teletype

SAFE_CR_TRAVEL_MS = 500  # for questions: enough for any carriage that still returns

PrintPattern = Callable[[Teletype], Awaitable[None]]
AnswerT = TypeVar("AnswerT")


class AnswerTakenBack(Exception):
    """The operator took the last answer back."""


class AnswerHistory:
    """The operator's answers in order. After `restart` the calibration runs from the top and gets the known answers."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, Any]] = []  # question and answer; "" for a measurement without a question
        self._position = 0

    def restart(self) -> None:
        self._position = 0

    async def ask_once(self, ask: Callable[[], Awaitable[AnswerT]], question: str = "") -> AnswerT:
        """Returns the known answer at this position; calls `ask` if there is none."""
        if self._position == len(self._entries):
            self._entries.append((question, await ask()))
        self._position += 1
        answer: AnswerT = self._entries[self._position - 1][1]
        return answer

    def forget_last(self) -> None:
        """Drops the answer to the last question, and all measurements after it."""
        while self._entries and not self._entries.pop()[0]:
            pass


class CalibrationDialogue:
    """One machine and its operator. `_profile` has the properties that are known so far."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        known_profile: Profile,
        read_terminal_line: Callable[[], Awaitable[str]],
        print_message: Callable[[str], None],
    ) -> None:
        self._line, self._clock, self._known_profile = line, clock, known_profile
        # The motor is switched on once, at the start.
        self._profile = replace(
            known_profile, motor="always", auto_return=False, return_feeds=False, feed_returns=False
        )
        self._read_terminal_line, self._print_message = read_terminal_line, print_message
        self._history = AnswerHistory()
        self._keyboard = Keyboard()  # gets all answers, since a single one is too short to detect the parity
        self._duplex: str | None = None

    async def _ask_yes_no(self, pattern: PrintPattern | None, question: str, profile: Profile | None = None) -> bool:
        return await self._history.ask_once(lambda: self._show_and_ask(pattern, question, profile), question)

    async def _show_and_ask(self, pattern: PrintPattern | None, question: str, profile: Profile | None) -> bool:
        """Prints the pattern and asks; `?` repeats both. Raises AnswerTakenBack for B."""
        while True:
            if pattern is not None:
                await self._print_pattern(pattern, profile)
            async with self._teletype() as tty:
                answer = await self._read_answer(tty, f"{question}? ")
            if answer[:1] == "B":
                raise AnswerTakenBack
            if answer[:1] in ("Y", "N"):
                return answer[:1] == "Y"

    async def _print_pattern(self, pattern: PrintPattern, profile: Profile | None = None) -> None:
        async with self._teletype(profile) as tty:
            await tty.fresh_line()
            await pattern(tty)
            await tty.fresh_line()
            await tty.finish()

    @asynccontextmanager
    async def _teletype(self, profile: Profile | None = None) -> AsyncIterator[Teletype]:
        """Opens a teletype with the profile; by default with a safe profile, whose keys are decoded."""
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
        """Returns the line typed at the machine or here, in upper case; BREAK counts as `?`."""
        self._print_message(question)
        await tty.fresh_line()
        reading: asyncio.Future[Any] = asyncio.ensure_future(tty.read_line(question))
        reading_here: asyncio.Future[Any] = asyncio.ensure_future(self._read_terminal_line())
        try:
            await asyncio.wait({reading, reading_here}, return_when=asyncio.FIRST_COMPLETED)
            answer: str = reading.result() if reading.done() else reading_here.result()
            return answer.strip().upper()
        except Interrupted:
            return "?"
        finally:
            reading.cancel()
            reading_here.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(reading, reading_here, return_exceptions=True)
