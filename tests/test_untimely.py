"""What comes at a bad moment: a hang-up in a reprint, ^S before a tape, a cancelled line, a motor at rest."""

import asyncio
import gc

import pytest
from fakes import PROSE, JumpingClock, SimLine, TeletypeBench, TypingUnitLine, overstruck_cells, run_jumping

from drivers import events
from drivers.clock import Timer
from drivers.errors import LineLost, MotorStuck, TapeDamaged
from drivers.events import Byte
from drivers.output.transmitter import PAUSE_TIMEOUT_S
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import even_parity
from drivers.virtual import GUMMY, Equipment, TypingUnit

FULL = Profile(duplex="full")
HALF = Profile(duplex="half")


def put_back(bench: TeletypeBench) -> None:
    bench.line = bench.line.reconnect()
    bench.tty.attach(bench.line)


def local_key(line: TypingUnitLine, key: str) -> None:
    """A key that has just been typed at a machine which prints it itself."""
    line.typing_unit.receive(ord(key), asyncio.get_running_loop().time() - 0.1, local=True)
    line.receive(Byte(even_parity(ord(key))))


# The line goes.


def test_a_line_that_hangs_up_again_while_it_is_struck_again_comes_back_all_the_same():
    async def main() -> None:
        bench = TeletypeBench(wait_for_line=True)
        reading = asyncio.ensure_future(bench.tty.read_line("> "))
        await asyncio.sleep(1.0)
        bench.line.press_keys("HELLO WORLD THIS IS A LONG LINE")
        await asyncio.sleep(5.0)
        for pause_s in (1.0, 2.0, 1.0):
            bench.line.hang_up()
            await asyncio.wait_for(bench.tty.wait_for_hang_up(), 1.0)
            await asyncio.sleep(pause_s)
            put_back(bench)
            await asyncio.sleep(0.7)
        bench.line.press_keys("\r")
        assert await reading == "HELLO WORLD THIS IS A LONG LINE"
        assert bench.tty.status().counters.hang_ups == 3
        bench.assert_clean()

    run_jumping(main())


def test_a_return_typed_at_a_half_duplex_machine_is_flown_again_too():
    async def main() -> None:
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
        put_back(bench)
        await printing
        await bench.tty.finish()
        assert bench.typing_unit.faults == []
        assert bench.typing_unit.paper.text().count("> HELLO WORLD") == 2

    run_jumping(main())


def test_rows_that_were_punched_are_not_struck_again():
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True), wait_for_line=True)
        await bench.tty.punch(bytes(range(0x21, 0x5F)), text=False)
        bench.line.hang_up()
        before = bench.typing_unit.strike_count
        put_back(bench)
        await bench.tty.finish()
        assert bench.typing_unit.strike_count - before == 2  # CR LF

    run_jumping(main())


def test_a_break_before_the_lost_line_is_whole_again_leaves_no_pile():
    async def main() -> None:
        bench = TeletypeBench(profile=FULL, line=TypingUnitLine(TypingUnit(mechanism=GUMMY)), wait_for_line=True)
        asyncio.get_running_loop().call_later(5.0, bench.line.press_keys, "\x13")

        async def broken() -> None:
            async with bench.tty.until_break():
                await bench.tty.print("X" * 68 + " AND MORE WORDS TO COME")

        printing = asyncio.ensure_future(broken())
        await asyncio.sleep(6.0)
        bench.line.hang_up()
        put_back(bench)
        await asyncio.sleep(1.0)
        bench.line.press_break()
        await printing
        await bench.tty.fresh_line()
        await bench.tty.print("THE NEXT LINE\n")
        await bench.tty.finish()
        bench.assert_clean()

    run_jumping(main())


@pytest.mark.parametrize("tenths", range(0, 20, 2))
def test_a_print_that_is_given_up_while_the_lost_line_comes_back_leaves_no_pile(tenths):
    async def main() -> None:
        bench = TeletypeBench(wait_for_line=True)
        await bench.tty.print("SHORT\n")
        printing = asyncio.ensure_future(bench.tty.print("X" * 70 + " MORE\n"))
        await asyncio.sleep(5.0)
        bench.line.hang_up()
        put_back(bench)
        await asyncio.sleep(tenths / 10)
        printing.cancel()
        await asyncio.wait({printing})
        await bench.tty.print("THIS IS THE NEXT THING PRINTED\n")
        await bench.tty.finish()
        bench.assert_clean()
        assert "THIS IS THE NEXT THING PRINTED\n" in bench.typing_unit.paper.text()

    run_jumping(main())


def test_who_prints_while_another_flushes_is_told_that_the_line_is_lost():
    async def main() -> None:
        bench = TeletypeBench()
        await bench.tty.print("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        await asyncio.sleep(2.5)
        printing = asyncio.ensure_future(bench.tty.print(" AND THE REST OF THE LINE\n"))
        await asyncio.sleep(0.5)
        bench.line.hang_up()
        with pytest.raises(LineLost):
            await printing

    run_jumping(main())


def test_a_hang_up_that_a_write_finds_is_counted():
    async def main() -> None:
        bench = TeletypeBench(wait_for_line=True)
        bench.line.lost = True
        printing = asyncio.ensure_future(bench.tty.print("B\n"))
        await asyncio.sleep(1.0)
        assert bench.tty.status().counters.hang_ups == 1
        printing.cancel()
        await asyncio.wait({printing})

    run_jumping(main())


def test_a_tape_whose_line_hung_up_is_not_taken_for_a_whole_one():
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", auto_reader=True), wait_for_line=True)
        reading = asyncio.ensure_future(bench.tty.read_tape())
        for _ in range(30):
            await asyncio.sleep(0.1)
            bench.line.receive(Byte(even_parity(65)))
        bench.line.hang_up()
        with pytest.raises(TapeDamaged, match="hung up"):
            await reading

    run_jumping(main())


def test_who_prints_while_stopped_is_told_at_once_that_the_line_is_lost():
    async def main() -> None:
        bench = TeletypeBench()
        printing = asyncio.ensure_future(bench.tty.print(PROSE))
        await asyncio.sleep(2.0)
        bench.line.press_keys("\x13")
        await asyncio.sleep(1.0)
        bench.line.hang_up()
        with pytest.raises(LineLost):
            await asyncio.wait_for(printing, 1.0)

    run_jumping(main())


# ^S at a bad moment.


def test_nobody_is_told_of_what_befalls_a_bell_in_the_background():
    async def main() -> None:
        bench = TeletypeBench()
        bench.line.press_keys("\x13")
        await asyncio.sleep(1.0)
        bench.line.hang_up()
        await asyncio.sleep(PAUSE_TIMEOUT_S + 5.0)
        gc.collect()  # a task whose exception nobody looked at complains here, and warnings are errors
        await asyncio.sleep(0.0)

    run_jumping(main())


def test_what_ends_a_pause_is_no_row_of_a_tape():
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", answerback=True))
        await bench.tty.print("\n")
        bench.line.press_keys("\x13")
        asking = asyncio.ensure_future(bench.tty.answerback())
        await asyncio.sleep(1.0)
        bench.line.press_keys("\x11")
        assert await asyncio.wait_for(asking, 10.0) == b""

    run_jumping(main())


def test_a_key_typed_over_a_stopped_line_at_a_half_duplex_machine_begins_another():
    async def main() -> None:
        line = TypingUnitLine(TypingUnit(), half_duplex=True)
        bench = TeletypeBench(profile=HALF, line=line)
        printing = asyncio.ensure_future(bench.tty.print("X" * 72 + "\nNEXT\n"))
        await asyncio.sleep(3.0)
        line.press_keys("\x13")
        await asyncio.sleep(2.0)
        local_key(line, "K")
        await printing
        await bench.tty.finish()
        assert line.typing_unit.faults == []
        assert overstruck_cells(line.typing_unit.paper) == []
        assert line.typing_unit.paper.text().split() == ["X" * 28 + "K", "X" * 44, "NEXT"]

    run_jumping(main())


# A reading that is cancelled.


def test_a_line_put_back_twice_is_whole():
    async def main() -> None:
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

    run_jumping(main())


def test_a_return_whose_echo_was_cut_is_not_lost():
    async def main() -> None:
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

    run_jumping(main())


def test_what_a_break_throws_away_does_not_begin_the_next_line():
    async def main() -> None:
        bench = TeletypeBench()
        loop = asyncio.get_running_loop()
        async with bench.tty.until_break() as scope:
            loop.call_later(1.0, bench.line.press_keys, "GARBAGE")
            loop.call_later(3.0, bench.line.press_break)
            await bench.tty.read_line("> ")
        assert scope.is_broken
        loop.call_later(3.0, bench.line.press_keys, "OK\r")
        assert await bench.tty.read_line("> ") == "OK"

    run_jumping(main())


# BREAK and tapes.


def test_rows_that_come_after_a_reading_was_broken_off_are_no_keys():
    async def main() -> None:
        machine = Equipment(Profile(duplex="full", auto_reader=True), tape=b"HELLO WORLD" * 20, reader_lag=2)
        line = SimLine(machine)
        tty = Teletype(line, JumpingClock(), machine.profile)
        reading_tape = asyncio.ensure_future(tty.read_tape())
        await asyncio.sleep(3.0)
        reading_tape.cancel()
        await asyncio.wait({reading_tape})
        reading = asyncio.ensure_future(tty.read_line())
        await asyncio.sleep(2.0)
        assert not tty.has_partial_line
        reading.cancel()

    run_jumping(main())


@pytest.mark.parametrize("tenths", range(35, 54))
def test_a_punching_that_is_broken_off_leaves_no_pile(tenths):
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True))
        asyncio.get_running_loop().call_later(tenths / 10 + 0.05, bench.line.press_break)
        async with bench.tty.until_break() as scope:
            await bench.tty.punch(b"HELLO WORLD\n" * 4, text=True)
        assert scope.is_broken
        await bench.tty.fresh_line()
        await bench.tty.print("THE NEXT LINE\n")
        await bench.tty.finish()
        assert overstruck_cells(bench.typing_unit.paper) == []
        assert bench.typing_unit.piled_up == []

    run_jumping(main())


@pytest.mark.parametrize("key", ["\0", "\x03"])
def test_a_bare_nul_and_control_c_break_off_a_punching(key):
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", auto_punch=True, break_detect="nul"))
        asyncio.get_running_loop().call_later(3.0, bench.line.receive, Byte(ord(key)))
        async with bench.tty.until_break() as scope:
            await bench.tty.punch(b"HELLO WORLD\n" * 20, text=True)
        assert scope.is_broken
        assert bench.clock.now() < 5.0

    run_jumping(main())


def test_a_scope_that_is_over_is_not_ended_by_break():
    async def main() -> None:
        bench = TeletypeBench()
        outer, inner = bench.tty.until_break(), bench.tty.until_break()
        await outer.__aenter__()
        await inner.__aenter__()
        await outer.__aexit__(None, None, None)
        await inner.__aexit__(None, None, None)
        bench.line.press_break()
        assert not outer.is_broken

    run_jumping(main())


# What may be done for ever.


def test_printing_nothing_does_not_put_off_a_held_word():
    async def main() -> None:
        bench = TeletypeBench()
        await bench.tty.print("HELLO")
        for _ in range(10):
            await asyncio.sleep(1.0)
            await bench.tty.print("")
        assert bench.typing_unit.paper.text().strip() == "HELLO"

    run_jumping(main())


def test_one_thing_is_done_at_a_time_and_nothing_after_the_end():
    async def main() -> None:
        clock, running, most = JumpingClock(), 0, 0

        async def do() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(5.0)
            finally:
                running -= 1

        later = Timer(clock, do)
        for moment in (1.0, 3.0, 4.0):
            later.schedule(clock.now() + 0.1)
            await clock.sleep_until(moment)
        assert (running, most) == (1, 1)
        await later.close()
        later.schedule(clock.now())
        await asyncio.sleep(1.0)
        assert running == 0

    run_jumping(main())


# The motor.


def test_a_motor_that_does_not_start_is_told_to_who_prints_and_to_nobody_else():
    async def main() -> None:
        stuck = Profile(duplex="full", motor="command", motor_on="/nonexistent/switch", motor_off="true")
        bench = TeletypeBench(profile=stuck)
        await bench.tty.print("HELLO")
        await asyncio.sleep(5.0)
        gc.collect()
        with pytest.raises(MotorStuck):
            await bench.tty.print(PROSE)

    run_jumping(main())


def test_while_the_motor_comes_up_nothing_is_below():
    async def main() -> None:
        bench = TeletypeBench(profile=Profile(duplex="full", motor="rts"))
        printing = asyncio.ensure_future(bench.tty.print("HELLO\n"))
        await asyncio.sleep(0.1)
        assert bench.tty.status().below == 0
        assert bench.tty.status().idle_ms > 1000
        await printing
        assert bench.tty.status().below == 2

    run_jumping(main())


def test_a_pause_and_a_resume_are_told_once_each():
    async def main() -> None:
        bench = TeletypeBench()
        printing = asyncio.ensure_future(bench.tty.print(PROSE))
        await asyncio.sleep(2.0)
        for key in "\x13\x13\x11\x11":
            bench.line.press_keys(key)
        await printing
        assert [len(bench.events_of(kind)) for kind in (events.PrintingPaused, events.PrintingResumed)] == [1, 1]

    run_jumping(main())
