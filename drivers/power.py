"""The motor's switch as the teletype works it: on before the first stroke, held off while it comes up, off at rest."""

from __future__ import annotations

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
        self._motor = motor_for(profile, line)
        self._ran_s = 0.0
        self._since = clock.now()
        self._rest = Later(clock, self._switch_off)

    def ran_s(self, now: float) -> float:
        """How long the motor has run, since the start."""
        return self._ran_s + (now - self._since if self.is_on else 0.0)

    async def on(self) -> None:
        """Back at once if it is; else strokes are held off until it is up to speed. Raises MotorStuck."""
        if self.is_on:
            return
        await self._motor.switch(True)
        self.is_on, self._since = True, self._clock.now()
        self._tap(events.MotorSwitched(self._since, True))
        self._pace.hold_off(self._since + self._profile.spin_up_ms / 1000)

    async def off(self) -> None:
        """Raises MotorStuck; the motor then runs on, and is counted as running."""
        if not self.is_on or self._profile.motor == "always":
            return
        await self._motor.switch(False)
        now = self._clock.now()
        ran_s, self.is_on = now - self._since, False
        self._ran_s += ran_s
        self._tap(events.MotorSwitched(now, False, ran_s))

    def used(self) -> None:
        """Something was struck or typed: it may rest so much later."""
        if self._profile.motor != "always":
            self._rest.at(max(self._clock.now(), self._pace.free_at) + self._profile.motor_idle_s)

    async def close(self) -> None:
        await self._rest.close()

    async def _switch_off(self) -> None:
        with contextlib.suppress(DriverError):  # it runs on, which harms nobody
            await self.off()
