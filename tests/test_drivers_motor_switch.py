import asyncio
import os
import shlex
import sys
import time

import pytest
from fakes_teletype import TypingUnitLine, raises_driver_error

from drivers.output.motor_switch import CommandMotorSwitch, NoMotorSwitch, RtsMotorSwitch, motor_switch_for
from drivers.profile import Profile


def python(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -S -c {shlex.quote(code)}"


def test_the_profile_names_the_switch():
    line = TypingUnitLine()
    assert isinstance(motor_switch_for(Profile(), line), NoMotorSwitch)
    assert isinstance(motor_switch_for(Profile(motor="rts"), line), RtsMotorSwitch)
    assert isinstance(motor_switch_for(Profile(motor="command", motor_on="a", motor_off="b"), line), CommandMotorSwitch)


async def test_a_relay_at_rts_follows_the_switch():
    line = TypingUnitLine()
    motor = motor_switch_for(Profile(motor="rts"), line)
    await motor.switch(True)
    assert line.rts
    await motor.switch(False)
    assert not line.rts


async def test_a_motor_without_a_switch_is_no_error():
    await NoMotorSwitch().switch(True)


async def test_each_of_the_two_commands_is_run_without_a_shell(tmp_path):
    note = tmp_path / "two words; $HOME"
    write = "import sys; open(sys.argv[2], 'a').write(sys.argv[1])"
    motor = CommandMotorSwitch(
        f"{python(write)} on {shlex.quote(str(note))}", f"{python(write)} off {shlex.quote(str(note))}"
    )
    await motor.switch(True)
    await motor.switch(False)
    assert note.read_text() == "onoff"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/no/such/plug on", "No such file"),
        ("", "it is empty"),
        ("plug 'on", "No closing quotation"),
        (python("raise SystemExit(3)"), "ended with 3"),
    ],
)
async def test_a_switch_that_does_not_work_is_named(command, reason):
    with raises_driver_error("failed", match=rf"^machine.motor_on = .*{reason}") as raised:
        await CommandMotorSwitch(command, "true").switch(True)
    assert "\n" not in str(raised.value)


async def test_a_hanging_command_is_killed_with_its_children(tmp_path):
    pid = tmp_path / "pid"
    script = tmp_path / "plug.sh"
    script.write_text(f"sleep 60 & echo $! > {shlex.quote(str(pid))}; wait\n")
    start = time.monotonic()
    with raises_driver_error("failed", match=r"did not end in 2 s"):
        await CommandMotorSwitch(f"sh {shlex.quote(str(script))}", "true", timeout_s=2.0).switch(True)
    assert time.monotonic() - start < 40
    assert await has_ended(int(pid.read_text()))


async def test_a_cancelled_switch_kills_its_command(tmp_path):
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.ensure_future(CommandMotorSwitch(python(code), "true").switch(True))
    while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await has_ended(int(pid.read_text()))


async def has_ended(pid: int) -> bool:
    """Whether a process ends within half a minute; a zombie has ended."""
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{pid}/stat") as stat:  # noqa: ASYNC230, PTH123
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                return True
        await asyncio.sleep(0.01)
    return False
