import asyncio
import random

import pytest
from fakes_teletype import JumpingClock, TeletypeBench, TypingUnitLine, on_jumping_loop

from drivers import events
from drivers.errors import DriverError
from drivers.output.motor_control import MotorController
from drivers.output.pacing import StrikeTiming
from drivers.profile import Profile

RTS = Profile(duplex="full", motor="rts", spin_up_ms=1500, motor_idle_s=60)


class Relay(TypingUnitLine):
    """A line that records its RTS, which opening the port has raised."""

    def __init__(self) -> None:
        super().__init__()
        self.rts = True
        self.switched: list[tuple[float, bool]] = []

    def set_rts(self, on: bool) -> None:
        super().set_rts(on)
        self.switched.append((asyncio.get_running_loop().time(), on))

    def reconnect(self) -> "Relay":
        return Relay()


class BareMotor:
    """A MotorController alone, with its events."""

    def __init__(self, profile: Profile = RTS) -> None:
        self.line = Relay()
        self.timing = StrikeTiming()
        self.events: list[events.MotorSwitched] = []
        self.motor = MotorController(profile, self.line, JumpingClock(), self.timing, self.events.append)


@on_jumping_loop
async def test_an_rts_motor_stays_off_until_the_first_stroke():
    bench = TeletypeBench(profile=RTS, line=Relay())
    assert not bench.line.rts
    await asyncio.sleep(10.0)
    await bench.tty.print("A\n")
    assert bench.line.rts
    assert bench.typing_unit.strikes[0].start >= 11.5


@on_jumping_loop
async def test_a_relay_follows_the_line_that_is_plugged_in_again():
    bench = TeletypeBench(profile=RTS, line=Relay(), wait_for_line=True)
    await bench.tty.print("HELLO\n")
    old = bench.line
    old.hang_up()
    new = old.reconnect()
    bench.tty.attach(new)
    assert new.rts
    before = len(old.switched)
    await asyncio.sleep(100.0)
    assert not new.rts
    assert not bench.tty.status().motor_on
    await bench.tty.print("AGAIN\n")
    assert new.rts
    assert len(old.switched) == before


@on_jumping_loop
async def test_after_a_reconnection_the_motor_gets_its_spin_up_time():
    bench = TeletypeBench(profile=RTS, line=Relay(), wait_for_line=True)
    await bench.tty.print("HELLO\n")
    bench.line.hang_up()
    await asyncio.sleep(5.0)
    back = bench.clock.now()
    new = bench.line.reconnect()
    bench.tty.attach(new)
    await bench.tty.finish()
    assert new.typing_unit.strikes[0].start >= back + 1.5


@on_jumping_loop
async def test_a_motor_off_before_a_reconnection_stays_off():
    bare = BareMotor()
    await bare.motor.switch_on()
    await bare.motor.switch_off()
    new = Relay()
    bare.motor.attach(new)
    assert not new.rts
    assert bare.timing.free_at < 10


@pytest.mark.parametrize("motor", ["always", "command"])
@on_jumping_loop
async def test_without_an_rts_motor_the_rts_line_is_not_changed(motor):
    bare = BareMotor(Profile(motor=motor, motor_on="true", motor_off="true"))
    bare.motor.attach(bare.line)
    assert bare.line.switched == []


@on_jumping_loop
async def test_the_motor_stays_on_during_a_long_print():
    bench = TeletypeBench(profile=Profile(duplex="full", motor="rts", spin_up_ms=1500, motor_idle_s=1))
    await bench.tty.print("HELLO\n")
    await bench.tty.print("HELLO " * 50 + "\n")
    assert [switched.on for switched in bench.events_of(events.MotorSwitched)] == [True]
    await bench.tty.finish()
    await asyncio.sleep(2.0)
    assert [switched.on for switched in bench.events_of(events.MotorSwitched)] == [True, False]


@on_jumping_loop
async def test_the_motor_stays_on_while_input_arrives():
    bench = TeletypeBench(profile=RTS)
    await bench.tty.print("HELLO\n")
    with bench.tty.capture_input():
        for _ in range(40):
            await asyncio.sleep(5.0)
            bench.line.press_keys("A")
    assert bench.line.rts
    await asyncio.sleep(61.0)
    assert not bench.line.rts


async def test_no_byte_is_sent_while_the_motor_is_switched_off():
    bare = BareMotor(Profile(motor="command", motor_on="true", motor_off="sleep 0.1"))
    await bare.motor.switch_on()
    switching_off = asyncio.ensure_future(bare.motor.switch_off())
    await asyncio.sleep(0)
    await bare.motor.switch_on()
    assert switching_off.done()
    assert [switched.on for switched in bare.events] == [True, False, True]
    await bare.motor.close()


@pytest.mark.parametrize("motor_on", ["true", "false"])
async def test_concurrent_calls_switch_the_motor_once(motor_on):
    bare = BareMotor(Profile(motor="command", motor_on=motor_on, motor_off="true"))
    results = await asyncio.gather(*(bare.motor.switch_on() for _ in range(5)), return_exceptions=True)
    stuck = [isinstance(result, DriverError) and result.kind == "failed" for result in results]
    assert stuck == [motor_on == "false"] * 5
    assert len(bare.events) == (motor_on == "true")
    await bare.motor.close()


@pytest.mark.parametrize("seed", range(20))
@on_jumping_loop
async def test_the_running_time_is_the_time_between_on_and_off(seed):
    rng, bare, clock = random.Random(seed), BareMotor(), JumpingClock()
    for _ in range(60):
        match rng.randrange(5):
            case 0:
                await bare.motor.switch_on()
            case 1:
                await bare.motor.switch_off()
            case 2:
                bare.motor.note_use()
            case 3:
                bare.motor.attach(Relay())
            case 4:
                await asyncio.sleep(rng.random() * 100)
    await bare.motor.switch_off()
    on = [switched.at for switched in bare.events if switched.on]
    off = [switched.at for switched in bare.events if not switched.on]
    assert bare.motor.ran_s(clock.now()) == pytest.approx(sum(off) - sum(on))
    assert [switched.on for switched in bare.events] == [True, False] * len(off)
    await bare.motor.close()
