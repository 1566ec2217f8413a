import asyncio
import os
import statistics
from itertools import pairwise

import pytest
from fakes_teletype import JumpingClock, raises_driver_error, run_jumping, wait_until

from drivers import errors, events
from drivers.clock import WallClock
from drivers.line.line import open_line
from drivers.teletype import Teletype
from drivers.virtual import Strike, VirtualTeletype

pytestmark = pytest.mark.pace

# On a pty.


async def test_one_byte_is_taken_per_character_time():
    async with VirtualTeletype(WallClock()) as machine:
        fd = os.open(machine.path, os.O_WRONLY | os.O_NOCTTY)
        os.write(fd, b"ABCDE")
        await wait_until(lambda: len(machine.typing_unit.strikes) >= 5)
        os.close(fd)
        starts = [strike_once.start for strike_once in machine.typing_unit.strikes]
        assert len(starts) == 5
        assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.1] * 4)
        assert machine.max_backlog >= 4
        assert machine.typing_unit.paper.text() == "ABCDE"


async def test_each_strike_is_reported():
    strikes: list[Strike] = []
    async with VirtualTeletype(WallClock(), character_s=0.0, on_strike=strikes.append) as machine:
        line = await open_line(machine.path)
        for byte in b"\x8d\x0aOK":
            line.write(byte)
        await line.drain()
        await wait_until(lambda: len(strikes) == 4)
        await line.close()
    assert bytes(strike_once.byte for strike_once in strikes) == b"\r\nOK"


def test_the_keyboard_is_no_faster_than_ten_a_second():
    async def main() -> None:
        clock = JumpingClock()
        async with VirtualTeletype(clock) as machine:
            line = await open_line(machine.path)
            received: list[events.Event] = []
            Teletype(line, clock, on_event=received.append)
            await machine.type("hello\r")
            await machine.type("\x7f")
            await asyncio.sleep(1)
            keys = [event for event in received if isinstance(event, events.KeyReceived)]
            assert bytes(event.byte for event in keys) == b"\x48\xc5\xcc\xcc\xcf\x8d\xff"
            assert [event.at for event in keys] == pytest.approx([n / 10 for n in range(1, 8)], abs=0.01)
            await line.close()

    run_jumping(main(), grace_s=0.02)


async def test_keys_that_do_not_exist_cannot_be_pressed():
    async with VirtualTeletype(WallClock()) as machine:
        for text in ("{", "~", "é", "A|"):
            with pytest.raises(errors.NoSuchKey, match="no key on a Model 33"):
                await machine.type(text)


async def measure_delays() -> list[float]:
    """Prints a prompt and an answer in real time; returns the delay of each strike in seconds."""
    clock = WallClock()
    async with VirtualTeletype(clock) as machine:
        line = await open_line(machine.path)
        received: list[events.Event] = []
        tty = Teletype(line, clock, on_event=received.append)
        operator = asyncio.create_task(machine.type("WHO\r"))
        assert await tty.read_line("? ") == "WHO"
        await operator
        await tty.print("The wheel never waits.\nNot here. ")
        await tty.finish()
        await machine.wait_until_idle()
        await line.close()
    struck = [event for event in received if isinstance(event, events.CharacterStruck)]
    strikes = list(machine.typing_unit.strikes)
    assert [event.byte for event in struck] == [strike_once.byte for strike_once in strikes]
    assert machine.typing_unit.paper.text() == "\n? WHO\nTHE WHEEL NEVER WAITS.\nNOT HERE."
    assert machine.typing_unit.driver_errors == []
    assert machine.max_backlog <= 3  # one byte that starts and one behind it; one more if this computer stalled
    return [strike_once.start - event.at for event, strike_once in zip(struck, strikes, strict=True)]


async def test_a_conversation_in_real_time_is_on_time_and_clean():
    for _ in range(3):  # the computer may be busy
        late = await measure_delays()
        assert min(late) > -0.005
        if statistics.median(late) < 0.005:
            return
    pytest.fail(f"late by {statistics.median(late):.4f} s in the median, three times")


async def test_break_over_the_pty_stops_the_paper():
    clock = WallClock()
    async with VirtualTeletype(clock) as machine:
        line = await open_line(machine.path)
        received: list[events.Event] = []
        tty = Teletype(line, clock, on_event=received.append)
        asyncio.get_running_loop().call_later(0.63, lambda: asyncio.ensure_future(machine.press_break()))
        async with tty.until_break() as scope:
            await tty.print("A long sentence that nobody will ever read to its end. ")
        assert scope.route == "break"
        await wait_until(lambda: tty.column == machine.typing_unit.column)
        await asyncio.sleep(0.4)
        (pressed,) = [event for event in received if isinstance(event, events.BreakPressed)]
        assert sum(strike_once.start > pressed.at for strike_once in machine.typing_unit.strikes) <= 2
        assert tty.column == machine.typing_unit.column
        await line.close()


# The link.


async def test_the_link_leads_to_the_pty_and_goes_with_it(tmp_path):
    link = tmp_path / "tty"
    async with VirtualTeletype(WallClock(), link=link) as machine:
        assert str(link.readlink()) == machine.path
    assert not link.is_symlink()


async def test_a_link_left_by_a_killed_machine_is_replaced(tmp_path):
    link = tmp_path / "tty"
    link.symlink_to("/dev/pts/9999")
    async with VirtualTeletype(WallClock(), link=link) as machine:
        assert str(link.readlink()) == machine.path


async def test_a_file_in_the_way_is_refused_and_left_alone(tmp_path):
    link = tmp_path / "tty"
    link.write_text("mine")
    with raises_driver_error("busy", match="remove it"):
        async with VirtualTeletype(WallClock(), link=link):
            pass
    assert link.read_text() == "mine"


async def test_a_link_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with raises_driver_error("missing", match="folder"):
        async with VirtualTeletype(WallClock(), link=tmp_path / "no" / "tty"):
            pass


async def test_a_link_to_a_pty_in_use_is_refused_and_kept(tmp_path):
    link = tmp_path / "tty"
    master, slave = os.openpty()
    try:
        link.symlink_to(os.ttyname(slave))
        with raises_driver_error("busy", match="which is in use: remove it, or name another --link"):
            async with VirtualTeletype(WallClock(), link=link):
                pass
        assert str(link.readlink()) == os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


# The second machine gets the pty of the first, unless another test opens one in between.
@pytest.mark.alone
async def test_a_stale_link_to_our_own_pty_is_reused(tmp_path):
    link = tmp_path / "tty"
    async with VirtualTeletype(WallClock()) as machine:
        link.symlink_to(machine.path)
    async with VirtualTeletype(WallClock(), link=link) as machine:
        assert str(link.readlink()) == machine.path


# The end.


class PaperOut(Exception):
    pass


class FailingCallback:
    """A callback for `on_strike` that fails at the first strike."""

    def __init__(self) -> None:
        self.blown = asyncio.Event()

    def __call__(self, strike_once: Strike) -> None:
        self.blown.set()
        raise PaperOut


async def strike_once(machine: VirtualTeletype, struck: asyncio.Event) -> None:
    line = await open_line(machine.path)
    line.write(0x41)
    async with asyncio.timeout(30):
        await struck.wait()
    await line.close()


async def test_wait_until_stopped_raises_the_failure(tmp_path):
    link, callback = tmp_path / "tty", FailingCallback()

    async def watch() -> None:
        async with VirtualTeletype(WallClock(), link=link, on_strike=callback) as machine, asyncio.timeout(30):
            await strike_once(machine, callback.blown)
            await machine.wait_until_stopped()
            pytest.fail("it runs")

    with pytest.raises(PaperOut):
        await watch()
    assert not link.is_symlink()


async def test_the_failure_is_raised_at_exit(tmp_path):
    link, callback = tmp_path / "tty", FailingCallback()
    with pytest.raises(PaperOut):
        async with VirtualTeletype(WallClock(), link=link, on_strike=callback) as machine:
            await strike_once(machine, callback.blown)
    assert not link.is_symlink()


async def test_a_cancelled_wait_does_not_stop_the_machine():
    struck = asyncio.Event()
    async with VirtualTeletype(WallClock(), character_s=0.0, on_strike=lambda strike_once: struck.set()) as machine:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await machine.wait_until_stopped()
        await strike_once(machine, struck)
        assert machine.typing_unit.paper.text() == "A"
