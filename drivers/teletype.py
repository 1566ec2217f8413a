"""The machine as the daemon sees it: print, read a line, stop at BREAK; one `tap` for whoever watches.

Joins the printer, the keyboard, the clock and the line. Strokes go out on absolute deadlines, one byte per write,
so that never more than one byte waits below us beside the one being struck. Knows no model, and no log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from drivers import errors, events
from drivers.charset import even_parity
from drivers.clock import CHARACTER_S, Clock
from drivers.keyboard import INTERRUPT, LIMIT, Editor, Keyboard
from drivers.line import Line
from drivers.paper import COLUMNS
from drivers.printer import Printer, Stroke

_TYPE_AHEAD = 4096  # keys; ten minutes of typing that nobody reads


class Pace:
    """When the next stroke may be written, and when it will be struck; time comes in as an argument."""

    def __init__(self, character_s: float = CHARACTER_S) -> None:
        self._character_s = character_s
        self._struck_at = float("-inf")  # the start of the last stroke
        self.free_at = float("-inf")  # when that one is done
        self._settled_at = float("-inf")  # when the carriage is back

    def write_at(self, stroke: Stroke) -> float:
        """As the stroke before begins, so that the wheel finds the next byte ready; past a hold, not before its end.

        A UART sends what it has. A glyph that must wait for the carriage may not be lying there.
        """
        start = self._earliest(stroke)
        return start if start > self.free_at else self._struck_at

    def written(self, stroke: Stroke, now: float) -> float:
        """The start of a stroke that is handed over now. Too late is too late: nothing later makes up for it."""
        start = max(now, self._earliest(stroke))
        self._struck_at = start
        self.free_at = start + self._character_s
        if stroke.settle_s:
            self._settled_at = start + stroke.settle_s * self._character_s / CHARACTER_S
        return start

    def _earliest(self, stroke: Stroke) -> float:
        return max(self.free_at, self._settled_at) if stroke.spaces else self.free_at


class BreakScope:
    """What `until_break` gives: `asyncio.timeout(None)`, rescheduled by BREAK or ^C."""

    def __init__(self, teletype: Teletype) -> None:
        self.route: events.Route | None = None
        self._teletype = teletype
        self._outer: BreakScope | None = None
        self._timeout = asyncio.timeout(None)

    @property
    def broken(self) -> bool:
        return self.route is not None

    async def __aenter__(self) -> BreakScope:
        await self._timeout.__aenter__()
        self._outer = self._teletype.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._teletype.leave(self._outer)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:  # only its own cancellation becomes one here; one out of the body passes by in `error`
            return True
        return False

    def end(self, route: events.Route) -> None:
        """The body is cancelled at its next wait."""
        if not self.broken:
            self.route = route
            self._timeout.reschedule(asyncio.get_running_loop().time())


class Teletype:
    """One machine at the end of one line. Only one task at a time may print or read."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        *,
        tap: Callable[[events.Event], None] | None = None,
        columns: int = COLUMNS,
        character_s: float = CHARACTER_S,
        limit: int = LIMIT,
    ) -> None:
        """`character_s` 0 drops the pace. `limit` is the longest prompt that may be typed."""
        self._line = line
        self._clock = clock
        self._tap = tap or (lambda event: None)
        self._limit = limit
        self._printer = Printer(columns)
        self._pace = Pace(character_s)
        self._ready: deque[tuple[Stroke, float]] = deque()  # strokes not yet written, and when they were queued
        self._keyboard = Keyboard()
        self._editor: Editor | None = None  # while a line is read
        self._keys: deque[str] = deque()  # typed, not yet read
        self._typed = asyncio.Event()
        self._scope: BreakScope | None = None
        self._route: events.Route = "^C"  # of the last BREAK
        self._lost: str | None = None
        line.listen(self._heard)

    @property
    def column(self) -> int | None:
        """Where the carriage will be when all that was written is struck; None is unknown."""
        return self._ready[0][0].column if self._ready else self._printer.column

    @property
    def begun(self) -> bool:
        """A line is being read, and something stands in it."""
        return self._editor is not None and self._editor.text != ""

    @property
    def keyboard(self) -> Keyboard:
        """What was learned about the keyboard's parity."""
        return self._keyboard

    async def print(self, text: str) -> None:
        """Text in any pieces. Back when all but the held-back word is struck, or is one of two characters below us."""
        await self._strike(self._printer.feed(text))

    async def flush(self) -> None:
        """The held-back word too."""
        await self._strike(self._printer.flush())

    async def fresh_line(self) -> None:
        """To the left margin of a clean line; the carriage stays where it is if it is there."""
        await self._strike(self._printer.fresh_line())

    async def finish(self) -> None:
        """Flush, and wait until the last character is struck."""
        await self.flush()
        await self._clock.sleep_until(self._pace.free_at)

    async def read_line(self, prompt: str = "") -> str:
        """What is typed up to RETURN, echoed and edited; keys typed ahead come first. `\\n` is a soft new line.

        Raises Interrupted on BREAK or ^C, EndOfInput on ^D in an empty line, LineLost. What stands in the line
        when the wait is cancelled is as if typed ahead for the next one.
        """
        await self.print(prompt)
        await self.flush()
        editor = self._editor = Editor(prompt, limit=self._limit)
        try:
            while True:
                reply = editor.press(await self._key())
                await self._strike(self._printer.echo(reply.echo))
                if reply.outcome == "submit":
                    return editor.text
                if reply.outcome == "interrupt":
                    raise errors.Interrupted("the operator pressed BREAK or ^C")
                if reply.outcome == "end":
                    raise errors.EndOfInput("the operator typed ^D")
        except asyncio.CancelledError:
            self._keys.extendleft(reversed(editor.text))
            raise
        finally:
            self._editor = None

    def until_break(self) -> BreakScope:
        """`async with`: a body that BREAK or ^C ends wherever it waits; `broken` and `route` say so afterwards."""
        return BreakScope(self)

    # What BreakScope calls.

    def enter(self, scope: BreakScope) -> BreakScope | None:
        outer, self._scope = self._scope, scope
        if INTERRUPT in self._keys:  # pressed before anyone was there to be stopped
            self._keys.clear()
            scope.end(self._route)
        return outer

    def leave(self, outer: BreakScope | None) -> None:
        self._scope = outer

    # Printing.

    async def _strike(self, strokes: list[Stroke]) -> None:
        queued = self._clock.now()
        self._ready.extend((stroke, queued) for stroke in strokes)
        try:
            if self._scope is not None and self._scope.broken:
                self._forget()
                await asyncio.sleep(0)  # the cancellation is on its way, and lands here
            while self._ready:
                await self._clock.sleep_until(self._pace.write_at(self._ready[0][0]))
                await self._write_next()
        except BaseException:
            self._forget()
            raise

    async def _write_next(self) -> None:
        if self._lost is not None:
            raise errors.LineLost(self._lost)
        if not self._ready:  # a BREAK came while we slept
            return
        stroke, queued = self._ready[0]
        self._line.write(even_parity(stroke.byte))
        self._ready.popleft()
        try:
            await self._line.drain()
        finally:
            if self._lost is None:  # it is on its way, whatever else happens
                start = self._pace.written(stroke, self._clock.now())
                self._tap(events.Struck(start, queued, stroke.byte, stroke.column))
        if self._lost is not None:
            raise errors.LineLost(self._lost)

    def _forget(self) -> int:
        """Throws away all that is not yet written; says how many characters that was."""
        count = len(self._ready) + self._printer.held
        self._printer.forget([stroke for stroke, _ in self._ready])
        self._ready.clear()
        return count

    # Listening.

    async def _key(self) -> str:
        while not self._keys:
            if self._lost is not None:
                raise errors.LineLost(self._lost)
            self._typed.clear()
            await self._typed.wait()
        return self._keys.popleft()

    def _heard(self, heard: events.Heard) -> None:
        now = self._clock.now()
        if isinstance(heard, events.Byte):
            self._tap(events.Keyed(now, heard.value))
            key = self._keyboard.receive(heard.value)
            if key == INTERRUPT:
                self._break(now, "^C")
            elif key != "\x00" and len(self._keys) < _TYPE_AHEAD:
                self._keys.append(key)
        elif isinstance(heard, events.Frame):
            self._keyboard.damaged += 1
            self._tap(events.Keyed(now, heard.value, damaged=True))
        elif isinstance(heard, events.Break):
            self._break(now, "break")
        elif isinstance(heard, events.HangUp):
            self._lost = heard.reason
            self._tap(events.Lost(now, heard.reason))
        self._typed.set()

    def _break(self, now: float, route: events.Route) -> None:
        """Ends the scope, or else is a ^C for whoever reads; what was typed or not yet written before it goes."""
        self._keys.clear()
        self._route = route
        self._tap(events.Broke(now, route, self._forget()))
        if self._scope is None:
            self._keys.append(INTERRUPT)
        else:
            self._scope.end(route)
