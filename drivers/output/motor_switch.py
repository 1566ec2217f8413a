"""The switch of the motor: none, a relay at the RTS line, or two commands of the owner.

Reports a switch that fails. Knows no spin-up and no running hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import Protocol

from drivers.errors import DriverError
from drivers.line.line import Line
from drivers.profile import Profile

_TIMEOUT_S = 10.0  # for a command; a radio-controlled plug takes two or three seconds


class MotorSwitch(Protocol):
    async def switch(self, on: bool) -> None:
        """Switches the motor; it then still needs its spin-up. Raises DriverError."""
        ...


class NoMotorSwitch:
    """The operator switches the motor by hand."""

    async def switch(self, on: bool) -> None:
        pass


class RtsMotorSwitch:
    """A relay at the RTS line of the adapter."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def switch(self, on: bool) -> None:
        self._line.set_rts(on)


class CommandMotorSwitch:
    """Two commands, split as a shell splits them, but run without a shell."""

    def __init__(self, on: str, off: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._on = on
        self._off = off
        self._timeout_s = timeout_s

    async def switch(self, on: bool) -> None:
        command = self._on if on else self._off
        setting = f"machine.motor_{'on' if on else 'off'} = {command!r}"
        try:
            code = await self._run(command)
        except TimeoutError:
            raise DriverError(f"{setting} did not end in {self._timeout_s:g} s: try it in a shell", "failed") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DriverError(
                f"{setting} cannot be run ({reason}): give a command and its arguments", "failed"
            ) from None
        if code:
            raise DriverError(f"{setting} ended with {code}: try it in a shell", "failed")

    async def _run(self, command: str) -> int:
        words = shlex.split(command)
        if not words:
            raise ValueError("it is empty")
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *words, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the command's own children too
            await process.wait()
            raise


def motor_switch_for(profile: Profile, line: Line) -> MotorSwitch:
    """Returns the switch that the profile asks for."""
    if profile.motor == "rts":
        return RtsMotorSwitch(line)
    if profile.motor == "command":
        return CommandMotorSwitch(profile.motor_on, profile.motor_off)
    return NoMotorSwitch()
