"""A driver and a virtual machine with the same profile on a real pty: each unit is used once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from fakes_teletype import JumpingClock, run_jumping

from drivers import tape_units
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
class Transcript:
    answer: bytes
    tape: bytes
    punched: bytes
    typed: str
    route: str | None


async def hold_conversation(tty: Teletype, machine: VirtualTeletype, clock: JumpingClock) -> Transcript:
    await tty.print(TEXT)
    await tty.finish()
    answer, tape = await tape_units.request_answerback(tty), await tape_units.read_tape(tty)
    await tape_units.punch_tape(tty, b"\x00\x00AB", text=False)
    await machine.wait_until_idle()
    reading = asyncio.create_task(tty.read_line("? "))
    await clock.sleep_until(clock.now() + 1.0)
    await machine.type("who\r")
    typed = await reading
    operator = asyncio.create_task(press_break_later(machine, clock))
    async with tty.until_break() as scope:
        await tty.print(TEXT)
    await operator
    await machine.wait_until_idle()
    return Transcript(answer, tape, bytes(machine.sim.punch.tape), typed, scope.route)


async def press_break_later(machine: VirtualTeletype, clock: JumpingClock) -> None:
    await clock.sleep_until(clock.now() + 1.03)
    await machine.press_break()


async def run_conversation(fitted: Equipment) -> tuple[Transcript, VirtualTeletype]:
    clock = JumpingClock()
    async with VirtualTeletype(clock, equipment=fitted) as machine:
        line = await open_line(machine.path, fitted.break_mode == "marked")
        transcript = await hold_conversation(Teletype(line, clock, fitted.profile), machine, clock)
        await line.close()
        return transcript, machine


def machines() -> Iterator[tuple[Duplex, str, BreakMode, str]]:
    yield "full", "typical", "marked", "break"
    yield "full", "fast", "nul", "nul"
    yield "half", "typical", "marked", "break"
    yield "half", "gummy", "none", "echo"


@pytest.mark.parametrize(("duplex", "mechanism", "mode", "route"), list(machines()))
def test_driver_and_machine_understand_each_other(duplex, mechanism, mode, route):
    profile = replace(FITTED.profile, duplex=duplex)
    transcript, machine = run_jumping(
        run_conversation(replace(FITTED, profile=profile, mechanism=MECHANISMS[mechanism], break_mode=mode)), 0.005
    )
    assert transcript == Transcript(FITTED.answerback_rows, FITTED.tape, b"\x00\x00AB\x14", "WHO", route)
    assert machine.typing_unit.driver_errors == []
    assert machine.max_backlog <= 2
    lines = machine.typing_unit.paper.text().splitlines()
    assert " ".join(lines[1:3]).startswith(TEXT.strip().upper())
    assert lines[-2] == "? WHO"
    assert 5 <= len(lines[-1]) <= 14
