"""Events at a bad moment: a hang-up during a reprint, ^S before a tape, a cancelled line, a motor at rest."""

import asyncio
import gc

import pytest
from fakes_teletype import (
    PROSE,
    JumpingClock,
    SimLine,
    TeletypeBench,
    TypingUnitLine,
    on_jumping_loop,
    overstruck_cells,
    raises_driver_error,
)

from drivers import events, tape_units
from drivers.clock import Timer
from drivers.errors import LineLost, TapeDamaged
from drivers.line.line_input import Byte
from drivers.output.transmitter import PAUSE_TIMEOUT_S
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import GUMMY, Equipment, TypingUnit

FULL = Profile(duplex="full")
HALF = Profile(duplex="half")


def local_key(line: TypingUnitLine, key: str) -> None:
    """Receives a key that the machine has printed by itself."""
    line.typing_unit.receive(ord(key), asyncio.get_running_loop().time() - 0.1, local=True)
    line.receive(Byte(even_parity(ord(key))))


# Hang-ups.


@on_jumping_loop
async def test_a_line_that_hangs_up_again_while_it_is_struck_again_comes_back_all_the_same():
    bench = TeletypeBench(wait_for_line=True)
    reading = asyncio.ensure_future(bench.tty.read_line("> "))
    await asyncio.sleep(1.0)
    bench.line.press_keys("HELLO WORLD THIS IS A LONG LINE")
    await asyncio.sleep(5.0)
    for pause_s in (1.0, 2.0, 1.0):
        bench.line.hang_up()
        await asyncio.wait_for(bench.tty.wait_for_hang_up(), 1.0)
        await asyncio.sleep(pause_s)
        bench.reconnect()
        await asyncio.sleep(0.7)
    bench.line.press_keys("\r")
    assert await reading == "HELLO WORLD THIS IS A LONG LINE"
    assert bench.tty.status().counters.hang_ups == 3
    bench.assert_clean()


@on_jumping_loop
async def test_the_travel_of_a_local_return_is_waited_for_again():
    line = TypingUnitLine(TypingUnit(mechanism=GUMMY), half_duplex=True)
    bench = TeletypeBench(profile=HALF, line=line, wait_for_line=True)
    reading = asyncio.ensure_future(bench.tty.read_line("> "))
    await asyncio.sleep(1.0)
    for key in "HELLO WORLD " * 4 + "\r":
        await asyncio.sleep(0.1)
        local_key(line, key)
    await reading
    printing = asyncio.ensure_future(bench.tty.print("THE ANSWER\n"))
    await asyncio.sleep(0.02)
    line.hang_up()
    bench.reconnect()
    await printing
    await bench.tty.finish()
    assert bench.typing_unit.driver_errors == []
    assert bench.typing_unit.paper.text().count("> HELLO WORLD") == 2


@on_jumping_loop
async def test_rows_that_were_punched_are_not_struck_again():
    bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True), wait_for_line=True)
    await tape_units.punch_tape(bench.tty, bytes(range(0x21, 0x5F)), text=False)
    bench.line.hang_up()
    before = bench.typing_unit.strike_count
    bench.reconnect()
    await bench.tty.finish()
    assert bench.typing_unit.strike_count - before == 2  # CR LF


@on_jumping_loop
async def test_a_break_during_a_reprint_leaves_no_pile_up():
    bench = TeletypeBench(profile=FULL, line=TypingUnitLine(TypingUnit(mechanism=GUMMY)), wait_for_line=True)
    asyncio.get_running_loop().call_later(5.0, bench.line.press_keys, "\x13")

    async def broken() -> None:
        async with bench.tty.until_break():
            await bench.tty.print("X" * 68 + " AND MORE WORDS TO COME")

    printing = asyncio.ensure_future(broken())
    await asyncio.sleep(6.0)
    bench.line.hang_up()
    bench.reconnect()
    await asyncio.sleep(1.0)
    bench.line.press_break()
    await printing
    await bench.tty.fresh_line()
    await bench.tty.print("THE NEXT LINE\n")
    await bench.tty.finish()
    bench.assert_clean()


@pytest.mark.parametrize("tenths", range(0, 20, 2))
@on_jumping_loop
async def test_a_print_cancelled_during_a_reprint_leaves_no_pile_up(tenths):
    bench = TeletypeBench(wait_for_line=True)
    await bench.tty.print("SHORT\n")
    printing = asyncio.ensure_future(bench.tty.print("X" * 70 + " MORE\n"))
    await asyncio.sleep(5.0)
    bench.line.hang_up()
    bench.reconnect()
    await asyncio.sleep(tenths / 10)
    printing.cancel()
    await asyncio.wait({printing})
    await bench.tty.print("THIS IS THE NEXT THING PRINTED\n")
    await bench.tty.finish()
    bench.assert_clean()
    assert "THIS IS THE NEXT THING PRINTED\n" in bench.typing_unit.paper.text()


@on_jumping_loop
async def test_concurrent_print_and_flush_both_raise_line_lost():
    bench = TeletypeBench()
    await bench.tty.print("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    await asyncio.sleep(2.5)
    printing = asyncio.ensure_future(bench.tty.print(" AND THE REST OF THE LINE\n"))
    await asyncio.sleep(0.5)
    bench.line.hang_up()
    with pytest.raises(LineLost):
        await printing


@on_jumping_loop
async def test_a_hang_up_that_a_write_finds_is_counted():
    bench = TeletypeBench(wait_for_line=True)
    bench.line.lost = True
    printing = asyncio.ensure_future(bench.tty.print("B\n"))
    await asyncio.sleep(1.0)
    assert bench.tty.status().counters.hang_ups == 1
    printing.cancel()
    await asyncio.wait({printing})


@on_jumping_loop
async def test_a_tape_read_during_a_hang_up_is_damaged():
    bench = TeletypeBench(profile=Profile(duplex="full", auto_reader=True), wait_for_line=True)
    reading = asyncio.ensure_future(tape_units.read_tape(bench.tty))
    for _ in range(30):
        await asyncio.sleep(0.1)
        bench.line.receive(Byte(even_parity(65)))
    bench.line.hang_up()
    with pytest.raises(TapeDamaged, match="hung up"):
        await reading


@on_jumping_loop
async def test_a_paused_print_raises_line_lost_at_once():
    bench = TeletypeBench()
    printing = asyncio.ensure_future(bench.tty.print(PROSE))
    await asyncio.sleep(2.0)
    bench.line.press_keys("\x13")
    await asyncio.sleep(1.0)
    bench.line.hang_up()
    with pytest.raises(LineLost):
        await asyncio.wait_for(printing, 1.0)


# ^S at a bad moment.


@on_jumping_loop
async def test_a_failed_background_bell_raises_nowhere():
    bench = TeletypeBench()
    bench.line.press_keys("\x13")
    await asyncio.sleep(1.0)
    bench.line.hang_up()
    await asyncio.sleep(PAUSE_TIMEOUT_S + 5.0)
    gc.collect()  # a task whose exception was not retrieved complains here, and warnings are errors
    await asyncio.sleep(0.0)


@on_jumping_loop
async def test_the_key_that_ends_a_pause_is_no_tape_row():
    bench = TeletypeBench(profile=Profile(duplex="full", answerback=True))
    await bench.tty.print("\n")
    bench.line.press_keys("\x13")
    asking = asyncio.ensure_future(tape_units.request_answerback(bench.tty))
    await asyncio.sleep(1.0)
    bench.line.press_keys("\x11")
    assert await asyncio.wait_for(asking, 10.0) == b""


@on_jumping_loop
async def test_a_local_key_in_a_paused_line_begins_a_new_line():
    line = TypingUnitLine(TypingUnit(), half_duplex=True)
    bench = TeletypeBench(profile=HALF, line=line)
    printing = asyncio.ensure_future(bench.tty.print("X" * 72 + "\nNEXT\n"))
    await asyncio.sleep(3.0)
    line.press_keys("\x13")
    await asyncio.sleep(2.0)
    local_key(line, "K")
    await printing
    await bench.tty.finish()
    assert line.typing_unit.driver_errors == []
    assert overstruck_cells(line.typing_unit.paper) == []
    assert line.typing_unit.paper.text().split() == ["X" * 28 + "K", "X" * 44, "NEXT"]


# Cancelled reads.


@on_jumping_loop
async def test_a_line_restored_twice_is_complete():
    bench = TeletypeBench()
    for typed, wait_s in (("HELLO WORLD", 2.0), ("", 0.5)):
        reading = asyncio.ensure_future(bench.tty.read_line("> "))
        await asyncio.sleep(1.0 if typed else 0.0)
        bench.line.press_keys(typed)
        await asyncio.sleep(wait_s)
        reading.cancel()
        await asyncio.wait({reading})
    bench.line.press_keys("\r")
    assert await bench.tty.read_line("> ") == "HELLO WORLD"


@on_jumping_loop
async def test_a_return_with_a_cancelled_echo_is_not_lost():
    bench = TeletypeBench()
    reading = asyncio.ensure_future(bench.tty.read_line("> "))
    await asyncio.sleep(1.0)
    bench.line.press_keys("HELLO")
    await asyncio.sleep(2.0)
    bench.line.press_keys("\r")
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.0)
    reading.cancel()
    await asyncio.wait({reading})
    assert await asyncio.wait_for(bench.tty.read_line("> "), 10.0) == "HELLO"


@on_jumping_loop
async def test_text_dropped_by_a_break_is_not_restored():
    bench = TeletypeBench()
    loop = asyncio.get_running_loop()
    async with bench.tty.until_break() as scope:
        loop.call_later(1.0, bench.line.press_keys, "GARBAGE")
        loop.call_later(3.0, bench.line.press_break)
        await bench.tty.read_line("> ")
    assert scope.is_broken
    loop.call_later(3.0, bench.line.press_keys, "OK\r")
    assert await bench.tty.read_line("> ") == "OK"


# BREAK and tapes.


@on_jumping_loop
async def test_rows_after_an_interrupted_read_are_no_keys():
    machine = Equipment(Profile(duplex="full", auto_reader=True), tape=b"HELLO WORLD" * 20, reader_lag=2)
    line = SimLine(machine)
    tty = Teletype(line, JumpingClock(), machine.profile)
    reading_tape = asyncio.ensure_future(tape_units.read_tape(tty))
    await asyncio.sleep(3.0)
    reading_tape.cancel()
    await asyncio.wait({reading_tape})
    reading = asyncio.ensure_future(tty.read_line())
    await asyncio.sleep(2.0)
    assert not tty.has_partial_line
    reading.cancel()


@pytest.mark.parametrize("tenths", range(35, 54))
@on_jumping_loop
async def test_an_interrupted_punch_leaves_no_pile_up(tenths):
    bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True))
    asyncio.get_running_loop().call_later(tenths / 10 + 0.05, bench.line.press_break)
    async with bench.tty.until_break() as scope:
        await tape_units.punch_tape(bench.tty, b"HELLO WORLD\n" * 4, text=True)
    assert scope.is_broken
    await bench.tty.fresh_line()
    await bench.tty.print("THE NEXT LINE\n")
    await bench.tty.finish()
    assert overstruck_cells(bench.typing_unit.paper) == []
    assert bench.typing_unit.piled_up == []


@pytest.mark.parametrize("key", ["\0", "\x03"])
@on_jumping_loop
async def test_a_bare_nul_and_control_c_interrupt_a_punch(key):
    bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True, break_detect="nul"))
    asyncio.get_running_loop().call_later(3.0, bench.line.receive, Byte(ord(key)))
    async with bench.tty.until_break() as scope:
        await tape_units.punch_tape(bench.tty, b"HELLO WORLD\n" * 20, text=True)
    assert scope.is_broken
    assert bench.clock.now() < 5.0


@on_jumping_loop
async def test_a_finished_scope_is_not_cancelled_by_break():
    bench = TeletypeBench()
    outer, inner = bench.tty.until_break(), bench.tty.until_break()
    await outer.__aenter__()
    await inner.__aenter__()
    await outer.__aexit__(None, None, None)
    await inner.__aexit__(None, None, None)
    bench.line.press_break()
    assert not outer.is_broken


# Use after the end.


@on_jumping_loop
async def test_printing_an_empty_text_does_not_delay_a_held_word():
    bench = TeletypeBench()
    await bench.tty.print("HELLO")
    for _ in range(10):
        await asyncio.sleep(1.0)
        await bench.tty.print("")
    assert bench.typing_unit.paper.text().strip() == "HELLO"


@on_jumping_loop
async def test_a_timer_runs_one_callback_at_a_time_and_none_after_close():
    clock, running, most_running = JumpingClock(), 0, 0

    async def callback() -> None:
        nonlocal running, most_running
        running += 1
        most_running = max(most_running, running)
        try:
            await asyncio.sleep(5.0)
        finally:
            running -= 1

    timer = Timer(clock, callback)
    for moment in (1.0, 3.0, 4.0):
        timer.schedule(clock.now() + 0.1)
        await clock.sleep_until(moment)
    assert (running, most_running) == (1, 1)
    await timer.close()
    timer.schedule(clock.now())
    await asyncio.sleep(1.0)
    assert running == 0


# The motor.


@on_jumping_loop
async def test_a_motor_failure_is_raised_by_print_only():
    stuck = Profile(duplex="full", motor="command", motor_on="/nonexistent/switch", motor_off="true")
    bench = TeletypeBench(profile=stuck)
    await bench.tty.print("HELLO")
    await asyncio.sleep(5.0)
    gc.collect()
    with raises_driver_error("failed"):
        await bench.tty.print(PROSE)


@on_jumping_loop
async def test_no_byte_is_written_while_the_motor_spins_up():
    bench = TeletypeBench(profile=Profile(duplex="full", motor="rts"))
    printing = asyncio.ensure_future(bench.tty.print("HELLO\n"))
    await asyncio.sleep(0.1)
    assert bench.tty.status().below == 0
    assert bench.tty.status().idle_ms > 1000
    await printing
    assert bench.tty.status().below == 2


@on_jumping_loop
async def test_a_pause_and_a_resume_are_reported_once_each():
    bench = TeletypeBench()
    printing = asyncio.ensure_future(bench.tty.print(PROSE))
    await asyncio.sleep(2.0)
    for key in "\x13\x13\x11\x11":
        bench.line.press_keys(key)
    await printing
    assert [len(bench.events_of(kind)) for kind in (events.PrintingPaused, events.PrintingResumed)] == [1, 1]
