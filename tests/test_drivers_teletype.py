import asyncio
import random
from itertools import pairwise

import pytest
from fakes_teletype import PROSE, JumpingClock, TeletypeBench, TypingUnitLine, on_jumping_loop, run_jumping
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import errors, events
from drivers.profile import Profile
from drivers.teletype import Teletype
from drivers.text.charset import fold_text

TEXTS = st.text(st.sampled_from("etaoin shrdlu \n—½🚀é") | st.characters(), max_size=300)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from([0.0, 0.0, 0.05, 0.13, 1.9])), max_size=8))
@on_jumping_loop
async def test_any_text_at_any_pace_is_printed_clean(pieces):
    bench = TeletypeBench()
    for text, pause_s in pieces:
        await bench.tty.print(text)
        await asyncio.sleep(pause_s if text else 0.0)  # an empty text does not extend the wait for a held word
    await bench.tty.finish()
    bench.assert_clean()
    words = fold_text("".join(text for text, _ in pieces)).split()
    assert bench.typing_unit.paper.text().split() == [w[i : i + 72] for w in words for i in range(0, len(w), 72)]
    assert bench.tty.column == (bench.typing_unit.column if bench.line.written else None)


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 300), max_size=6))
def test_a_stream_cut_anywhere_is_struck_at_the_same_moments(text, cuts):
    edges = [0, *sorted(cuts), len(text)]

    async def main(pieces: list[str]) -> list[tuple[float, int]]:
        bench = TeletypeBench()
        for piece in pieces:
            await bench.tty.print(piece)
        await bench.tty.flush()
        return [(round(strike.start, 6), strike.byte) for strike in bench.typing_unit.strikes]

    assert run_jumping(main([text])) == run_jumping(main([text[a:b] for a, b in pairwise(edges)]))


@on_jumping_loop
async def test_an_hour_of_paper_is_exact_to_the_millisecond():
    bench = TeletypeBench()
    while bench.clock.now() < 3600.0:
        await bench.tty.print(PROSE)
    strikes = list(bench.typing_unit.strikes)
    expected = strikes[0].start
    carriage_back = expected
    for strike in strikes:
        if strike.byte >= 0x20:
            expected = max(expected, carriage_back)
        assert strike.start == pytest.approx(expected, abs=0.001)
        if strike.byte == 0x0D:
            carriage_back = expected + 0.1 + 0.2 * (strike.column or 72) / 72
        expected += 0.1
    assert len(strikes) > 35_000
    assert strikes[-1].start > 3590
    bench.assert_clean()


@on_jumping_loop
async def test_the_events_are_what_the_machine_does():
    bench = TeletypeBench()
    await bench.tty.print("Hello, world.\n")
    struck, strikes = bench.events_of(events.CharacterStruck), bench.typing_unit.strikes
    assert [event.byte for event in struck] == [strike.byte for strike in strikes]
    for event, strike in zip(struck, strikes, strict=True):
        assert event.at == pytest.approx(strike.start, abs=1e-6)
        assert event.queued == 0.0
    assert [event.column for event in struck[1:]] == [strike.column for strike in list(strikes)[1:]]


@on_jumping_loop
async def test_after_a_pause_in_the_text_printing_is_late_and_never_hurries():
    bench = TeletypeBench()
    await bench.tty.print("AB ")
    await asyncio.sleep(7.77)
    before = bench.clock.now()
    await bench.tty.print("CD EF ")
    starts = [strike.start for strike in bench.typing_unit.strikes][4:]
    assert starts[0] == pytest.approx(before)
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.1] * 5)


@on_jumping_loop
async def test_a_late_wake_up_is_not_compensated():
    class LateClock(JumpingClock):
        async def sleep_until(self, deadline: float) -> None:
            await super().sleep_until(deadline)
            await asyncio.sleep(random.Random(deadline).choice([0.0, 0.0, 0.04, 0.35]))

    bench = TeletypeBench()
    bench.tty = Teletype(bench.line, LateClock(), on_event=bench.events.append)
    await bench.tty.print(PROSE)
    bench.assert_clean()
    for event, strike in zip(bench.events_of(events.CharacterStruck), bench.typing_unit.strikes, strict=True):
        assert event.at == pytest.approx(strike.start, abs=1e-6)


@on_jumping_loop
async def test_print_returns_with_two_characters_below_it_and_goes_on_without_a_gap():
    bench = TeletypeBench()
    await bench.tty.print("\n")
    for _ in range(18):
        await bench.tty.print("ABC ")
    assert bench.clock.now() == pytest.approx(bench.typing_unit.strikes[-2].start)
    starts = [strike.start for strike in bench.typing_unit.strikes][2:]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.1] * 70)
    await bench.tty.finish()
    assert bench.clock.now() == pytest.approx(bench.typing_unit.strikes[-1].start + 0.1)


@on_jumping_loop
async def test_without_pace_the_same_paper_takes_no_time():
    bench = TeletypeBench(character_s=0.0)
    await bench.tty.print(PROSE)
    await bench.tty.fresh_line()
    assert bench.clock.now() == 0.0
    assert bench.typing_unit.paper.text().split() == PROSE.upper().split()
    assert not bench.typing_unit.smeared


@on_jumping_loop
async def test_bytes_go_out_with_even_parity():
    bench = TeletypeBench()
    await bench.tty.print("Cab\n")
    assert bytes(bench.line.written) == b"\x8d\x0a\xc3A\x42\x8d\x0a"


@on_jumping_loop
async def test_fresh_line_goes_to_the_margin_once():
    bench = TeletypeBench()
    await bench.tty.fresh_line()
    await bench.tty.fresh_line()
    await bench.tty.print("abc")
    await bench.tty.fresh_line()
    assert bench.typing_unit.paper.text() == "\nABC\n"
    assert bench.tty.column == 0


# Reading.


async def type_keys(bench: TeletypeBench, keys: str, interval_s: float = 0.1) -> None:
    for key in keys:
        bench.line.press_keys(key)
        await asyncio.sleep(interval_s)


@on_jumping_loop
async def test_a_line_is_echoed_edited_and_returned():
    bench = TeletypeBench()
    await bench.tty.fresh_line()
    task = asyncio.create_task(type_keys(bench, "HELX\x7fLO\nTHERE\r"))
    assert await bench.tty.read_line("? ") == "HELLO\nTHERE"
    await task
    assert bench.typing_unit.paper.text() == "\n? HELX\\X\\LO\nTHERE\n"
    assert [event.byte & 0x7F for event in bench.events_of(events.KeyReceived)] == list(b"HELX\x7fLO\nTHERE\r")
    bench.assert_clean()


@on_jumping_loop
async def test_keys_typed_ahead_are_echoed_when_their_line_is_read():
    bench = TeletypeBench()
    task = asyncio.create_task(type_keys(bench, "ONE\rTWO\r"))
    await bench.tty.print("A long answer that takes its time. \n")
    await task
    assert "ONE" not in bench.typing_unit.paper.text()
    assert await bench.tty.read_line("1 ") == "ONE"
    assert await bench.tty.read_line("2 ") == "TWO"
    assert bench.typing_unit.paper.text() == "\nA LONG ANSWER THAT TAKES ITS TIME.\n1 ONE\n2 TWO\n"


@on_jumping_loop
async def test_a_prompt_that_is_too_long_rings_and_is_kept():
    bench = TeletypeBench()
    bench.line.press_keys("A" * 53 + "\r")
    assert await bench.tty.read_line() == "A" * 50
    assert bench.typing_unit.paper.bells == 3


@pytest.mark.parametrize("key", ["break", "^C"])
@on_jumping_loop
async def test_break_in_a_line_cancels_what_is_typed(key):
    bench = TeletypeBench()

    async def operator() -> None:
        await asyncio.sleep(1)
        await type_keys(bench, "ABC")
        await asyncio.sleep(1)
        if key == "break":
            bench.line.press_break()
        else:
            bench.line.press_keys("\x03")

    task = asyncio.create_task(operator())
    with pytest.raises(errors.Interrupted):
        await bench.tty.read_line("? ")
    await task
    assert bench.typing_unit.paper.text() == "\n? ABC^C\n"
    assert [event.route for event in bench.events_of(events.BreakPressed)] == [key]


@on_jumping_loop
async def test_control_d_ends_the_input():
    bench = TeletypeBench()
    bench.line.press_keys("\x04")
    with pytest.raises(errors.EndOfInput):
        await bench.tty.read_line("? ")


@on_jumping_loop
async def test_typed_text_of_a_cancelled_read_is_restored():
    bench = TeletypeBench()
    task = asyncio.create_task(bench.tty.read_line("? "))
    await type_keys(bench, "HEL")
    await asyncio.sleep(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bench.tty.print("\nMail.\n")
    bench.line.press_keys("LO\r")
    assert await bench.tty.read_line("? ") == "HELLO"
    assert bench.typing_unit.paper.text() == "\n? HEL\nMAIL.\n? HELLO\n"


# Hang-up.


@on_jumping_loop
async def test_a_hang_up_ends_printing_with_one_clear_line():
    bench = TeletypeBench()
    asyncio.get_running_loop().call_later(2.0, bench.line.hang_up)
    with pytest.raises(errors.LineLost, match="hung up"):
        await bench.tty.print(PROSE)
    assert bench.events_of(events.LineDisconnected) == [events.LineDisconnected(2.0, "memory: the line hung up")]
    assert bench.clock.now() < 2.2


@on_jumping_loop
async def test_a_hang_up_ends_reading():
    bench = TeletypeBench()
    asyncio.get_running_loop().call_later(2.0, bench.line.hang_up)
    with pytest.raises(errors.LineLost):
        await bench.tty.read_line("? ")
    assert bench.clock.now() == pytest.approx(2.0)


class StuckLine(TypingUnitLine):
    """A line whose far end accepts no byte, until it hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = asyncio.Event()

    async def drain(self) -> None:
        await self._gone.wait()

    def hang_up(self) -> None:
        self._gone.set()
        super().hang_up()


@on_jumping_loop
async def test_an_unaccepted_character_is_logged_and_struck_again():
    line = StuckLine()
    received: list[events.Event] = []
    tty = Teletype(line, JumpingClock(), Profile(duplex="full"), on_event=received.append, wait_for_line=True)
    asyncio.get_running_loop().call_later(2.0, line.hang_up)
    printing = asyncio.ensure_future(tty.print("\n"))
    await asyncio.sleep(3.0)
    assert [type(event) for event in received] == [events.CharacterStruck, events.LineDisconnected]
    new_line = TypingUnitLine()
    tty.attach(new_line)
    await printing
    assert bytes(byte & 0x7F for byte in new_line.written) == b"\r\n\r\n"
    await tty.finish()


# Noise.


@on_jumping_loop
async def test_a_damaged_character_is_reported_and_not_typed():
    bench = TeletypeBench()
    bench.line.press_keys("A")
    bench.line.receive_damaged(0x43)
    bench.line.receive_damaged(0x03)
    bench.line.press_keys("B\r")
    assert await bench.tty.read_line() == "AB"
    assert [event.byte for event in bench.events_of(events.KeyReceived) if event.damaged] == [0x43, 0x03]
    assert [event.byte for event in bench.events_of(events.KeyReceived) if not event.damaged] == [0x41, 0x42, 0x8D]
    assert bench.tty.keyboard.damaged == 2
    assert bench.tty.keyboard.received_count == 3
