"""The switch of the motor: none, the RTS line with a relay at it, or two commands of the owner's.

Switches, and says so if it cannot. Knows no machine, no spin-up and no hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import Protocol

from drivers.errors import MotorStuck
from drivers.line.line import Line
from drivers.profile import Profile

_TIMEOUT_S = 10.0  # for a command: a plug with a radio in it takes two or three


class MotorSwitch(Protocol):
    async def switch(self, on: bool) -> None:
        """Back when it is done; the motor then still needs its spin-up. Raises MotorStuck."""
        ...


class NoMotorSwitch:
    """Somebody has switched it on by hand."""

    async def switch(self, on: bool) -> None:
        pass


class RtsMotorSwitch:
    """A relay at the RTS line of the adapter."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def switch(self, on: bool) -> None:
        self._line.set_rts(on)


class CommandMotorSwitch:
    """Two commands, split as a shell splits them, but run without one."""

    def __init__(self, on: str, off: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._on = on
        self._off = off
        self._timeout_s = timeout_s

    async def switch(self, on: bool) -> None:
        command = self._on if on else self._off
        name = f"machine.motor_{'on' if on else 'off'} = {command!r}"
        try:
            code = await self._run(command)
        except TimeoutError:
            raise MotorStuck(f"{name} did not end in {self._timeout_s:g} s: try it in a shell") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise MotorStuck(f"{name} cannot be run ({reason}): give a command and its arguments") from None
        if code:
            raise MotorStuck(f"{name} ended with {code}: try it in a shell")

    async def _run(self, command: str) -> int:
        words = shlex.split(command)
        if not words:
            raise ValueError("it is empty")
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *words, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started too
            await process.wait()
            raise


def motor_switch_for(profile: Profile, line: Line) -> MotorSwitch:
    """The switch that a machine has."""
    if profile.motor == "rts":
        return RtsMotorSwitch(line)
    if profile.motor == "command":
        return CommandMotorSwitch(profile.motor_on, profile.motor_off)
    return NoMotorSwitch()
