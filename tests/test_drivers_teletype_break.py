import asyncio
import random

import pytest
from fakes_teletype import PROSE, TeletypeBench, on_jumping_loop

from drivers import errors, events
from drivers.teletype import BreakScope, Teletype


async def print_answer(bench: TeletypeBench, pause_s: float) -> None:
    await asyncio.sleep(pause_s)  # the first token takes its time
    for word in PROSE.split():
        await bench.tty.print(word + " ")
        await asyncio.sleep(pause_s / 7)
    await bench.tty.flush()


@pytest.mark.parametrize("seed", range(60))
@on_jumping_loop
async def test_after_a_break_at_any_moment_two_more_characters_are_struck_at_most(seed):
    rng = random.Random(seed)
    when, pause_s = rng.uniform(0, 20), rng.choice([0.0, 0.5, 3.0])
    bench = TeletypeBench()
    asyncio.get_running_loop().call_later(when, bench.line.press_break)
    async with bench.tty.until_break() as scope:
        await print_answer(bench, pause_s)
        pytest.fail("the answer ran to its end")
    assert scope.is_broken
    assert scope.route == "break"
    assert bench.clock.now() == pytest.approx(when)
    await asyncio.sleep(5)
    assert sum(strike.start > when for strike in bench.typing_unit.strikes) <= 2
    before = bench.typing_unit.column
    assert bench.tty.column == (before if bench.line.written else None)
    await bench.tty.fresh_line()
    await bench.tty.print("Again.\n")
    await bench.tty.finish()
    assert bench.typing_unit.paper.text().split("\n")[-2] == "AGAIN."
    bench.assert_clean()


@on_jumping_loop
async def test_a_break_reports_the_unprinted_characters():
    bench = TeletypeBench()
    await bench.tty.print("\n")
    asyncio.get_running_loop().call_later(0.7, bench.line.press_break)
    async with bench.tty.until_break():
        await bench.tty.print("abcdef ghijkl mno")
    (broke,) = bench.events_of(events.BreakPressed)
    struck = len(bench.typing_unit.strikes) - 2
    assert broke == events.BreakPressed(0.7, "break", 17 - struck)


@on_jumping_loop
async def test_a_break_pressed_before_the_scope_ends_it_at_once():
    bench = TeletypeBench()
    bench.line.press_break()
    async with bench.tty.until_break() as scope:
        await bench.tty.print("never ")
        await asyncio.sleep(10)
    assert scope.route == "break"
    assert bench.line.written == b""
    bench.line.press_keys("A\r")
    assert await bench.tty.read_line() == "A"


@on_jumping_loop
async def test_control_c_breaks_as_well_and_drops_what_was_typed_ahead():
    bench = TeletypeBench()
    asyncio.get_running_loop().call_later(1.0, bench.line.press_keys, "NO\r\x03YES\r")
    async with bench.tty.until_break() as scope:
        await bench.tty.print(PROSE)
    assert scope.route == "^C"
    await bench.tty.fresh_line()
    assert await bench.tty.read_line() == "YES"


@on_jumping_loop
async def test_a_scope_that_ends_by_itself_is_not_broken():
    bench = TeletypeBench()
    async with bench.tty.until_break() as scope:
        await bench.tty.print("short ")
    assert not scope.is_broken
    assert scope.route is None


@on_jumping_loop
async def test_shutdown_is_never_mistaken_for_a_break():
    bench = TeletypeBench()
    scopes: list[BreakScope] = []

    async def body() -> None:
        async with bench.tty.until_break() as scope:
            scopes.append(scope)
            await bench.tty.print(PROSE)

    task = asyncio.create_task(body())
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not scopes[0].is_broken
    assert bench.tty.column == bench.typing_unit.column
    struck = len(bench.typing_unit.strikes)
    await bench.tty.fresh_line()
    assert len(bench.typing_unit.strikes) == struck + 2  # CR LF: no output was left


@on_jumping_loop
async def test_a_shutdown_at_the_moment_of_a_break_is_still_a_shutdown():
    bench = TeletypeBench()

    async def body() -> None:
        async with bench.tty.until_break():
            await bench.tty.print(PROSE)

    task = asyncio.create_task(body())
    await asyncio.sleep(3)
    bench.line.press_break()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [TimeoutError, ValueError])
@on_jumping_loop
async def test_an_error_of_the_body_passes_through(error):
    bench = TeletypeBench()
    with pytest.raises(error):
        async with bench.tty.until_break():
            raise error


@on_jumping_loop
async def test_a_time_out_around_the_scope_is_not_swallowed():
    bench = TeletypeBench()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2), bench.tty.until_break():
            await bench.tty.print(PROSE)


@pytest.mark.parametrize("tenths", range(13))
@on_jumping_loop
async def test_after_a_break_between_cr_and_lf_nothing_is_overstruck(tenths):
    bench = TeletypeBench()
    asyncio.get_running_loop().call_later(0.05 + tenths / 10, bench.line.press_break)
    async with bench.tty.until_break() as scope:
        await bench.tty.fresh_line()
        await bench.tty.print("\nREADY\nTHERE ")
    assert scope.is_broken
    bench.line.press_keys("HELLO THERE\r")
    assert await bench.tty.read_line() == "HELLO THERE"
    bench.assert_clean()


ECHO = "^C\r\n"


@pytest.mark.parametrize("keys", ["A" * 3000 + "\x12", "A" * 3000])
@on_jumping_loop
async def test_a_break_stops_the_echo_of_a_long_line_too(keys):
    bench = TeletypeBench()
    tty = Teletype(bench.line, bench.clock, on_event=bench.events.append)
    reading = asyncio.create_task(tty.read_line())
    bench.line.press_keys(keys)
    await asyncio.sleep(310)  # during the echo of ^R or of keys typed ahead
    before = len(bench.line.written)
    bench.line.press_break()
    with pytest.raises(errors.Interrupted):
        await reading
    assert len(bench.line.written) - before <= 2 + len(ECHO)
    assert bytes(byte & 0x7F for byte in bench.line.written).endswith(ECHO.encode())
    assert tty.column == bench.typing_unit.column
    bench.assert_clean()


@on_jumping_loop
async def test_a_break_stops_a_prompt_and_reports_its_rest():
    bench = TeletypeBench()
    await bench.tty.fresh_line()
    asyncio.get_running_loop().call_later(1.05, bench.line.press_break)
    with pytest.raises(errors.Interrupted):
        await bench.tty.read_line("A prompt that says more than anyone wants to read. ")
    (broke,) = bench.events_of(events.BreakPressed)
    printed = bytes(byte & 0x7F for byte in bench.line.written).decode().removesuffix(ECHO)
    assert broke.unprinted == 51 - len(printed.removeprefix("\r\n"))
    assert broke.unprinted > 30
