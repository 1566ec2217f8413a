import time

from fakes_teletype import JumpingClock, run_jumping

from drivers.clock import WallClock


async def test_the_wall_clock_is_back_no_earlier_than_the_deadline():
    clock = WallClock()
    deadline = clock.now() + 0.02
    await clock.sleep_until(deadline)
    assert clock.now() >= deadline


async def test_a_deadline_in_the_past_is_no_wait():
    clock = WallClock()
    before = clock.now()
    await clock.sleep_until(float("-inf"))
    assert clock.now() - before < 10


def test_an_hour_on_the_jumping_clock_takes_no_time():
    async def hour() -> float:
        clock = JumpingClock()
        await clock.sleep_until(clock.now() + 3600.0)
        return clock.now()

    before = time.monotonic()
    assert run_jumping(hour()) == 3600.0
    assert time.monotonic() - before < 60
