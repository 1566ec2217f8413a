"""The motor controller: on before the first stroke, a pause while it spins up, off when idle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from drivers import events
from drivers.clock import Clock, Timer
from drivers.errors import DriverError
from drivers.line.line import Line
from drivers.output.motor_switch import motor_switch_for
from drivers.output.pacing import StrikeTiming
from drivers.profile import Profile


class MotorController:
    """Switches the motor. Without a switch the motor counts as running since the start."""

    def __init__(
        self, profile: Profile, line: Line, clock: Clock, timing: StrikeTiming, on_event: Callable[[events.Event], None]
    ) -> None:
        self.is_on = profile.motor == "always"
        self._profile, self._clock, self._timing, self._on_event = profile, clock, timing, on_event
        self._ran_s = 0.0
        self._on_since = self._last_used_at = clock.now()
        self._lock = asyncio.Lock()  # two commands at once would leave the motor in an unknown state
        self._idle_timer = Timer(clock, self._switch_off_when_idle)
        self.attach(line)

    def attach(self, line: Line) -> None:
        """Uses the switch of this line from now on, and sets it to the motor's state."""
        self._switch = motor_switch_for(self._profile, line)
        if self._profile.motor != "rts":
            return
        line.set_rts(self.is_on)  # opening a port raises RTS
        if self.is_on:
            self._spin_up()  # without a port the relay had dropped

    def ran_s(self, now: float) -> float:
        """Returns the seconds that the motor has run since the start."""
        return self._ran_s + (now - self._on_since if self.is_on else 0.0)

    async def switch_on(self) -> None:
        """Switches the motor on and delays strokes until it has spun up. Raises DriverError."""
        self.note_use()
        async with self._lock:
            if self.is_on:
                return
            await self._switch.switch(True)
            self.is_on, self._on_since = True, self._clock.now()
            self._on_event(events.MotorSwitched(self._on_since, True))
            self._spin_up()

    async def switch_off(self) -> None:
        """Switches the motor off after the last stroke. Raises DriverError; the motor then counts as running."""
        if self._profile.motor == "always":
            return
        async with self._lock:
            if not self.is_on:
                return
            await self._clock.sleep_until(self._timing.free_at)
            await self._switch.switch(False)
            now = self._clock.now()
            ran_s, self.is_on = now - self._on_since, False
            self._ran_s += ran_s
            self._on_event(events.MotorSwitched(now, False, ran_s))

    def note_use(self) -> None:
        """Restarts the idle time: a byte was written or received."""
        if self._profile.motor != "always":
            self._last_used_at = self._clock.now()
            self._idle_timer.schedule(self._idle_deadline)

    async def close(self) -> None:
        await self._idle_timer.close()

    @property
    def _idle_deadline(self) -> float:
        return max(self._last_used_at, self._timing.free_at) + self._profile.motor_idle_s

    def _spin_up(self) -> None:
        self._timing.hold_off(self._clock.now() + self._profile.spin_up_ms / 1000)

    async def _switch_off_when_idle(self) -> None:
        if self._idle_deadline > self._clock.now():  # a byte was struck meanwhile, or the motor was spinning up
            self._idle_timer.schedule(self._idle_deadline)
            return
        with contextlib.suppress(DriverError):  # the motor keeps running, which does no harm
            await self.switch_off()
