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
from drivers.virtual.adapter import wire_bytes
from drivers.virtual.faults import Chance, Faults, Noise
from drivers.virtual.fitted import Fitted
from drivers.virtual.machine import Machine, Strike
from drivers.virtual.port import Port
from drivers.virtual.pty_port import PtyPort
from drivers.virtual.station import Station, Switch

_GLANCE_S = 0.01  # how often to look whether the wire is empty; the kernel carries a byte over in far less
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
        fitted: Fitted = Fitted(),  # noqa: B008 - frozen
        faults: Faults = Faults(),  # noqa: B008 - frozen
        chance: Chance | None = None,
        port: Port | None = None,
    ) -> None:
        """`character_s` 0: as fast as it comes. `on_strike` is told each byte as the mechanism takes it.

        `columns` goes before the profile's; `chance` is what the faults fall by, the same each time if not given;
        `port` a line that is no pty.
        """
        if columns is not None:
            fitted = replace(fitted, profile=replace(fitted.profile, columns=columns))
        chance = chance or Random(33)
        self.station = Station(fitted, chance=chance, character_s=character_s, fast_by=max(0.0, -faults.skew))
        self.backlog = 0  # the most bytes that ever lay at the wire, the one about to be struck among them
        self.overrun = 0  # bytes sent that the far end had no room for
        self.taken = 0  # bytes that came over the wire
        self._clock = clock
        self._port = port or PtyPort(clock, link)
        self._character_s = character_s
        self._faults = faults
        self._noise = Noise(faults, chance)
        self._on_strike = on_strike or (lambda strike: None)
        self._break_mode = fitted.break_mode
        self._changed = asyncio.Event()
        self._free_at = float("-inf")
        self._outgoing = asyncio.Queue[bytes]()
        self._again: list[int] = []  # what the line has doubled

    @property
    def machine(self) -> Machine:
        """The typing unit."""
        return self.station.unit

    @property
    def path(self) -> str:
        return self._port.path

    @property
    def plugged(self) -> bool:
        return self._port.plugged

    async def __aenter__(self) -> Self:
        self._port.plug_in()
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._faults.cold:
            self.switch_motor(False)
            self.switch_motor(True)
        self._motor = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._motor.cancel()
        await asyncio.wait([self._motor])
        self._port.unplug()
        stopped = self._stopped.exception() if self._stopped.done() else None
        if not self._motor.cancelled():
            stopped = stopped or self._motor.exception()
        if stopped and error is None:
            raise stopped

    async def running(self) -> None:
        """Never back; raises what stopped the machine, which is what `on_strike` raised. Whoever waits watches this."""
        await asyncio.wait([self._motor])
        self._motor.result()

    # The operator.

    async def type(self, text: str) -> None:
        """Each character as a key, no faster than the machine can: `\\r` is RETURN, `\\n` LINE FEED, `\\x7f` RUBOUT.

        A small letter is its key. Back when the last one is sent. Raises NoSuchKey, before anything is typed.
        """
        for code in [self.station.keytops.code(key) for key in text]:
            await self._press(code)

    async def chord(self, keytop: str, *, shift: bool = False, ctrl: bool = False, times: int = 1) -> None:
        """One keytop with SHIFT and CTRL; with REPT held for so many `times`. Raises NoSuchKey if it locks."""
        code = self.station.keytops.chord(keytop, shift=shift, ctrl=ctrl)
        for _ in range(times):
            await self._press(code)

    async def press_break(self, lasting_s: float | None = None) -> None:
        """The BREAK key, held for a quarter of a second if nothing is said; back when it is let go."""
        await self._keys_free()
        with self._moment() as now:
            until = self.station.hold_break(now, lasting_s)
        await self._clock.sleep_until(until)

    def here_is(self) -> None:
        """The HERE IS key."""
        with self._moment() as now:
            self.station.here_is(now)

    def start_reader(self) -> None:
        """The reader's lever to START."""
        with self._moment() as now:
            self.station.start_reader(now)

    def turn_switch(self, to: Switch) -> None:
        """LINE, LOCAL or OFF."""
        with self._moment():
            self.station.turn_switch(to)

    def switch_motor(self, on: bool) -> None:
        """The motor; a pty has no RTS line that could."""
        with self._moment() as now:
            self.station.switch_motor(on, now)

    def open_loop(self, lasting_s: float) -> None:
        """The loop's cable breaks, and is whole again after so long."""
        with self._moment() as now:
            self.station.open_loop(now, lasting_s)

    def unplug(self) -> None:
        """The adapter comes out: the driver's line hangs up, and what was on its way is lost."""
        self._port.unplug()

    def plug_in(self) -> None:
        """The adapter goes in again: a new pty under the same link. Raises as entering does."""
        self._port.plug_in()

    async def idle(self) -> None:
        """Back when nothing waits at the wire, nothing more came since the last glance, and all of it is struck."""
        before = -1
        while before != self.taken or self._port.waiting or self._again or self.station.hearing:
            before = self.taken
            await self._clock.sleep_until(max(self._free_at, self._clock.now() + _GLANCE_S))

    async def _press(self, code: int) -> None:
        await self._keys_free()
        with self._moment() as now:
            sent_at = self.station.press(code, now)
        if sent_at > self._clock.now():
            await self._clock.sleep_until(sent_at)
        self._catch_up()  # it is at the far end when we are back

    async def _keys_free(self) -> None:
        await self._clock.sleep_until(self.station.keys_free_at)
        while self._clock.now() < self.station.keys_free_at:  # somebody else was quicker
            await self._clock.sleep_until(self.station.keys_free_at)

    # Time.

    async def _run(self) -> None:
        works = [asyncio.create_task(work) for work in (self._take(), self._live(), self._deliver())]
        try:
            await asyncio.wait([*works, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.wait(works)
        for end in (*works, self._stopped):
            if end.done() and not end.cancelled():
                end.result()

    async def _take(self) -> None:
        while True:
            # The moment of arrival is taken while the machine is still busy: a late wake-up then shifts nothing.
            arrived = self._clock.now() if self._again else await self._port.arrival()
            start = max(arrived, self._free_at)
            await self._clock.sleep_until(start)
            self.backlog = max(self.backlog, self._port.waiting)
            before = self.taken
            data = bytes(self._again) or self._wire(1 if self._character_s else 4096)
            self._again = list(data[1:]) if self._character_s else []
            with self._moment():
                for byte in data[:1] if self._character_s else data:
                    self.station.hear(byte, start)
            self._free_at = start + self._character_s * (1.0 + self._faults.skew)
            await self._mishap(before)

    def _wire(self, most: int) -> bytes:
        """What the line makes of the bytes that are on it."""
        data = self._port.read(most)
        self.taken += len(data)
        return b"".join(map(self._noise.through, data))

    async def _mishap(self, before: int) -> None:
        """What happens to the line after so many bytes."""
        if before < self._faults.open_after <= self.taken:
            self.open_loop(_OPEN_S)
        if before < self._faults.unplug_after <= self.taken:
            self.unplug()
            await self._clock.sleep_until(self._clock.now() + _UNPLUGGED_S)
            self.plug_in()

    async def _live(self) -> None:
        while True:
            self._changed.clear()
            wakes: list[asyncio.Task[object]] = [asyncio.create_task(self._changed.wait())]
            if (due := self.station.due) is not None:
                wakes.append(asyncio.ensure_future(self._clock.sleep_until(due)))
            try:
                await asyncio.wait(wakes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wake in wakes:
                    wake.cancel()
            self._catch_up()

    def _catch_up(self) -> None:
        with self._moment():
            pass

    @contextmanager
    def _moment(self) -> Iterator[float]:
        """Now, with all that is past done before, and all that is already due after."""
        now = self._clock.now()
        self._happen(now)
        yield now
        self._happen(now)
        self._changed.set()

    def _happen(self, now: float) -> None:
        for one in self.station.advance(now):
            if isinstance(one, Strike):
                self._show(one)
            elif isinstance(one, Break):
                self._put(wire_bytes(one, self._break_mode))
            else:
                for value in self._noise.through(one.value):
                    self._put(wire_bytes(replace(one, value=value), self._break_mode))

    def _show(self, strike: Strike) -> None:
        if self._stopped.done():
            return
        try:
            self._on_strike(strike)
        except Exception as error:  # it stops the machine, not the operator whose key brought us here
            self._stopped.set_exception(error)

    def _put(self, data: bytes) -> None:
        if self._faults.split:
            self._outgoing.put_nowait(data)
        else:
            self.overrun += self._port.write(data)

    async def _deliver(self) -> None:
        while True:
            for piece in self._noise.pieces(await self._outgoing.get()):
                self.overrun += self._port.write(piece)
                await self._clock.sleep_until(self._clock.now() + _PIECE_S)
