"""The person at the keyboard: keys typed ahead, BREAK and what it ends, ^S and ^Q, and tapes that are no keys.

Knows what is to be thrown away and what to be followed on the paper; prints nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from drivers import events
from drivers.charset import level8, strip_parity
from drivers.clock import CHARACTER_S, Clock
from drivers.ear import X_ON, Captured, Ear, Sense
from drivers.keyboard import INTERRUPT
from drivers.printer import Printer, Stroke
from drivers.profile import Profile
from drivers.scope import BreakScope
from drivers.status import Counters
from drivers.wheel import Wheel

_TYPE_AHEAD = 4096  # keys; ten minutes of typing that nobody reads


class Operator:
    """Hears one line; `key` is what is typed, and BREAK ends the scope that was entered last."""

    def __init__(
        self,
        profile: Profile,
        clock: Clock,
        printer: Printer,
        wheel: Wheel,
        counters: Counters,
        tap: Callable[[events.Event], None],
        character_s: float = CHARACTER_S,
    ) -> None:
        self.ear = Ear(profile, character_s)
        self._profile = profile
        self._clock, self._printer, self._wheel, self._counters, self._tap = clock, printer, wheel, counters, tap
        self._keys: deque[str] = deque()  # typed, not yet read
        self._begun = ""
        self._more = asyncio.Event()
        self._rows = bytearray()  # of a tape or of an answer, while the ear is told so
        self._scope: BreakScope | None = None
        self._route: events.Route = "^C"  # of the last BREAK
        self._learned: dict[Literal["parity", "duplex"], str | None] = {"parity": None, "duplex": None}

    async def key(self) -> str:
        """The next key; there may be one for a moment longer than the line lasts."""
        while not self._keys:
            await self.something()
        return self._keys.popleft()

    @property
    def has_typed(self) -> bool:
        return bool(self._keys)

    async def something(self) -> None:
        """Back when anything has come up the wire, its end included."""
        self._more.clear()
        await self._more.wait()

    def put_back(self, text: str, key: str = "") -> None:
        """What stood in a line whose reading was cancelled: it begins the next one, and is typed by nobody.

        `key`, if there is one, had already ended that line. After a BREAK all of it is thrown away.
        """
        if not self.has_broken:
            self._begun = text
            self._keys.extendleft([key] if key else [])

    def take_begun(self) -> str:
        begun, self._begun = self._begun, ""
        return begun

    @contextlib.contextmanager
    def captured(self, what: Captured = "tape") -> Iterator[bytearray]:
        """What comes up the wire meanwhile, raw: rows or an answer, not keys."""
        rows = self._rows = bytearray()
        self.ear.capture(what)
        try:
            yield rows
        finally:
            self.ear.capture(None)

    # What BreakScope calls.

    def enter(self, scope: BreakScope) -> BreakScope | None:
        outer, self._scope = self._scope, scope
        if INTERRUPT in self._keys:  # pressed before anyone was there to be stopped
            self._keys.clear()
            scope.end(self._route)
        return outer

    def leave(self, outer: BreakScope | None) -> None:
        self._scope = outer

    @property
    def has_broken(self) -> bool:
        """The innermost scope is over, and its body is about to be cancelled."""
        return self._scope is not None and self._scope.broken

    # Listening.

    def hear(self, heard: events.Heard) -> None:
        now = self._clock.now()
        if isinstance(heard, events.HangUp):
            self._wheel.hang_up(heard.reason)
        else:
            for one, sense in self.ear.hear(heard, now):
                self._report(one, sense, now)
                self._act(one, sense, now)
        self._more.set()

    async def listen_again(self) -> None:
        """Looks whether it is certain by now that nothing comes back."""
        now = self._clock.now()
        self.ear.echo.expire(now)
        for one, sense in self.ear.taken_back(now):
            self._report(one, sense, now)
            self._act(one, sense, now)
        self._learn("duplex", self.ear.echo.duplex, now)
        self._more.set()

    def fresh_line(self) -> list[tuple[Stroke, int]]:
        """To a clean line from wherever the carriage may be."""
        strokes = Printer(self._profile).fresh_line()
        return [(stroke, level8(stroke.byte, self._profile.send_parity)) for stroke in strokes]

    def forget(self) -> int:
        """Throws away all that is not yet written; says how many characters that was."""
        astray = self._wheel.strikes_again
        forgotten = self._wheel.forget()
        count = len(forgotten) + self._printer.held
        self._printer.forget(forgotten)
        if astray:
            self._printer.lost_track()
        return count

    def _report(self, heard: events.Byte | events.Break | events.Frame, sense: Sense, now: float) -> None:
        """For whoever watches: all but our own echo, and what it has taught us."""
        if isinstance(heard, events.Frame):
            self._counters.damaged += 1
            self._tap(events.Keyed(now, heard.value, damaged=True))
        elif isinstance(heard, events.Byte) and sense.kind not in ("echo", "garbled"):
            self._counters.keyed += 1
            self._tap(events.Keyed(now, heard.value))
        self._learn("parity", self.ear.keyboard.parity, now)
        self._learn("duplex", self.ear.echo.duplex, now)

    def _learn(self, what: Literal["parity", "duplex"], value: str | None, now: float) -> None:
        before = self._learned[what]
        if value is not None and value != before:
            self._learned[what] = value
            self._tap(events.Learned(now, what, value))
            if (before, value) == ("full", "half"):
                self._forget_echoes()

    def _forget_echoes(self) -> None:
        """What was taken for keys until now was our own print: a line that is being read begins again."""
        self._keys.clear()
        self._begun = ""
        if self._scope is None:
            self._keys.append(INTERRUPT)

    def _act(self, heard: events.Byte | events.Break | events.Frame, sense: Sense, now: float) -> None:
        if sense.machine_printed is not None:
            self._follow(sense.machine_printed)
        match sense.kind:
            case "break":
                self._break(now, sense.route or "break")
            case "pause":
                self._wheel.pause()
            case "go on":
                self._wheel.go_on()
            case "row" if isinstance(heard, events.Byte):
                # Stopped by ^S before anything was asked of the machine: what lets it go on is not an answer.
                if self._wheel.paused_at is not None and strip_parity(heard.value) == ord(X_ON):
                    self._wheel.go_on()
                else:
                    self._rows.append(heard.value)
            case "garbled" if not isinstance(heard, events.Break):
                # Somebody typed over us: what is on the paper, and how far it went, nobody knows.
                self._counters.garbled += 1
                self._printer.lost_track()
                self._tap(events.Garbled(now, self.ear.echo.expected, heard.value))
            case "key":
                self._wheel.go_on()  # any key ends a pause, as in Unix V7
                if len(self._keys) < _TYPE_AHEAD:
                    self._keys.append(sense.key)

    def _follow(self, byte: int) -> None:
        """In half duplex the machine has printed its own key; what stands ready for this line begins another."""
        column = self._printer.column
        settle_s = self._printer.observe(byte)
        self._wheel.printed_itself(Stroke(strip_parity(byte), column, settle_s), byte)
        ready = self._wheel.next
        if ready is not None:
            if ready.spaces:
                self._wheel.go_first(self.fresh_line())
            self._printer.lost_track()

    def _break(self, now: float, route: events.Route) -> None:
        """Ends the scope, or else is a ^C for whoever reads; what was typed or not yet written before it goes."""
        self._counters.breaks += 1
        self._keys.clear()
        self._begun = ""
        self._route = route
        self._tap(events.Broke(now, route, self.forget()))
        self._wheel.go_on()
        if self._scope is None:
            self._keys.append(INTERRUPT)
        else:
            self._scope.end(route)
