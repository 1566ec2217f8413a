"""A driver and a machine built from the same profile, on a real pty: all that either has is used once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from fakes import JumpingClock, run_jumping

from drivers.line.line import open_line
from drivers.profile import Duplex, Profile
from drivers.teletype import Teletype
from drivers.virtual import MECHANISMS, BreakMode, Equipment, VirtualTeletype

TEXT = "The quick brown fox jumps over the lazy dog, and the carriage flies home without any harm. "
FITTED = Equipment(
    profile=Profile(answerback=True, auto_reader=True, auto_punch=True),
    tape=b"\x00\x00\xc8\xc9\x8d\x0a\xff\xff",
    answerback_rows=b"\x8d\x0aHERE\x8d\x0a",
)


@dataclass
class Said:
    answer: bytes
    tape: bytes
    punched: bytes
    typed: str
    route: str | None


async def conversation(tty: Teletype, machine: VirtualTeletype, clock: JumpingClock) -> Said:
    await tty.print(TEXT)
    await tty.finish()
    answer, tape = await tty.answerback(), await tty.read_tape()
    await tty.punch(b"\x00\x00AB", text=False)
    await machine.wait_until_idle()
    reading = asyncio.create_task(tty.read_line("? "))
    await clock.sleep_until(clock.now() + 1.0)
    await machine.type("who\r")
    typed = await reading
    operator = asyncio.create_task(pressed_later(machine, clock))
    async with tty.until_break() as scope:
        await tty.print(TEXT)
    await operator
    await machine.wait_until_idle()
    return Said(answer, tape, bytes(machine.sim.punch.tape), typed, scope.route)


async def pressed_later(machine: VirtualTeletype, clock: JumpingClock) -> None:
    await clock.sleep_until(clock.now() + 1.03)
    await machine.press_break()


async def held(fitted: Equipment) -> tuple[Said, VirtualTeletype]:
    clock = JumpingClock()
    async with VirtualTeletype(clock, equipment=fitted) as machine:
        line = await open_line(machine.path, fitted.break_mode == "marked")
        said = await conversation(Teletype(line, clock, fitted.profile), machine, clock)
        await line.close()
        return said, machine


def machines() -> Iterator[tuple[Duplex, str, BreakMode, str]]:
    yield "full", "typical", "marked", "break"
    yield "full", "fast", "nul", "nul"
    yield "half", "typical", "marked", "break"
    yield "half", "gummy", "none", "echo"


@pytest.mark.parametrize(("duplex", "body", "mode", "route"), list(machines()))
def test_driver_and_machine_understand_each_other(duplex, body, mode, route):
    profile = replace(FITTED.profile, duplex=duplex)
    said, machine = run_jumping(
        held(replace(FITTED, profile=profile, mechanism=MECHANISMS[body], break_mode=mode)), 0.005
    )
    assert said == Said(FITTED.answerback_rows, FITTED.tape, b"\x00\x00AB\x14", "WHO", route)
    assert machine.typing_unit.faults == []
    assert machine.max_backlog <= 2
    lines = machine.typing_unit.paper.text().splitlines()
    assert " ".join(lines[1:3]).startswith(TEXT.strip().upper())
    assert lines[-2] == "? WHO"
    assert 5 <= len(lines[-1]) <= 14
