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
from drivers.clock import CHARACTER_S, Clock
from drivers.input.break_scope import BreakScope
from drivers.input.keyboard import INTERRUPT
from drivers.input.receiver import XON, CaptureMode, Received, Receiver
from drivers.output.transmitter import Transmitter
from drivers.profile import Profile
from drivers.status import MachineCounters
from drivers.text.charset import apply_parity, strip_parity
from drivers.text.printer import Printer, Stroke

_TYPE_AHEAD_KEYS = 4096  # keys; ten minutes of typing that nobody reads


class InputQueue:
    """Hears one line; `key` is what is typed, and BREAK ends the scope that was entered last."""

    def __init__(
        self,
        profile: Profile,
        clock: Clock,
        printer: Printer,
        transmitter: Transmitter,
        counters: MachineCounters,
        on_event: Callable[[events.Event], None],
        character_s: float = CHARACTER_S,
    ) -> None:
        self.receiver = Receiver(profile, character_s)
        self._profile = profile
        self._clock, self._printer, self._transmitter, self._counters, self._on_event = (
            clock,
            printer,
            transmitter,
            counters,
            on_event,
        )
        self._keys: deque[str] = deque()  # typed, not yet read
        self._restored_line = ""
        self._input_arrived = asyncio.Event()
        self._captured_rows = bytearray()  # of a tape or of an answer, while the ear is told so
        self._scope: BreakScope | None = None
        self._break_route: events.BreakRoute = "^C"  # of the last BREAK
        self._parameters: dict[Literal["parity", "duplex"], str | None] = {"parity": None, "duplex": None}

    async def next_key(self) -> str:
        """The next key; there may be one for a moment longer than the line lasts."""
        while not self._keys:
            await self.wait_for_input()
        return self._keys.popleft()

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    async def wait_for_input(self) -> None:
        """Back when anything has come up the wire, its end included."""
        self._input_arrived.clear()
        await self._input_arrived.wait()

    def restore_line(self, text: str, key: str = "") -> None:
        """What stood in a line whose reading was cancelled: it begins the next one, and is typed by nobody.

        `key`, if there is one, had already ended that line. After a BREAK all of it is thrown away.
        """
        if not self.is_break_pending:
            self._restored_line = text
            self._keys.extendleft([key] if key else [])

    def take_restored_line(self) -> str:
        begun, self._restored_line = self._restored_line, ""
        return begun

    @contextlib.contextmanager
    def capture_input(self, mode: CaptureMode = "tape") -> Iterator[bytearray]:
        """What comes up the wire meanwhile, raw: rows or an answer, not keys."""
        rows = self._captured_rows = bytearray()
        self.receiver.set_mode(mode)
        try:
            yield rows
        finally:
            self.receiver.set_mode(None)

    # What BreakScope calls.

    def enter_scope(self, scope: BreakScope) -> BreakScope | None:
        outer, self._scope = self._scope, scope
        if INTERRUPT in self._keys:  # pressed before anyone was there to be stopped
            self._keys.clear()
            scope.cancel(self._break_route)
        return outer

    def leave_scope(self, outer: BreakScope | None) -> None:
        self._scope = outer

    @property
    def is_break_pending(self) -> bool:
        """The innermost scope is over, and its body is about to be cancelled."""
        return self._scope is not None and self._scope.is_broken

    # Listening.

    def receive(self, line_input: events.LineInput) -> None:
        now = self._clock.now()
        if isinstance(line_input, events.HangUp):
            self._transmitter.hang_up(line_input.reason)
        else:
            for one, sense in self.receiver.receive(line_input, now):
                self._report_input(one, sense, now)
                self._dispatch(one, sense, now)
        self._input_arrived.set()

    async def check_echo_timeout(self) -> None:
        """Looks whether it is certain by now that nothing comes back."""
        now = self._clock.now()
        self.receiver.echo_canceller.expire(now)
        for one, sense in self.receiver.reclaim_keys(now):
            self._report_input(one, sense, now)
            self._dispatch(one, sense, now)
        self._report_parameter("duplex", self.receiver.echo_canceller.duplex, now)
        self._input_arrived.set()

    def fresh_line_strokes(self) -> list[tuple[Stroke, int]]:
        """To a clean line from wherever the carriage may be."""
        strokes = Printer(self._profile).fresh_line()
        return [(stroke, apply_parity(stroke.byte, self._profile.send_parity)) for stroke in strokes]

    def discard_output(self) -> int:
        """Throws away all that is not yet written; says how many characters that was."""
        astray = self._transmitter.has_resent
        forgotten = self._transmitter.discard_queue()
        count = len(forgotten) + self._printer.held_characters
        self._printer.forget_unstruck(forgotten)
        if astray:
            self._printer.lose_track()
        return count

    def _report_input(
        self, line_input: events.Byte | events.Break | events.FramingError, received: Received, now: float
    ) -> None:
        """For whoever watches: all but our own echo, and what it has taught us."""
        if isinstance(line_input, events.FramingError):
            self._counters.damaged += 1
            self._on_event(events.KeyReceived(now, line_input.value, damaged=True))
        elif isinstance(line_input, events.Byte) and received.kind not in ("echo", "garbled"):
            self._counters.keyed += 1
            self._on_event(events.KeyReceived(now, line_input.value))
        self._report_parameter("parity", self.receiver.keyboard.parity, now)
        self._report_parameter("duplex", self.receiver.echo_canceller.duplex, now)

    def _report_parameter(self, parameter: Literal["parity", "duplex"], value: str | None, now: float) -> None:
        before = self._parameters[parameter]
        if value is not None and value != before:
            self._parameters[parameter] = value
            self._on_event(events.ParameterDetected(now, parameter, value))
            if (before, value) == ("full", "half"):
                self._discard_echoes()

    def _discard_echoes(self) -> None:
        """What was taken for keys until now was our own print: a line that is being read begins again."""
        self._keys.clear()
        self._restored_line = ""
        if self._scope is None:
            self._keys.append(INTERRUPT)

    def _dispatch(
        self, line_input: events.Byte | events.Break | events.FramingError, received: Received, now: float
    ) -> None:
        if received.machine_printed is not None:
            self._follow_local_print(received.machine_printed)
        match received.kind:
            case "break":
                self._handle_break(now, received.route or "break")
            case "pause":
                self._transmitter.pause()
            case "go on":
                self._transmitter.resume()
            case "row" if isinstance(line_input, events.Byte):
                # Stopped by ^S before anything was asked of the machine: what lets it go on is not an answer.
                if self._transmitter.paused_at is not None and strip_parity(line_input.value) == ord(XON):
                    self._transmitter.resume()
                else:
                    self._captured_rows.append(line_input.value)
            case "garbled" if not isinstance(line_input, events.Break):
                # Somebody typed over us: what is on the paper, and how far it went, nobody knows.
                self._counters.garbled += 1
                self._printer.lose_track()
                self._on_event(events.EchoMismatch(now, self.receiver.echo_canceller.expected, line_input.value))
            case "key":
                self._transmitter.resume()  # any key ends a pause, as in Unix V7
                if len(self._keys) < _TYPE_AHEAD_KEYS:
                    self._keys.append(received.key)

    def _follow_local_print(self, byte: int) -> None:
        """In half duplex the machine has printed its own key; what stands ready for this line begins another."""
        column = self._printer.column
        settle_s = self._printer.observe_byte(byte)
        self._transmitter.note_local_print(Stroke(strip_parity(byte), column, settle_s), byte)
        ready = self._transmitter.next_stroke
        if ready is not None:
            if ready.is_spacing:
                self._transmitter.prepend(self.fresh_line_strokes())
            self._printer.lose_track()

    def _handle_break(self, now: float, route: events.BreakRoute) -> None:
        """Ends the scope, or else is a ^C for whoever reads; what was typed or not yet written before it goes."""
        self._counters.breaks += 1
        self._keys.clear()
        self._restored_line = ""
        self._break_route = route
        self._on_event(events.BreakPressed(now, route, self.discard_output()))
        self._transmitter.resume()
        if self._scope is None:
            self._keys.append(INTERRUPT)
        else:
            self._scope.cancel(route)
