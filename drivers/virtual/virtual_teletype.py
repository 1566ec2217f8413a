"""The virtual Teletype: a `TeletypeSim` on a port in real time, with an operator's keys and levers.

It takes one byte per character time, as a UART would. It marks a BREAK as the kernel does, because a pty cannot carry
one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from drivers.clock import CHARACTER_S, Clock
from drivers.line.line_input import Break, encode_line_input
from drivers.virtual.faults import Faults, LineNoise, RandomSource
from drivers.virtual.ports import Port, PtyPort
from drivers.virtual.teletype_sim import Equipment, LineSwitch, TeletypeSim
from drivers.virtual.typing_unit import Strike, TypingUnit

_POLL_S = 0.01  # between two checks whether the line is empty; the kernel carries a byte in far less
_PIECE_S = 0.001  # between two writes that the host shall read separately
_OPEN_S = 1.0  # duration of an open loop
_UNPLUGGED_S = 3.0


class VirtualTeletype:
    """A machine on a pty or another port: `async with` starts it; `path` is the port to open, `link` a lasting name."""

    def __init__(
        self,
        clock: Clock,
        *,
        link: Path | None = None,
        columns: int | None = None,
        character_s: float = CHARACTER_S,
        on_strike: Callable[[Strike], None] | None = None,
        equipment: Equipment = Equipment(),  # noqa: B008 - frozen
        faults: Faults = Faults(),  # noqa: B008 - frozen
        rng: RandomSource | None = None,
        port: Port | None = None,
    ) -> None:
        """`character_s` 0: no pacing. `on_strike` is called with each byte as the mechanism receives it.

        `columns` overrides the profile's; `rng` drives the faults, the same each time by default; `port` replaces the
        pty.
        """
        if columns is not None:
            equipment = replace(equipment, profile=replace(equipment.profile, columns=columns))
        rng = rng or Random(33)
        self.sim = TeletypeSim(equipment, rng=rng, character_s=character_s, clock_fast_by=max(0.0, -faults.skew))
        self.max_backlog = 0  # most bytes that ever waited at the line, the one about to be struck included
        self.overrun_bytes = 0  # bytes sent while the far end had no room
        self.received_bytes = 0  # bytes received from the line
        self._clock = clock
        self._port = port or PtyPort(clock, link)
        self._character_s = character_s
        self._faults = faults
        self._noise = LineNoise(faults, rng)
        self._on_strike = on_strike or (lambda strike: None)
        self._break_mode = equipment.break_mode
        self._changed = asyncio.Event()
        self._free_at = float("-inf")
        self._outgoing = asyncio.Queue[bytes]()
        self._doubled_bytes: list[int] = []  # bytes that the line has doubled

    @property
    def typing_unit(self) -> TypingUnit:
        return self.sim.typing_unit

    @property
    def path(self) -> str:
        return self._port.path

    @property
    def is_plugged(self) -> bool:
        return self._port.is_plugged

    async def __aenter__(self) -> Self:
        self._port.plug_in()
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._faults.cold:
            self.switch_motor(False)
            self.switch_motor(True)
        self._run_task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run_task.cancel()
        await asyncio.wait([self._run_task])
        self._port.unplug()
        failure = self._stopped.exception() if self._stopped.done() else None
        if not self._run_task.cancelled():
            failure = failure or self._run_task.exception()
        if failure and error is None:
            raise failure

    async def wait_until_stopped(self) -> None:
        """Waits until the machine stops, and raises the exception of `on_strike` that stopped it."""
        await asyncio.wait([self._run_task])
        self._run_task.result()

    # The operator.

    async def type(self, text: str) -> None:
        """Types each character as a key, at the machine's speed: `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT.

        A small letter is its capital's key. Returns when the last one is sent. Raises NoSuchKey before the first key.
        """
        for code in [self.sim.keyboard.encode_key(key) for key in text]:
            await self._press_key(code)

    async def type_chord(self, keytop: str, *, shift: bool = False, ctrl: bool = False, times: int = 1) -> None:
        """Presses one keytop with SHIFT and CTRL, `times` times as with REPT. Raises NoSuchKey."""
        code = self.sim.keyboard.encode_chord(keytop, shift=shift, ctrl=ctrl)
        for _ in range(times):
            await self._press_key(code)

    async def press_break(self, duration_s: float | None = None) -> None:
        """Presses the BREAK key, for a quarter of a second by default; returns when it is released."""
        await self._wait_for_keyboard()
        with self._at_now() as now:
            until = self.sim.hold_break(now, duration_s)
        await self._clock.sleep_until(until)

    def here_is(self) -> None:
        """Presses the HERE IS key."""
        with self._at_now() as now:
            self.sim.here_is(now)

    def start_reader(self) -> None:
        """Moves the reader's lever to START."""
        with self._at_now() as now:
            self.sim.start_reader(now)

    def set_line_switch(self, position: LineSwitch) -> None:
        """Turns the knob to LINE, LOCAL or OFF."""
        with self._at_now():
            self.sim.set_line_switch(position)

    def switch_motor(self, on: bool) -> None:
        """Switches the motor; a pty has no RTS line for it."""
        with self._at_now() as now:
            self.sim.switch_motor(on, now)

    def open_loop(self, duration_s: float) -> None:
        """Opens the cable of the loop for this time."""
        with self._at_now() as now:
            self.sim.open_loop(now, duration_s)

    def unplug(self) -> None:
        """Unplugs the adapter: the driver's line hangs up, and bytes on the way are lost."""
        self._port.unplug()

    def plug_in(self) -> None:
        """Plugs the adapter in again: a new pty under the same link. Raises DriverError."""
        self._port.plug_in()

    async def wait_until_idle(self) -> None:
        """Waits until no byte waits at the line, none came since the last check, and all are struck."""
        before = -1
        while before != self.received_bytes or self._port.in_waiting or self._doubled_bytes or self.sim.is_receiving:
            before = self.received_bytes
            await self._clock.sleep_until(max(self._free_at, self._clock.now() + _POLL_S))

    async def _press_key(self, code: int) -> None:
        await self._wait_for_keyboard()
        with self._at_now() as now:
            sent_at = self.sim.press_key(code, now)
        if sent_at > self._clock.now():
            await self._clock.sleep_until(sent_at)
        self._catch_up()  # the key is at the far end when this returns

    async def _wait_for_keyboard(self) -> None:
        await self._clock.sleep_until(self.sim.keys_free_at)
        while self._clock.now() < self.sim.keys_free_at:  # another key was quicker
            await self._clock.sleep_until(self.sim.keys_free_at)

    # Time.

    async def _run(self) -> None:
        loops = (self._receive_bytes(), self._run_events(), self._send_in_pieces())
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await asyncio.wait([*tasks, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for future in (*tasks, self._stopped):
            if future.done() and not future.cancelled():
                future.result()

    async def _receive_bytes(self) -> None:
        while True:
            # The time of arrival is taken while the machine is still busy, so a late wake-up shifts nothing.
            arrived = self._clock.now() if self._doubled_bytes else await self._port.wait_for_arrival()
            start = max(arrived, self._free_at)
            await self._clock.sleep_until(start)
            self.max_backlog = max(self.max_backlog, self._port.in_waiting)
            before = self.received_bytes
            data = bytes(self._doubled_bytes) or self._read_line_bytes(1 if self._character_s else 4096)
            self._doubled_bytes = list(data[1:]) if self._character_s else []
            with self._at_now():
                for byte in data[:1] if self._character_s else data:
                    self.sim.receive(byte, start)
            self._free_at = start + self._character_s * (1.0 + self._faults.skew)
            await self._apply_faults(before)

    def _read_line_bytes(self, count: int) -> bytes:
        """Reads bytes from the line, with its noise."""
        data = self._port.read(count)
        self.received_bytes += len(data)
        return b"".join(map(self._noise.distort, data))

    async def _apply_faults(self, before: int) -> None:
        """Applies the faults that are due after so many bytes."""
        if before < self._faults.open_after <= self.received_bytes:
            self.open_loop(_OPEN_S)
        if before < self._faults.unplug_after <= self.received_bytes:
            self.unplug()
            await self._clock.sleep_until(self._clock.now() + _UNPLUGGED_S)
            self.plug_in()

    async def _run_events(self) -> None:
        while True:
            self._changed.clear()
            wakes: list[asyncio.Task[object]] = [asyncio.create_task(self._changed.wait())]
            if (due := self.sim.next_event_at) is not None:
                wakes.append(asyncio.ensure_future(self._clock.sleep_until(due)))
            try:
                await asyncio.wait(wakes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wake in wakes:
                    wake.cancel()
            self._catch_up()

    def _catch_up(self) -> None:
        with self._at_now():
            pass

    @contextmanager
    def _at_now(self) -> Iterator[float]:
        """Yields the present time; handles the events due before and after the body."""
        now = self._clock.now()
        self._handle_events(now)
        yield now
        self._handle_events(now)
        self._changed.set()

    def _handle_events(self, now: float) -> None:
        for event in self.sim.advance(now):
            if isinstance(event, Strike):
                self._report_strike(event)
            elif isinstance(event, Break):
                self._send_to_host(encode_line_input(event, self._break_mode))
            else:
                for value in self._noise.distort(event.value):
                    self._send_to_host(encode_line_input(replace(event, value=value), self._break_mode))

    def _report_strike(self, strike: Strike) -> None:
        if self._stopped.done():
            return
        try:
            self._on_strike(strike)
        except Exception as error:  # it stops the machine, not the operator's key that led here
            self._stopped.set_exception(error)

    def _send_to_host(self, data: bytes) -> None:
        if self._faults.split:
            self._outgoing.put_nowait(data)
        else:
            self.overrun_bytes += self._port.write(data)

    async def _send_in_pieces(self) -> None:
        while True:
            for piece in self._noise.split_reads(await self._outgoing.get()):
                self.overrun_bytes += self._port.write(piece)
                await self._clock.sleep_until(self._clock.now() + _PIECE_S)
