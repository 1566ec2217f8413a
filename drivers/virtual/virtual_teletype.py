"""A `Station` at the far end of a pty, in time: what its line delivers, and a hand at its keys and levers.

It takes one byte per character time, as a UART would, and speaks the kernel's marking of BREAK, because a pty cannot
carry the real thing.
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
from drivers.events import Break
from drivers.virtual.break_encoding import encode_line_input
from drivers.virtual.equipment import Equipment
from drivers.virtual.faults import Faults, LineNoise, RandomSource
from drivers.virtual.port import Port
from drivers.virtual.pty_port import PtyPort
from drivers.virtual.teletype_sim import LineSwitch, TeletypeSim
from drivers.virtual.typing_unit import Strike, TypingUnit

_POLL_S = 0.01  # how often to look whether the wire is empty; the kernel carries a byte over in far less
_PIECE_S = 0.001  # between two reads that shall be two
_OPEN_S = 1.0  # what a mishap lasts: a loop that is open, a cable that is out
_UNPLUGGED_S = 3.0


class VirtualTeletype:
    """A machine on a pty. `async with` it; `path` is what a driver opens, `link` a name for it that lasts."""

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
        """`character_s` 0: as fast as it comes. `on_strike` is told each byte as the mechanism takes it.

        `columns` goes before the profile's; `chance` is what the faults fall by, the same each time if not given;
        `port` a line that is no pty.
        """
        if columns is not None:
            equipment = replace(equipment, profile=replace(equipment.profile, columns=columns))
        rng = rng or Random(33)
        self.sim = TeletypeSim(equipment, rng=rng, character_s=character_s, clock_fast_by=max(0.0, -faults.skew))
        self.max_backlog = 0  # the most bytes that ever lay at the wire, the one about to be struck among them
        self.overrun_bytes = 0  # bytes sent that the far end had no room for
        self.received_bytes = 0  # bytes that came over the wire
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
        self._doubled_bytes: list[int] = []  # what the line has doubled

    @property
    def typing_unit(self) -> TypingUnit:
        """The typing unit."""
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
        stopped = self._stopped.exception() if self._stopped.done() else None
        if not self._run_task.cancelled():
            stopped = stopped or self._run_task.exception()
        if stopped and error is None:
            raise stopped

    async def wait_until_stopped(self) -> None:
        """Never back; raises what stopped the machine, which is what `on_strike` raised. Whoever waits watches this."""
        await asyncio.wait([self._run_task])
        self._run_task.result()

    # The operator.

    async def type(self, text: str) -> None:
        """Each character as a key, no faster than the machine can: `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT.

        A small letter is its key. Back when the last one is sent. Raises NoSuchKey, before anything is typed.
        """
        for code in [self.sim.keyboard.encode_key(key) for key in text]:
            await self._press_key(code)

    async def type_chord(self, keytop: str, *, shift: bool = False, ctrl: bool = False, times: int = 1) -> None:
        """One keytop with SHIFT and CTRL; with REPT held for so many `times`. Raises NoSuchKey if it locks."""
        code = self.sim.keyboard.encode_chord(keytop, shift=shift, ctrl=ctrl)
        for _ in range(times):
            await self._press_key(code)

    async def press_break(self, duration_s: float | None = None) -> None:
        """The BREAK key, held for a quarter of a second if nothing is said; back when it is let go."""
        await self._wait_for_keyboard()
        with self._at_now() as now:
            until = self.sim.hold_break(now, duration_s)
        await self._clock.sleep_until(until)

    def here_is(self) -> None:
        """The HERE IS key."""
        with self._at_now() as now:
            self.sim.here_is(now)

    def start_reader(self) -> None:
        """The reader's lever to START."""
        with self._at_now() as now:
            self.sim.start_reader(now)

    def set_line_switch(self, position: LineSwitch) -> None:
        """LINE, LOCAL or OFF."""
        with self._at_now():
            self.sim.set_line_switch(position)

    def switch_motor(self, on: bool) -> None:
        """The motor; a pty has no RTS line that could."""
        with self._at_now() as now:
            self.sim.switch_motor(on, now)

    def open_loop(self, duration_s: float) -> None:
        """The loop's cable breaks, and is whole again after so long."""
        with self._at_now() as now:
            self.sim.open_loop(now, duration_s)

    def unplug(self) -> None:
        """The adapter comes out: the driver's line hangs up, and what was on its way is lost."""
        self._port.unplug()

    def plug_in(self) -> None:
        """The adapter goes in again: a new pty under the same link. Raises as entering does."""
        self._port.plug_in()

    async def wait_until_idle(self) -> None:
        """Back when nothing waits at the wire, nothing more came since the last glance, and all of it is struck."""
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
        self._catch_up()  # it is at the far end when we are back

    async def _wait_for_keyboard(self) -> None:
        await self._clock.sleep_until(self.sim.keys_free_at)
        while self._clock.now() < self.sim.keys_free_at:  # somebody else was quicker
            await self._clock.sleep_until(self.sim.keys_free_at)

    # Time.

    async def _run(self) -> None:
        works = [
            asyncio.create_task(work) for work in (self._receive_bytes(), self._run_events(), self._send_in_pieces())
        ]
        try:
            await asyncio.wait([*works, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)
        for end in (*works, self._stopped):
            if end.done() and not end.cancelled():
                end.result()

    async def _receive_bytes(self) -> None:
        while True:
            # The moment of arrival is taken while the machine is still busy: a late wake-up then shifts nothing.
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

    def _read_line_bytes(self, most: int) -> bytes:
        """What the line makes of the bytes that are on it."""
        data = self._port.read(most)
        self.received_bytes += len(data)
        return b"".join(map(self._noise.distort, data))

    async def _apply_faults(self, before: int) -> None:
        """What happens to the line after so many bytes."""
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
        """Now, with all that is past done before, and all that is already due after."""
        now = self._clock.now()
        self._handle_events(now)
        yield now
        self._handle_events(now)
        self._changed.set()

    def _handle_events(self, now: float) -> None:
        for one in self.sim.advance(now):
            if isinstance(one, Strike):
                self._report_strike(one)
            elif isinstance(one, Break):
                self._send_to_host(encode_line_input(one, self._break_mode))
            else:
                for value in self._noise.distort(one.value):
                    self._send_to_host(encode_line_input(replace(one, value=value), self._break_mode))

    def _report_strike(self, strike: Strike) -> None:
        if self._stopped.done():
            return
        try:
            self._on_strike(strike)
        except Exception as error:  # it stops the machine, not the operator whose key brought us here
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
