import asyncio
import contextlib
import random
from itertools import pairwise

import pytest
from fakes_teletype import PROSE, TeletypeBench, TypingUnitLine, on_jumping_loop

from drivers import events
from drivers.errors import LineLost
from drivers.output.transmitter import PAUSE_TIMEOUT_S
from drivers.profile import Profile
from drivers.teletype import WORD_HOLD_S
from drivers.virtual import TypingUnit

FULL = Profile(duplex="full")


async def start_printing(bench: TeletypeBench, text: str = PROSE) -> asyncio.Task[None]:
    task = asyncio.ensure_future(bench.tty.print(text))
    await asyncio.sleep(3.0)
    return task


# The held-back word.


@on_jumping_loop
async def test_a_held_word_is_printed_when_nothing_more_comes():
    bench = TeletypeBench()
    await bench.tty.print("The quick bro")
    assert bench.typing_unit.paper.text().strip() == "THE QUICK"
    await asyncio.sleep(WORD_HOLD_S + 1.0)
    assert bench.typing_unit.paper.text().strip() == "THE QUICK BRO"
    await bench.tty.print("wn fox\n")
    assert bench.typing_unit.paper.text().strip() == "THE QUICK BROWN FOX"
    bench.assert_clean()


@on_jumping_loop
async def test_a_word_that_goes_on_in_time_is_not_cut():
    bench = TeletypeBench()
    await bench.tty.print("x" * 70 + " ")
    for char in "syllable":
        await bench.tty.print(char)
        await asyncio.sleep(WORD_HOLD_S - 0.2)
    await bench.tty.flush()
    assert bench.typing_unit.paper.text().split() == ["X" * 70, "SYLLABLE"]


# ^S and ^Q.


@on_jumping_loop
async def test_control_s_pauses_and_control_q_resumes():
    bench = TeletypeBench()
    task = await start_printing(bench)
    bench.line.press_keys("\x13")
    before = bench.typing_unit.strike_count
    await asyncio.sleep(60.0)
    assert bench.typing_unit.strike_count <= before + 1
    bench.line.press_keys("\x11")
    await task
    await bench.tty.finish()
    bench.assert_clean()
    assert len(bench.events_of(events.PrintingPaused)) == 1
    (resumed,) = bench.events_of(events.PrintingResumed)
    assert resumed.after_s == pytest.approx(60.0)
    assert not resumed.timed_out
    assert "WISDOM." in bench.typing_unit.paper.text()


@on_jumping_loop
async def test_any_key_ends_a_pause_and_is_typed_ahead():
    bench = TeletypeBench()
    task = await start_printing(bench)
    bench.line.press_keys("\x13")
    await asyncio.sleep(5.0)
    bench.line.press_keys("OK\r")
    await task
    assert await bench.tty.read_line() == "OK"
    assert len(bench.events_of(events.PrintingResumed)) == 1


@on_jumping_loop
async def test_a_forgotten_control_s_ends_with_a_bell():
    bench = TeletypeBench()
    task = await start_printing(bench)
    bench.line.press_keys("\x13")
    await asyncio.sleep(PAUSE_TIMEOUT_S + 60.0)
    await task
    assert bench.typing_unit.paper.bells == 1
    assert bench.events_of(events.PrintingResumed)[0].timed_out
    bench.assert_clean()


@on_jumping_loop
async def test_break_during_a_pause_ends_both():
    bench = TeletypeBench()
    async with bench.tty.until_break() as scope:
        asyncio.get_running_loop().call_later(3.0, bench.line.press_keys, "\x13")
        asyncio.get_running_loop().call_later(5.0, bench.line.press_break)
        await bench.tty.print(PROSE)
    assert scope.is_broken
    before = bench.typing_unit.strike_count
    await bench.tty.fresh_line()
    assert bench.typing_unit.strike_count > before


# A UART that is slower or faster than the clock.


@pytest.mark.parametrize("slow", [1.0, 1.002, 1.01])
@pytest.mark.parametrize("characters", [5_000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["sample", "whole"])
@on_jumping_loop
async def test_at_most_two_characters_are_below_the_driver_on_a_slow_line(slow, characters):
    line = TypingUnitLine(TypingUnit(), uart_s=0.1 * slow)
    bench = TeletypeBench(line=line, profile=FULL)
    rng = random.Random(33)
    while bench.typing_unit.strike_count < characters:
        # Short lines too: their carriage is home before the queue is empty.
        await bench.tty.print("".join(rng.choices("ETAOIN SHRDLU", k=rng.choice([5, 20, 36, 72, 200]))) + "\n")
    bench.assert_clean()


# Hang-up and reconnection.


@pytest.mark.parametrize("moment", [0.05, 0.31, 4.0, 7.25, 7.35, 7.44, 9.0, 30.0])
@on_jumping_loop
async def test_after_a_reconnection_the_sentence_continues(moment):
    bench = TeletypeBench(wait_for_line=True)
    task = asyncio.ensure_future(bench.tty.print(PROSE + "\n"))
    await asyncio.sleep(moment)
    bench.line.hang_up()
    assert bench.tty.hang_up_reason is not None
    assert await bench.tty.wait_for_hang_up() == bench.tty.hang_up_reason
    await asyncio.sleep(17.0)
    assert not task.done()
    bench.reconnect()
    await task
    await bench.tty.finish()
    bench.assert_clean()
    assert len(bench.events_of(events.LineReconnected)) == 1
    assert_printed(bench.typing_unit.paper.text(), PROSE)


def assert_printed(paper: str, text: str) -> None:
    """Checks that every word of the text is on the paper in order; a lost line may be there twice."""
    words = text.upper().split()
    lines = [line for line in paper.split("\n") if line]
    whole = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if not (after.startswith(line) and len(after) >= len(line))
    ]
    assert " ".join(whole).split() == words


@on_jumping_loop
async def test_a_character_below_the_driver_at_a_hang_up_is_struck_again():
    bench = TeletypeBench(wait_for_line=True)
    await bench.tty.print("HELLO\n")  # returns when the LF is written: the machine has not struck the O
    lost = TypingUnitLine(TypingUnit())
    bench.line.hang_up()
    bench.tty.attach(lost)
    await bench.tty.print("WORLD\n")
    assert lost.typing_unit.paper.text().split() == ["HELLO", "WORLD"]


@on_jumping_loop
async def test_a_line_that_was_surely_struck_is_not_struck_again():
    bench = TeletypeBench(wait_for_line=True)
    await bench.tty.print("HELLO\n")
    await asyncio.sleep(1.0)
    new_line = TypingUnitLine(TypingUnit())
    bench.line.hang_up()
    bench.tty.attach(new_line)
    await bench.tty.print("WORLD\n")
    assert new_line.typing_unit.paper.text().split() == ["WORLD"]


@pytest.mark.parametrize("seed", range(20))
@on_jumping_loop
async def test_hang_ups_at_any_moment_lose_no_word(seed):
    rng = random.Random(seed)
    bench = TeletypeBench(wait_for_line=True)
    task = asyncio.ensure_future(bench.tty.print(PROSE + "\n"))
    for _ in range(rng.randrange(1, 6)):
        await asyncio.sleep(rng.uniform(0.0, 12.0))
        bench.line.hang_up()
        await asyncio.sleep(rng.uniform(0.0, 3.0))
        bench.reconnect()
    await task
    await bench.tty.finish()
    bench.assert_clean()
    text = bench.typing_unit.paper.text()
    assert all(word in text.split() for word in PROSE.upper().split())
    assert text.rstrip().endswith("THE AGE OF WISDOM.")


@on_jumping_loop
async def test_a_line_that_is_typed_survives_a_hang_up():
    bench = TeletypeBench(wait_for_line=True)
    task = asyncio.ensure_future(bench.tty.read_line("> "))
    await asyncio.sleep(1.0)
    bench.line.press_keys("HELLO W")
    await asyncio.sleep(2.0)
    bench.line.hang_up()
    await asyncio.sleep(5.0)
    bench.reconnect()
    bench.line.press_keys("ORLD\r")
    assert await task == "HELLO WORLD"
    assert bench.typing_unit.paper.text().rstrip().endswith("\n> HELLO WORLD")


@on_jumping_loop
async def test_without_wait_for_line_a_hang_up_is_raised():
    bench = TeletypeBench()
    task = await start_printing(bench)
    bench.line.hang_up()
    with pytest.raises(LineLost):
        await task


@on_jumping_loop
async def test_closing_without_a_line_is_immediate():
    bench = TeletypeBench(wait_for_line=True)
    task = await start_printing(bench)
    bench.line.hang_up()
    await asyncio.sleep(1.0)
    before = bench.clock.now()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert bench.clock.now() == pytest.approx(before, abs=0.01)


# The motor.


@on_jumping_loop
async def test_nothing_is_struck_before_the_motor_is_up_to_speed():
    profile = Profile(duplex="full", motor="rts", spin_up_ms=1500, motor_idle_s=60)
    bench = TeletypeBench(profile=profile)
    await bench.tty.print("HELLO\n")
    assert bench.line.rts
    assert bench.typing_unit.strikes[0].start >= 1.5
    bench.assert_clean()
    await asyncio.sleep(30.0)
    assert bench.line.rts
    await asyncio.sleep(60.0)
    assert not bench.line.rts
    on, off = bench.events_of(events.MotorSwitched)
    assert (on.on, off.on) == (True, False)
    assert off.ran_s == pytest.approx(61.0, abs=3.0)
    before = bench.clock.now()
    await bench.tty.print("AGAIN\n")
    assert list(bench.typing_unit.strikes)[-7].start >= before + 1.5
    assert bench.tty.status().motor_on


# Events.


@on_jumping_loop
async def test_the_status_reports_the_state():
    bench = TeletypeBench()
    await bench.tty.print("HELLO ")
    await bench.tty.flush()
    status = bench.tty.status()
    assert (status.column, status.below, status.duplex) == (6, 2, "full")
    assert status.idle_ms == 200
    assert status.counters.struck == 8
    await bench.tty.finish()
    assert (bench.tty.status().below, bench.tty.status().idle_ms) == (0, 0)
    bench.line.press_keys("HELLO ASR33 HELLO TELETYPE")
    assert bench.tty.status().keyboard_parity == "even"
    assert bench.tty.status().counters.keyed == 26


@on_jumping_loop
async def test_strokes_of_two_tasks_come_one_after_the_other():
    bench = TeletypeBench()
    await asyncio.gather(bench.tty.print("ONE\n"), bench.tty.print("TWO\n"), bench.tty.print("THREE\n"))
    assert bench.typing_unit.paper.text().split() == ["ONE", "TWO", "THREE"]
    starts = [strike.start for strike in bench.typing_unit.strikes]
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(starts))
