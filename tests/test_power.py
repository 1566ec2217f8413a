import asyncio
import random

import pytest
from fakes import JumpingClock, TeletypeBench, TypingUnitLine, run_jumping

from drivers import events
from drivers.errors import MotorStuck
from drivers.output.motor_control import MotorController
from drivers.output.pacing import StrikeTiming
from drivers.profile import Profile

RTS = Profile(duplex="full", motor="rts", spin_up_ms=1500, motor_idle_s=60)


class Relay(TypingUnitLine):
    """A line that keeps what its RTS was set to, and had it raised by whoever opened it."""

    def __init__(self) -> None:
        super().__init__()
        self.rts = True
        self.switched: list[tuple[float, bool]] = []

    def set_rts(self, on: bool) -> None:
        super().set_rts(on)
        self.switched.append((asyncio.get_running_loop().time(), on))

    def reconnect(self) -> "Relay":
        return Relay()


class Bare:
    """A Power alone, and what its tap was told."""

    def __init__(self, profile: Profile = RTS) -> None:
        self.line = Relay()
        self.pace = StrikeTiming()
        self.told: list[events.MotorSwitched] = []
        self.power = MotorController(profile, self.line, JumpingClock(), self.pace, self.told.append)


def test_a_motor_at_rts_stands_until_something_is_struck_though_opening_the_port_raised_it():
    async def main() -> None:
        bench = TeletypeBench(profile=RTS, line=Relay())
        assert not bench.line.rts
        await asyncio.sleep(10.0)
        await bench.tty.print("A\n")
        assert bench.line.rts
        assert bench.typing_unit.strikes[0].start >= 11.5

    run_jumping(main())


def test_a_relay_follows_the_line_that_is_plugged_in_again():
    async def main() -> None:
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

    run_jumping(main())


def test_a_motor_that_stood_with_its_line_gone_is_given_time_to_come_up():
    async def main() -> None:
        bench = TeletypeBench(profile=RTS, line=Relay(), wait_for_line=True)
        await bench.tty.print("HELLO\n")
        bench.line.hang_up()
        await asyncio.sleep(5.0)
        back = bench.clock.now()
        new = bench.line.reconnect()
        bench.tty.attach(new)
        await bench.tty.finish()
        assert new.typing_unit.strikes[0].start >= back + 1.5

    run_jumping(main())


def test_a_motor_that_rested_when_its_line_went_rests_on_the_next():
    async def main() -> None:
        bare = Bare()
        await bare.power.switch_on()
        await bare.power.switch_off()
        new = Relay()
        bare.power.attach(new)
        assert not new.rts
        assert bare.pace.free_at < 10

    run_jumping(main())


@pytest.mark.parametrize("motor", ["always", "command"])
def test_a_motor_that_is_not_at_rts_leaves_that_line_alone(motor):
    async def main() -> None:
        bare = Bare(Profile(motor=motor, motor_on="true", motor_off="true"))
        bare.power.attach(bare.line)
        assert bare.line.switched == []

    run_jumping(main())


def test_no_motor_rests_in_the_middle_of_a_long_print():
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", motor="rts", spin_up_ms=1500, motor_idle_s=1))
        await bench.tty.print("HELLO\n")
        await bench.tty.print("HELLO " * 50 + "\n")
        assert [switched.on for switched in bench.events_of(events.MotorSwitched)] == [True]
        await bench.tty.finish()
        await asyncio.sleep(2.0)
        assert [switched.on for switched in bench.events_of(events.MotorSwitched)] == [True, False]

    run_jumping(main())


def test_a_motor_does_not_rest_while_keys_or_a_tape_come_in():
    async def main() -> None:
        bench = TeletypeBench(profile=RTS)
        await bench.tty.print("HELLO\n")
        with bench.tty.capture_input():
            for _ in range(40):
                await asyncio.sleep(5.0)
                bench.line.press_keys("A")
        assert bench.line.rts
        await asyncio.sleep(61.0)
        assert not bench.line.rts

    run_jumping(main())


def test_nothing_goes_to_a_motor_that_is_being_switched_off(tmp_path):
    async def main() -> None:
        bare = Bare(Profile(motor="command", motor_on="true", motor_off="sleep 0.1"))
        await bare.power.switch_on()
        going = asyncio.ensure_future(bare.power.switch_off())
        await asyncio.sleep(0)
        await bare.power.switch_on()
        assert going.done()
        assert [switched.on for switched in bare.told] == [True, False, True]
        await bare.power.close()

    asyncio.run(main())


@pytest.mark.parametrize("motor_on", ["true", "false"])
async def test_a_motor_asked_for_by_many_at_once_is_switched_once_by_each_that_must(motor_on):
    bare = Bare(Profile(motor="command", motor_on=motor_on, motor_off="true"))
    done = await asyncio.gather(*(bare.power.switch_on() for _ in range(5)), return_exceptions=True)
    stuck = [isinstance(one, MotorStuck) for one in done]
    assert stuck == [motor_on == "false"] * 5
    assert len(bare.told) == (motor_on == "true")
    await bare.power.close()


@pytest.mark.parametrize("seed", range(20))
def test_the_hours_are_those_between_on_and_off_whatever_happens(seed):
    async def main() -> None:
        dice, bare, clock = random.Random(seed), Bare(), JumpingClock()
        for _ in range(60):
            match dice.randrange(5):
                case 0:
                    await bare.power.switch_on()
                case 1:
                    await bare.power.switch_off()
                case 2:
                    bare.power.note_use()
                case 3:
                    bare.power.attach(Relay())
                case 4:
                    await asyncio.sleep(dice.random() * 100)
        await bare.power.switch_off()
        on = [switched.at for switched in bare.told if switched.on]
        off = [switched.at for switched in bare.told if not switched.on]
        assert bare.power.ran_s(clock.now()) == pytest.approx(sum(off) - sum(on))
        assert [switched.on for switched in bare.told] == [True, False] * len(off)
        await bare.power.close()

    run_jumping(main())
