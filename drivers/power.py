"""The motor's switch as the teletype works it: on before the first stroke, held off while it comes up, off at rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from drivers import events
from drivers.clock import Clock, Later
from drivers.errors import DriverError
from drivers.line import Line
from drivers.motor import motor_for
from drivers.pace import Pace
from drivers.profile import Profile


class Power:
    """Where nobody can switch it, the motor is on and its hours are those since the start."""

    def __init__(
        self, profile: Profile, line: Line, clock: Clock, pace: Pace, tap: Callable[[events.Event], None]
    ) -> None:
        self.is_on = profile.motor == "always"
        self._profile, self._clock, self._pace, self._tap = profile, clock, pace, tap
        self._ran_s = 0.0
        self._since = self._used_at = clock.now()
        self._turn = asyncio.Lock()  # two commands at once would leave nobody knows what
        self._rest = Later(clock, self._switch_off)
        self.attach(line)

    def attach(self, line: Line) -> None:
        """The switch at this line from now on, and it as it should be."""
        self._motor = motor_for(self._profile, line)
        if self._profile.motor != "rts":
            return
        line.set_rts(self.is_on)  # whoever opens a port raises RTS
        if self.is_on:
            self._spin_up()  # without a port the relay had fallen

    def ran_s(self, now: float) -> float:
        """How long the motor has run, since the start."""
        return self._ran_s + (now - self._since if self.is_on else 0.0)

    async def on(self) -> None:
        """Back at once if it is; else strokes are held off until it is up to speed. Raises MotorStuck."""
        self.used()
        async with self._turn:
            if self.is_on:
                return
            await self._motor.switch(True)
            self.is_on, self._since = True, self._clock.now()
            self._tap(events.MotorSwitched(self._since, True))
            self._spin_up()

    async def off(self) -> None:
        """Raises MotorStuck; the motor then runs on, and is counted as running."""
        if self._profile.motor == "always":
            return
        async with self._turn:
            if not self.is_on:
                return
            await self._clock.sleep_until(self._pace.free_at)
            await self._motor.switch(False)
            now = self._clock.now()
            ran_s, self.is_on = now - self._since, False
            self._ran_s += ran_s
            self._tap(events.MotorSwitched(now, False, ran_s))

    def used(self) -> None:
        """Something was struck, typed or read: it may rest so much later."""
        if self._profile.motor != "always":
            self._used_at = self._clock.now()
            self._rest.at(self._rests_at)

    async def close(self) -> None:
        await self._rest.close()

    @property
    def _rests_at(self) -> float:
        return max(self._used_at, self._pace.free_at) + self._profile.motor_idle_s

    def _spin_up(self) -> None:
        self._pace.hold_off(self._clock.now() + self._profile.spin_up_ms / 1000)

    async def _switch_off(self) -> None:
        if self._rests_at > self._clock.now():  # struck meanwhile, or the carriage was held off
            self._rest.at(self._rests_at)
            return
        with contextlib.suppress(DriverError):  # it runs on, which harms nobody
            await self.off()
