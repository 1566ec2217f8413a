"""Duplex, answerback, reader and punch: a Teletype against a whole virtual machine, in time that jumps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fakes_teletype import JumpingClock, SimLine, on_jumping_loop

from drivers import events, tape, tape_units
from drivers.errors import Interrupted
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.virtual import Equipment, encode_drum

FULL = Profile(duplex="full")
HALF = Profile(duplex="half")
ALL = Profile(duplex="full", auto_reader=True, auto_punch=True, answerback=True)


@asynccontextmanager
async def machine_and_driver(
    fitted: Equipment, profile: Profile | None = None
) -> AsyncIterator[tuple[SimLine, Teletype, list[events.Event]]]:
    """Yields a machine's line, a driver with this profile (by default the machine's own), and the driver's events."""
    line = SimLine(fitted)
    received: list[events.Event] = []
    tty = Teletype(line, JumpingClock(), profile or fitted.profile, on_event=received.append, max_line_characters=200)
    yield line, tty, received
    await tty.close()


def events_of(received: list[events.Event], kind: type) -> list:
    return [event for event in received if isinstance(event, kind)]


# Duplex.


@pytest.mark.parametrize(("machine_profile", "duplex"), [(FULL, "full"), (HALF, "half")])
@on_jumping_loop
async def test_the_duplex_is_detected(machine_profile, duplex):
    driver_profile = replace(machine_profile, duplex="auto")
    async with machine_and_driver(Equipment(machine_profile), driver_profile) as (line, tty, received):
        await tty.print("\nREADY\n")
        await asyncio.sleep(3.0)
        typing = asyncio.ensure_future(line.type("HELLO THERE\r"))
        assert await tty.read_line() == "HELLO THERE"
        await typing
        await tty.finish()
        assert tty.status().duplex == duplex
        detected = events_of(received, events.ParameterDetected)
        assert [event.value for event in detected if event.parameter == "duplex"] == [duplex]
        assert line.typing_unit.paper.text().split("\n")[-2:] == ["HELLO THERE", ""]
        assert line.typing_unit.driver_errors == []


@on_jumping_loop
async def test_a_key_taken_for_an_echo_is_reclaimed():
    async with machine_and_driver(Equipment(FULL), replace(FULL, duplex="auto")) as (line, tty, _):
        reading = asyncio.ensure_future(tty.read_line("\nREADY\n"))
        await asyncio.sleep(0.3)
        line.sim.press_key(0x8D, 0.3)  # RETURN, at the very moment in which the driver's CR would come back
        line._handle_events()
        await asyncio.sleep(3.5)
        assert reading.done()
        assert await reading == ""
        assert tty.status().duplex == "full"


@pytest.mark.parametrize("machine_profile", [FULL, HALF])
@on_jumping_loop
async def test_the_next_line_begins_with_a_cancelled_one(machine_profile):
    async with machine_and_driver(Equipment(machine_profile)) as (line, tty, _):
        await tty.print("\n")
        await asyncio.sleep(2.0)
        reading = asyncio.ensure_future(tty.read_line("> "))
        await asyncio.sleep(1.0)
        await line.type("HELLO W")
        await asyncio.sleep(1.0)
        reading.cancel()
        await tty.fresh_line()
        again = asyncio.ensure_future(tty.read_line("> "))
        await asyncio.sleep(3.0)
        await line.type("ORLD\r")
        assert await again == "HELLO WORLD"
        await tty.finish()
        assert line.typing_unit.paper.text().split("\n")[-3:] == ["> HELLO W", "> HELLO WORLD", ""]


@on_jumping_loop
async def test_in_half_duplex_line_feed_goes_to_the_margin_of_the_next_line():
    async with machine_and_driver(Equipment(HALF)) as (line, tty, _):
        await tty.print("\n")
        await asyncio.sleep(2.0)
        typing = asyncio.ensure_future(line.type("ONE\nTWO\r", every_s=0.6))
        assert await tty.read_line() == "ONE\nTWO"
        await typing
        await tty.finish()
        assert line.typing_unit.paper.text().split("\n")[-3:] == ["ONE", "TWO", ""]


@on_jumping_loop
async def test_half_duplex_finds_no_key_in_its_own_text():
    async with machine_and_driver(Equipment(HALF)) as (line, tty, received):
        await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 5)
        await tty.finish()
        await asyncio.sleep(1.0)
        for kind in (events.KeyReceived, events.EchoMismatch, events.BreakPressed):
            assert events_of(received, kind) == []
        assert tty.status().missing_echoes == 0
        assert line.typing_unit.driver_errors == []


@on_jumping_loop
async def test_in_half_duplex_a_line_is_edited_on_paper():
    async with machine_and_driver(Equipment(HALF)) as (line, tty, _):
        await tty.print("\n")
        await asyncio.sleep(1.0)
        # The operator waits for the machine: in half duplex a key over its text is lost on a real machine too.
        typing = asyncio.ensure_future(line.type("HELP\x7f\x7fLLO\r", every_s=0.6))
        assert await tty.read_line() == "HELLO"
        await typing
        await tty.finish()
        assert "HELP" in line.typing_unit.paper.text()
        assert line.typing_unit.driver_errors == []
        assert tty.column == 0


@on_jumping_loop
async def test_in_half_duplex_a_long_line_is_wrapped_before_it_piles_up():
    async with machine_and_driver(Equipment(HALF)) as (line, tty, _):
        await tty.print("\n")
        await asyncio.sleep(1.0)
        text = "X" * 72
        typing = asyncio.ensure_future(line.type(text))
        reading = asyncio.ensure_future(tty.read_line())
        await typing
        await asyncio.sleep(2.0)
        await line.type("YZ\r")
        assert await reading == text + "YZ"
        await tty.finish()
        assert line.typing_unit.paper.text().split() == [text, "YZ"]
        assert line.typing_unit.driver_errors == []


@on_jumping_loop
async def test_break_is_detected_in_the_echo_at_an_adapter_that_hides_it():
    async with machine_and_driver(Equipment(HALF, break_mode="none")) as (line, tty, _):
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(5.04, lambda: asyncio.ensure_future(line.press_break()))
            await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 9)
        assert scope.route == "echo"
        struck = line.typing_unit.strike_count
        await asyncio.sleep(1.0)
        assert line.typing_unit.strike_count <= struck + 2


@on_jumping_loop
async def test_a_bare_nul_is_a_break_at_an_adapter_that_marks_none():
    async with machine_and_driver(Equipment(FULL, break_mode="nul")) as (line, tty, received):
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(5.04, lambda: asyncio.ensure_future(line.press_break()))
            await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 9)
        assert scope.route == "nul"
        assert events_of(received, events.BreakPressed)[0].unprinted > 0


@on_jumping_loop
async def test_a_key_over_the_output_is_reported_and_loses_the_column():
    async with machine_and_driver(Equipment(HALF)) as (line, tty, received):
        printing = asyncio.ensure_future(tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES\n"))
        await asyncio.sleep(3.03)
        await line.type("A")
        await printing
        assert events_of(received, events.EchoMismatch)


# Answerback.


@pytest.mark.parametrize("machine_duplex", ["full", "half"])
@pytest.mark.parametrize("every_other", [False, True])
@on_jumping_loop
async def test_the_answerback_is_read_and_is_no_prompt(machine_duplex, every_other):
    profile = Profile(duplex=machine_duplex, answerback=True)
    async with machine_and_driver(
        Equipment(profile, answerback_rows=encode_drum("\r\nFAB LAB 33\r\n"), every_other=every_other)
    ) as (line, tty, received):
        for _ in range(3):
            assert bytes(byte & 0x7F for byte in await tape_units.request_answerback(tty)) == b"\r\nFAB LAB 33\r\n"
        typing = asyncio.ensure_future(line.type("YES\r"))
        assert await tty.read_line() == "YES"
        await typing
        assert [event.data != b"" for event in events_of(received, events.AnswerbackReceived)] == [True] * 3


@on_jumping_loop
async def test_a_machine_without_a_drum_does_not_answer():
    async with machine_and_driver(Equipment(FULL)) as (_, tty, received):
        assert await tape_units.request_answerback(tty) == b""
        assert events_of(received, events.AnswerbackReceived)[0].data == b""


# Reader.

TAPE = tape.leader(20) + tape.encode_text("WHO WAS ADA LOVELACE?\nSAY IT IN ONE LINE.\n") + tape.leader(20)


@pytest.mark.parametrize("lag", [1, 2])
@on_jumping_loop
async def test_a_tape_is_read_to_its_end(lag):
    async with machine_and_driver(Equipment(ALL, tape=TAPE, reader_lag=lag)) as (_, tty, received):
        rows = await tape_units.read_tape(tty)
        assert rows == TAPE
        assert tape.decode_text(rows, "even") == "WHO WAS ADA LOVELACE?\nSAY IT IN ONE LINE.\n"
        assert events_of(received, events.BreakPressed) == []


@pytest.mark.parametrize("lag", [1, 2])
@on_jumping_loop
async def test_a_tape_is_read_line_by_line_and_rows_after_xoff_are_kept(lag):
    async with machine_and_driver(Equipment(ALL, tape=TAPE, reader_lag=lag)) as (_, tty, _):
        lines = []
        while rows := await tape_units.read_tape_line(tty):
            lines.append(rows)
            await asyncio.sleep(10.0)
        assert b"".join(lines) == TAPE
        assert [tape.decode_text(row) for row in lines] == ["WHO WAS ADA LOVELACE?\n", "SAY IT IN ONE LINE.\n", ""]


@on_jumping_loop
async def test_a_manual_reader_is_waited_for():
    async with machine_and_driver(Equipment(FULL, tape=TAPE)) as (line, tty, _):
        loop = asyncio.get_running_loop()
        loop.call_later(20.0, lambda: (line.sim.start_reader(loop.time()), line._handle_events()))
        assert await tape_units.read_tape(tty) == TAPE
        assert 0x11 not in [strike.byte for strike in line.typing_unit.strikes]


@on_jumping_loop
async def test_break_ends_the_reading_of_a_tape_and_stops_the_reader():
    async with machine_and_driver(Equipment(ALL, tape=TAPE)) as (line, tty, _):
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(2.0, lambda: asyncio.ensure_future(line.press_break()))
            await tape_units.read_tape(tty)
        assert scope.is_broken
        await asyncio.sleep(5.0)
        assert line.sim.reader.remaining_rows
        with pytest.raises((Interrupted, TimeoutError)):
            async with asyncio.timeout(5.0):
                await tty.read_line()  # no row of the tape is typed


# Punch.


@on_jumping_loop
async def test_text_is_punched_with_leader_and_fills_and_reads_back():
    async with machine_and_driver(Equipment(ALL)) as (line, tty, _):
        rows = tape.leader(10) + tape.encode_text("HELLO\nWORLD\n") + tape.leader(10)
        await tty.fresh_line()
        await tape_units.punch_tape(tty, rows, text=True)
        punched = bytes(line.sim.punch.tape)
        assert punched.rstrip(b"\x14").strip(b"\0") == rows.strip(b"\0")
        assert tape.decode_text(punched.removesuffix(b"\x14"), "even") == "HELLO\nWORLD\n"
        assert not line.sim.punch.is_on
        assert line.typing_unit.driver_errors == []
        assert tty.column == 0
        tape.verify_copy(rows, punched.removesuffix(b"\x14"))


@on_jumping_loop
async def test_every_byte_can_be_punched():
    async with machine_and_driver(Equipment(replace(ALL, auto_reader=False, answerback=False))) as (line, tty, _):
        rows = bytes(range(256)) * 2
        await tape_units.punch_tape(tty, rows, text=False)
        await tty.fresh_line()
        assert bytes(line.sim.punch.tape).startswith(rows)
        assert len(line.sim.punch.tape) <= len(rows) + 1  # the DC4 that switches it off is punched
        assert not line.sim.punch.is_on


@on_jumping_loop
async def test_break_while_a_tape_is_punched_switches_the_punch_off():
    async with machine_and_driver(Equipment(ALL)) as (line, tty, _):
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(3.0, lambda: asyncio.ensure_future(line.press_break()))
            await tape_units.punch_tape(tty, tape.encode_text("HELLO WORLD\n" * 20), text=True)
        assert scope.is_broken
        await asyncio.sleep(1.0)
        assert not line.sim.punch.is_on
