"""Duplex, answerback, reader and punch: a Teletype against a whole machine, in time that jumps."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from fakes import JumpingClock, SimLine, run_jumping

from drivers import events
from drivers.errors import Interrupted
from drivers.profile import Profile
from drivers.tape import tape
from drivers.teletype import Teletype
from drivers.virtual import Equipment, encode_drum

FULL = Profile(duplex="full")
HALF = Profile(duplex="half")
ALL = Profile(duplex="full", auto_reader=True, auto_punch=True, answerback=True)

Body = Callable[[SimLine, Teletype, list[events.Event]], Awaitable[None]]


def with_machine(body: Body, fitted: Equipment, profile: Profile | None = None) -> None:
    """The machine as fitted, and a driver that has this profile of it (the machine's own, if not given)."""

    async def main() -> None:
        line = SimLine(fitted)
        seen: list[events.Event] = []
        tty = Teletype(line, JumpingClock(), profile or fitted.profile, on_event=seen.append, max_line_characters=200)
        await body(line, tty, seen)
        await tty.close()

    run_jumping(main())


def told(seen: list[events.Event], kind: type) -> list:
    return [event for event in seen if isinstance(event, kind)]


# Duplex.


@pytest.mark.parametrize(("wired", "found"), [(FULL, "full"), (HALF, "half")])
def test_the_duplex_is_found_out(wired, found):
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        await tty.print("\nREADY\n")
        await asyncio.sleep(3.0)
        typing = asyncio.ensure_future(line.type("HELLO THERE\r"))
        assert await tty.read_line() == "HELLO THERE"
        await typing
        await tty.finish()
        assert tty.status().duplex == found
        assert [event.value for event in told(seen, events.ParameterDetected) if event.what == "duplex"] == [found]
        assert line.typing_unit.paper.text().split("\n")[-2:] == ["HELLO THERE", ""]
        assert line.typing_unit.faults == []

    with_machine(body, Equipment(wired), replace(wired, duplex="auto"))


def test_a_key_that_looked_like_an_echo_is_typed_as_soon_as_that_is_certain():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        reading = asyncio.ensure_future(tty.read_line("\nREADY\n"))
        await asyncio.sleep(0.3)
        line.sim.press_key(0x8D, 0.3)  # RETURN, in the very moment in which our own CR would come back
        line._handle_events()
        await asyncio.sleep(3.5)
        assert reading.done()
        assert await reading == ""
        assert tty.status().duplex == "full"

    with_machine(body, Equipment(FULL), replace(FULL, duplex="auto"))


@pytest.mark.parametrize("wired", [FULL, HALF])
def test_a_line_whose_reading_is_cancelled_stands_in_the_next_one(wired):
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
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

    with_machine(body, Equipment(wired))


def test_in_half_duplex_line_feed_goes_to_the_margin_of_the_next_line():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        await tty.print("\n")
        await asyncio.sleep(2.0)
        typing = asyncio.ensure_future(line.type("ONE\nTWO\r", every_s=0.6))
        assert await tty.read_line() == "ONE\nTWO"
        await typing
        await tty.finish()
        assert line.typing_unit.paper.text().split("\n")[-3:] == ["ONE", "TWO", ""]

    with_machine(body, Equipment(HALF))


def test_half_duplex_hears_no_key_in_its_own_text():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 5)
        await tty.finish()
        await asyncio.sleep(1.0)
        assert (
            told(seen, events.KeyReceived) == told(seen, events.EchoMismatch) == told(seen, events.BreakPressed) == []
        )
        assert tty.status().missing_echoes == 0
        assert line.typing_unit.faults == []

    with_machine(body, Equipment(HALF))


def test_in_half_duplex_a_line_is_edited_on_paper():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        await tty.print("\n")
        await asyncio.sleep(1.0)
        # An operator who waits for the machine: in half duplex a key over its text is lost, on steel too.
        typing = asyncio.ensure_future(line.type("HELP\x7f\x7fLLO\r", every_s=0.6))
        assert await tty.read_line() == "HELLO"
        await typing
        await tty.finish()
        assert "HELP" in line.typing_unit.paper.text()
        assert line.typing_unit.faults == []
        assert tty.column == 0

    with_machine(body, Equipment(HALF))


def test_in_half_duplex_a_long_line_is_wrapped_before_it_piles_up():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
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
        assert line.typing_unit.faults == []

    with_machine(body, Equipment(HALF))


def test_break_is_found_in_the_echo_where_the_adapter_tells_nothing():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(5.04, lambda: asyncio.ensure_future(line.press_break()))
            await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 9)
        assert scope.route == "echo"
        struck = line.typing_unit.strike_count
        await asyncio.sleep(1.0)
        assert line.typing_unit.strike_count <= struck + 2

    with_machine(body, Equipment(HALF, break_mode="none"))


def test_a_bare_nul_is_a_break_where_the_adapter_marks_none():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(5.04, lambda: asyncio.ensure_future(line.press_break()))
            await tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES " * 9)
        assert scope.route == "nul"
        assert told(seen, events.BreakPressed)[0].unprinted > 0

    with_machine(body, Equipment(FULL, break_mode="nul"))


def test_a_key_pressed_over_our_text_is_told_and_the_column_is_not_trusted():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        printing = asyncio.ensure_future(tty.print("IT WAS THE BEST OF TIMES, IT WAS THE WORST OF TIMES\n"))
        await asyncio.sleep(3.03)
        await line.type("A")
        await printing
        assert told(seen, events.EchoMismatch)

    with_machine(body, Equipment(HALF))


# Answerback.


@pytest.mark.parametrize("wired", ["full", "half"])
@pytest.mark.parametrize("every_other", [False, True])
def test_the_drum_is_asked_and_its_answer_is_no_prompt(wired, every_other):
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        for _ in range(3):
            assert bytes(byte & 0x7F for byte in await tty.answerback()) == b"\r\nFAB LAB 33\r\n"
        typing = asyncio.ensure_future(line.type("YES\r"))
        assert await tty.read_line() == "YES"
        await typing
        assert [event.data != b"" for event in told(seen, events.AnswerbackReceived)] == [True] * 3

    profile = Profile(duplex=wired, answerback=True)
    with_machine(body, Equipment(profile, answerback_rows=encode_drum("\r\nFAB LAB 33\r\n"), every_other=every_other))


def test_a_machine_without_a_drum_does_not_answer():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        assert await tty.answerback() == b""
        assert told(seen, events.AnswerbackReceived)[0].data == b""

    with_machine(body, Equipment(FULL))


# Reader.

TAPE = tape.leader(20) + tape.encode_text("WHO WAS ADA LOVELACE?\nSAY IT IN ONE LINE.\n") + tape.leader(20)


@pytest.mark.parametrize("lag", [1, 2])
def test_a_tape_is_read_to_its_end(lag):
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        rows = await tty.read_tape()
        assert rows == TAPE
        assert tape.decode_text(rows, "even") == "WHO WAS ADA LOVELACE?\nSAY IT IN ONE LINE.\n"
        assert told(seen, events.BreakPressed) == []

    with_machine(body, Equipment(ALL, tape=TAPE, reader_lag=lag))


@pytest.mark.parametrize("lag", [1, 2])
def test_a_tape_is_read_line_by_line_and_what_comes_after_the_x_off_is_kept(lag):
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        lines = []
        while rows := await tty.read_tape_line():
            lines.append(rows)
            await asyncio.sleep(10.0)
        assert b"".join(lines) == TAPE
        assert [tape.decode_text(row) for row in lines] == ["WHO WAS ADA LOVELACE?\n", "SAY IT IN ONE LINE.\n", ""]

    with_machine(body, Equipment(ALL, tape=TAPE, reader_lag=lag))


def test_a_reader_without_automatic_is_waited_for():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(20.0, lambda: (line.sim.start_reader(loop.time()), line._handle_events()))
        assert await tty.read_tape() == TAPE
        assert 0x11 not in [strike.byte for strike in line.typing_unit.strikes]

    with_machine(body, Equipment(FULL, tape=TAPE))


def test_break_ends_the_reading_of_a_tape_and_stops_the_reader():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(2.0, lambda: asyncio.ensure_future(line.press_break()))
            await tty.read_tape()
        assert scope.is_broken
        await asyncio.sleep(5.0)
        assert line.sim.reader.remaining_rows
        with pytest.raises((Interrupted, TimeoutError)):
            async with asyncio.timeout(5.0):
                await tty.read_line()  # and no row of it is typed

    with_machine(body, Equipment(ALL, tape=TAPE))


# Punch.


def test_text_is_punched_with_leader_and_fills_and_reads_back():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        rows = tape.leader(10) + tape.encode_text("HELLO\nWORLD\n") + tape.leader(10)
        await tty.fresh_line()
        await tty.punch(rows, text=True)
        punched = bytes(line.sim.punch.tape)
        assert punched.rstrip(b"\x14").strip(b"\0") == rows.strip(b"\0")
        assert tape.decode_text(punched.removesuffix(b"\x14"), "even") == "HELLO\nWORLD\n"
        assert not line.sim.punch.is_on
        assert line.typing_unit.faults == []
        assert tty.column == 0
        tape.verify_copy(rows, punched.removesuffix(b"\x14"))

    with_machine(body, Equipment(ALL))


def test_every_byte_there_is_can_be_punched():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        rows = bytes(range(256)) * 2
        await tty.punch(rows, text=False)
        await tty.fresh_line()
        assert bytes(line.sim.punch.tape).startswith(rows)
        assert len(line.sim.punch.tape) <= len(rows) + 1  # the DC4 that switches it off is punched
        assert not line.sim.punch.is_on

    with_machine(body, Equipment(replace(ALL, auto_reader=False, answerback=False)))


def test_break_while_a_tape_is_punched_switches_the_punch_off():
    async def body(line: SimLine, tty: Teletype, seen: list[events.Event]) -> None:
        async with tty.until_break() as scope:
            asyncio.get_running_loop().call_later(3.0, lambda: asyncio.ensure_future(line.press_break()))
            await tty.punch(tape.encode_text("HELLO WORLD\n" * 20), text=True)
        assert scope.is_broken
        await asyncio.sleep(1.0)
        assert not line.sim.punch.is_on

    with_machine(body, Equipment(ALL))
