"""The input queue: keys typed ahead, BREAK and the scope that it ends, ^S and ^Q, and rows of tape.

After a BREAK it drops the output. It reports to the transmitter what the machine prints by itself. It writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from drivers import events
from drivers.clock import Clock, Timer
from drivers.input.break_scope import BreakScope
from drivers.input.echo_canceller import ECHO_WINDOW_S
from drivers.input.keyboard import END_OF_INPUT, INTERRUPT, LINE_FEED, NOISE_KEY, RETURN
from drivers.input.receiver import XON, CaptureMode, Received, Receiver
from drivers.line.line_input import Break, Byte, FramingError, HangUp, LineInput, LineSignal
from drivers.output.transmitter import Transmitter
from drivers.profile import Profile
from drivers.status import MachineCounters
from drivers.text.charset import strip_parity

_QUIET_S, _LONG_QUIET_S = 0.3, 1.0  # three characters of steady noise, and ten
_TYPE_AHEAD_KEYS = 4096  # ten minutes of typing


class InputQueue:
    """Keys of one line, in order. BREAK cancels the scope that was entered last."""

    def __init__(
        self,
        profile: Profile,
        clock: Clock,
        transmitter: Transmitter,
        counters: MachineCounters,
        on_event: Callable[[events.Event], None],
        character_s: float,
        *,
        is_serial: bool = False,
    ) -> None:
        """`is_serial`: the line is a serial port."""
        self.receiver = Receiver(profile, character_s, is_serial=is_serial)
        self._clock, self._transmitter, self._counters, self._on_event = clock, transmitter, counters, on_event
        self._character_s = character_s
        self._has_keyboard = profile.keyboard == "fitted"
        self._keys: deque[str] = deque()  # typed, not yet read
        self._was_noisy = False
        self._restored_line = ""
        self._input_arrived = asyncio.Event()
        self._captured_rows = bytearray()  # of a tape or of an answer, while the receiver is in that mode
        self._scope: BreakScope | None = None
        self._break_route: events.BreakRoute = "^C"  # of the last BREAK
        self._parameters: dict[Literal["parity", "duplex"], str | None] = {"parity": None, "duplex": None}
        self._echo_timer = Timer(clock, self._check_echo_timeout)
        transmitter.on_sent = self._note_sent

    async def close(self) -> None:
        await self._echo_timer.close()

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def take_key(self) -> str:
        return self._keys.popleft()

    async def wait_for_input(self) -> None:
        """Waits until anything comes from the line, a hang-up included."""
        self._input_arrived.clear()
        await self._input_arrived.wait()

    async def is_confirmed(self, key: str, *, at_start: bool) -> bool:
        """Returns whether a key that was taken is to be obeyed; waits until a RETURN or a ^D is surely a typist's.

        After either he waits, and noise seldom does. A RETURN after clean characters is obeyed at once. `at_start`:
        nothing is typed on the line; elsewhere ^D does nothing.
        """
        is_proven = self.receiver.noise_filter.is_proven
        if key == RETURN:
            return is_proven or await self._stays_quiet(_QUIET_S)
        if key == END_OF_INPUT and at_start:
            return await self._stays_quiet(_QUIET_S if is_proven else _LONG_QUIET_S)
        return True

    async def _stays_quiet(self, seconds: float) -> bool:
        """Waits so long; returns False as soon as a key or noise comes, a terminal's LF excepted."""
        spoilt, deadline = self._counters.damaged + self._counters.noise, self._clock.now() + seconds
        quiet = asyncio.ensure_future(self._clock.sleep_until(deadline))
        try:
            while not quiet.done():
                if any(key != LINE_FEED for key in self._keys):
                    return False
                if self._counters.damaged + self._counters.noise != spoilt:
                    return False
                arriving = asyncio.ensure_future(self.wait_for_input())
                await asyncio.wait({arriving, quiet}, return_when=asyncio.FIRST_COMPLETED)
                arriving.cancel()
            return True
        finally:
            quiet.cancel()

    def restore_line(self, text: str, key: str = "") -> None:
        """Keeps the text of a line whose reading was cancelled: the next line begins with it.

        `key` is the key that had already ended the line. After a BREAK both are dropped.
        """
        if not self.is_break_pending:
            self._restored_line = text
            self._keys.extendleft([key] if key else [])

    def take_restored_line(self) -> str:
        text, self._restored_line = self._restored_line, ""
        return text

    def discard_typed(self) -> None:
        """Drops the keys typed ahead, and the text of a line whose reading was cancelled."""
        self._keys.clear()
        self._restored_line = ""

    @contextlib.contextmanager
    def capture_input(self, mode: CaptureMode = "tape") -> Iterator[bytearray]:
        """Collects the bytes from the line as raw rows, not as keys, while the context is open."""
        rows = self._captured_rows = bytearray()
        self.receiver.set_mode(mode)
        try:
            yield rows
        finally:
            self.receiver.set_mode(None)

    # Called by BreakScope.

    def enter_scope(self, scope: BreakScope) -> BreakScope | None:
        outer, self._scope = self._scope, scope
        if INTERRUPT in self._keys:  # BREAK was pressed before there was a scope to cancel
            self._keys.clear()
            scope.cancel(self._break_route)
        return outer

    def leave_scope(self, outer: BreakScope | None) -> None:
        self._scope = outer

    @property
    def is_break_pending(self) -> bool:
        """Whether the innermost scope is cancelled and its body has not yet ended."""
        return self._scope is not None and self._scope.is_broken

    # Receiving.

    def receive(self, line_input: LineInput) -> None:
        now = self._clock.now()
        if isinstance(line_input, HangUp):
            self._transmitter.hang_up(line_input.reason)
        else:
            for signal, received in self.receiver.receive(line_input, now):
                if self._has_keyboard or not self._is_of_keyboard(received):
                    self._dispatch(signal, received, now)
        self._input_arrived.set()

    def _is_of_keyboard(self, received: Received) -> bool:
        """Whether this came from a key other than BREAK: on a receive-only machine it is noise."""
        return received.kind in ("key", "pause", "resume") or (received.kind == "break" and received.route == "^C")

    def _note_sent(self, byte: int, start: float) -> None:
        self.receiver.echo_canceller.note_sent(byte, start)
        if self.receiver.echo_canceller.duplex is None:
            self._echo_timer.schedule(start + self._character_s + 1.1 * ECHO_WINDOW_S)

    def press_break(self) -> None:
        """Handles a BREAK that does not come from the line."""
        self._handle_break(self._clock.now(), "break")

    async def _check_echo_timeout(self) -> None:
        """Decides the duplex if no echo has come in time."""
        now = self._clock.now()
        self.receiver.echo_canceller.expire(now)
        for signal, received in self.receiver.reclaim_keys(now):
            self._dispatch(signal, received, now)
        self._report_parameter("duplex", self.receiver.echo_canceller.duplex, now)
        self._input_arrived.set()

    def _dispatch(self, signal: LineSignal, received: Received, now: float) -> None:
        self._report_input(signal, received, now)
        self._follow_noise(now)
        if received.machine_printed is not None:
            self._transmitter.follow_local_print(received.machine_printed)
        match received.kind:
            case "break":
                self._handle_break(now, received.route or "break")
            case "pause":
                self._transmitter.pause()
            case "resume":
                self._transmitter.resume()
            case "row" if isinstance(signal, Byte):
                # The operator pressed ^S before the rows were asked for: the ^Q that ends this pause is not a row.
                if self._transmitter.paused_at is not None and strip_parity(signal.value) == ord(XON):
                    self._transmitter.resume()
                else:
                    self._captured_rows.append(signal.value)
            case "garbled" if not isinstance(signal, Break):
                # The operator typed over the output: the printed glyph and the column are unknown.
                self._counters.garbled += 1
                self._transmitter.lose_track()
                self._on_event(events.EchoMismatch(now, self.receiver.echo_canceller.expected, signal.value))
            case "key":
                self._transmitter.resume()  # any key ends a pause, as in Unix V7
                if len(self._keys) < _TYPE_AHEAD_KEYS:
                    self._keys.append(received.key)

    def _follow_noise(self, now: float) -> None:
        """When noise begins, drops the keys that were noise too, and tells the reader of the line; reports its end."""
        noise_filter = self.receiver.noise_filter
        if noise_filter.is_noisy == self._was_noisy:
            return
        self._was_noisy = noise_filter.is_noisy
        self._on_event(events.NoiseDetected(now, noise_filter.is_noisy, noise_filter.count))
        if self._was_noisy:
            self._keys.clear()
            self._restored_line = ""
            self._keys.append(NOISE_KEY)

    def _report_input(self, signal: LineSignal, received: Received, now: float) -> None:
        """Reports all input except the driver's own echo, and the parity and duplex that the input shows."""
        is_noise = received.kind == "noise"  # counted; a log of all of it would fill the disk
        if isinstance(signal, FramingError):
            self._counters.damaged += 1
            if not is_noise:
                self._on_event(events.KeyReceived(now, signal.value, damaged=True))
        elif isinstance(signal, Byte) and received.kind not in ("echo", "garbled") and not is_noise:
            self._counters.keyed += 1
            self._on_event(events.KeyReceived(now, signal.value))
        self._counters.noise = self.receiver.noise_filter.count
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
        """Drops the keys read until now, which were the driver's own echo: the line being read begins again."""
        self._keys.clear()
        self._restored_line = ""
        if self._scope is None:
            self._keys.append(INTERRUPT)

    def _handle_break(self, now: float, route: events.BreakRoute) -> None:
        """Drops typed keys and unwritten output; then cancels the scope, or queues a ^C for the reader of a line.

        A BREAK among noise cancels a scope, and is nothing to the reader of a line.
        """
        self._counters.breaks += 1
        if self._was_noisy and self._scope is None:
            return
        self._keys.clear()
        self._restored_line = ""
        self._break_route = route
        self._on_event(events.BreakPressed(now, route, self._transmitter.discard_output()))
        self._transmitter.resume()
        if self._scope is None:
            self._keys.append(INTERRUPT)
        else:
            self._scope.cancel(route)
