import asyncio
import errno
import os
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from fakes import JumpingClock, run_jumping
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import WallClock
from drivers.errors import NoSuchKey
from drivers.events import Break, Byte, FramingError, HangUp, LineInput
from drivers.line.line import Line, open_line
from drivers.profile import Profile
from drivers.virtual import Equipment, Faults, PtyPort, VirtualTeletype, encode_drum

pytestmark = pytest.mark.pace

GRACE_S = 0.01  # real time, before each jump: a pty hands its bytes on a moment later
HALF = Profile(duplex="half")


class Host:
    """The far end of the line: it writes at its own pace, and keeps what it hears and when."""

    def __init__(self, machine: VirtualTeletype, line: Line, clock: JumpingClock) -> None:
        self.machine = machine
        self.line = line
        self.clock = clock
        self.heard: list[LineInput] = []
        self.at: list[float] = []
        line.listen(self.listen)

    def listen(self, heard: LineInput) -> None:
        self.heard.append(heard)
        self.at.append(self.clock.now())

    @property
    def data(self) -> bytes:
        """The characters, without the parity bit."""
        return bytes(one.value & 0x7F for one in self.heard if isinstance(one, Byte))

    async def say(self, text: bytes, every_s: float = 0.1) -> None:
        begin = self.clock.now()
        for n, byte in enumerate(text):
            await self.clock.sleep_until(begin + n * every_s)
            self.line.write(byte)

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)


@asynccontextmanager
async def hosted(marked: bool = True, **options: Any) -> AsyncIterator[Host]:
    clock = JumpingClock()
    async with VirtualTeletype(clock, **options) as machine:
        line = await open_line(machine.path, marked)
        yield Host(machine, line, clock)
        await line.close()


# What a pty can and cannot do.


@given(st.binary(max_size=300))
@settings(max_examples=20)
def test_bytes_pass_a_pty_unchanged_with_parmrk_clear(data):
    async def main() -> bytes:
        port = PtyPort(WallClock())
        port.plug_in()
        fd = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            assert not termios.tcgetattr(fd)[0] & termios.PARMRK
            assert port.write(data) == 0
            came = b""
            while len(came) < len(data):
                came += os.read(fd, 4096)
            return came
        finally:
            os.close(fd)
            port.unplug()

    assert asyncio.run(main()) == data


def test_what_a_mark_would_become_with_parmrk_set():
    master, slave = os.openpty()
    try:
        modes = termios.tcgetattr(slave)
        modes[0], modes[1], modes[3] = termios.PARMRK, 0, 0
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        os.write(master, b"A\xff\x00\x00B")
        assert os.read(slave, 99) == b"A\xff\xff\x00\x00B"  # so the machine marks, and the kernel may not
    finally:
        os.close(master)
        os.close(slave)


# BREAK and duplex, over the wire.


@pytest.mark.parametrize(("mode", "heard"), [("marked", [Break()]), ("nul", [Byte(0x00)]), ("none", [])])
def test_a_break_comes_as_the_adapter_makes_it(mode, heard):
    async def main() -> list[LineInput]:
        async with hosted(marked=mode == "marked", fitted=Equipment(break_mode=mode)) as host:
            await host.machine.press_break()
            await host.wait(0.1)
            return host.heard

    assert run_jumping(main(), GRACE_S) == heard


@pytest.mark.parametrize(("mode", "spoilt"), [("marked", Break()), ("none", Byte(0x00))])
def test_in_half_duplex_a_break_is_seen_in_the_echo_whatever_the_adapter(mode, spoilt):
    async def main() -> list[LineInput]:
        fitted = Equipment(profile=HALF, break_mode=mode)
        async with hosted(marked=mode == "marked", fitted=fitted) as host:
            await asyncio.gather(host.say(b"A" * 12), _later(host, 0.55, host.machine.press_break(0.3)))
            await host.wait(0.5)
            return host.heard

    heard = run_jumping(main(), GRACE_S)
    assert heard.count(Byte(0x41)) >= 7
    assert heard.count(spoilt) >= 3
    assert set(heard) == {Byte(0x41), spoilt}


async def _later(host: Host, seconds: float, work: Any) -> None:
    await host.wait(seconds)
    await work


def test_rubout_is_doubled_on_the_marked_line_and_the_echo_too():
    async def main() -> tuple[list[LineInput], str]:
        async with hosted(fitted=Equipment(profile=HALF)) as host:
            await host.say(b"\xff\x00")
            await host.machine.wait_until_idle()
            await host.machine.type("\x7fa")
            await host.wait(0.2)
            return host.heard, host.machine.typing_unit.paper.text()

    assert run_jumping(main(), GRACE_S) == ([Byte(0xFF), Byte(0x00), Byte(0xFF), Byte(0x41)], "A")


# The operator.


def test_rept_repeats_at_ten_a_second_and_chords_are_what_they_say():
    async def main() -> Host:
        async with hosted(fitted=Equipment(key_parity="space")) as host:
            await host.machine.type_chord("X", times=5)
            await host.machine.type_chord("K", shift=True, ctrl=True)
            await host.wait(0.1)
            with pytest.raises(NoSuchKey):
                await host.machine.type_chord("A", shift=True, times=3)
            return host

    host = run_jumping(main(), GRACE_S)
    assert host.data == b"XXXXX\x1b"
    assert [b - a for a, b in pairwise(host.at)] == pytest.approx([0.1] * 5, abs=0.02)


def test_several_hands_lock_each_other_out():
    async def main() -> Host:
        async with hosted() as host:
            hands = [host.machine.type(key * 4) for key in "ABCD"]
            await asyncio.gather(*hands, host.machine.press_break())
            await host.wait(0.1)
            return host

    host = run_jumping(main(), GRACE_S)
    assert sorted(host.data) == sorted(b"ABCD" * 4)
    assert all(b - a > 0.08 for a, b in pairwise(host.at))


def test_here_is_and_the_readers_lever_are_worked_by_hand():
    async def main() -> bytes:
        fitted = Equipment(profile=Profile(answerback=True), answerback_rows=encode_drum("HI"), tape=b"TAPE")
        async with hosted(fitted=fitted) as host:
            host.machine.here_is()
            await host.wait(2.5)
            host.machine.start_reader()
            await host.wait(1.0)
            return host.data

    assert run_jumping(main(), GRACE_S) == b"HITAPE"


def test_a_tape_goes_through_a_machine_without_pace_whole():
    async def main() -> bytes:
        fitted = Equipment(profile=Profile(auto_reader=True), tape=bytes(range(0x20, 0x60)) * 9)
        async with hosted(fitted=fitted, character_s=0.0) as host:
            host.line.write(0x11)
            await host.wait(2.0)
            return host.data

    assert run_jumping(main(), GRACE_S / 10) == bytes(range(0x20, 0x60)) * 9


# Faults on purpose, each provoked and seen.


def test_a_bad_line_loses_doubles_and_flips_in_both_directions():
    async def main() -> tuple[bytes, list[int], int]:
        faults = Faults(lost=0.2, doubled=0.2, flipped=0.2)
        async with hosted(faults=faults, fitted=Equipment(profile=HALF)) as host:
            await host.say(b"U" * 60)
            await host.machine.wait_until_idle()
            await host.wait(0.3)
            return host.data, [strike.byte for strike in host.machine.typing_unit.strikes], host.machine.received_bytes

    data, struck, taken = run_jumping(main(), GRACE_S / 2)
    assert taken == 60
    assert struck != [0x55] * 60
    assert set(struck) - {0x55}
    assert data != bytes(struck)


@pytest.mark.parametrize(
    ("faults", "paper"),
    [(Faults(doubled=1.0), "AABBCC"), (Faults(lost=1.0), ""), (Faults(), "ABC")],
    ids=["doubled", "lost", "good"],
)
def test_a_doubled_character_is_struck_twice_and_a_lost_one_not_at_all(faults, paper):
    async def main() -> VirtualTeletype:
        async with hosted(faults=faults) as host:
            await host.say(b"ABC")
            await host.machine.wait_until_idle()
            return host.machine

    machine = run_jumping(main(), GRACE_S).typing_unit
    assert machine.paper.text() == paper
    assert machine.overspeed == []


def test_marks_that_are_split_come_together():
    async def main() -> list[LineInput]:
        async with hosted(faults=Faults(split=True)) as host:
            for _ in range(6):
                await host.machine.press_break(0.1)
                await host.machine.type("\x7f")
            await host.wait(0.1)
            return host.heard

    assert run_jumping(main(), GRACE_S) == [Break(), Byte(0xFF)] * 6


@pytest.mark.parametrize(("skew", "every_s"), [(0.01, 0.101), (-0.01, 0.099)])
def test_a_slow_line_and_a_fast_one_keep_their_own_time_and_it_is_no_haste(skew, every_s):
    async def main() -> VirtualTeletype:
        async with hosted(faults=Faults(skew=skew)) as host:
            await host.say(b"A" * 40, every_s=0.0)
            await host.machine.wait_until_idle()
            return host.machine

    machine = run_jumping(main(), GRACE_S / 2)
    starts = [strike.start for strike in machine.typing_unit.strikes]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([every_s] * 39)
    assert machine.typing_unit.overspeed == []


def test_one_byte_is_never_behind_more_than_the_one_before_for_a_driver_that_keeps_time():
    async def main() -> tuple[int, list[object]]:
        async with hosted() as host:
            await host.say(b"THE WHEEL NEVER WAITS")
            await host.machine.wait_until_idle()
            return host.machine.max_backlog, list(host.machine.typing_unit.faults)

    backlog, faults = run_jumping(main(), GRACE_S)
    assert backlog <= 2
    assert faults == []


def test_a_driver_that_writes_all_at_once_is_seen_by_its_backlog():
    async def main() -> int:
        async with hosted() as host:
            await host.say(b"A" * 30, every_s=0.0)
            await host.wait(0.5)
            assert host.machine.received_bytes <= 7  # the rest lies in the kernel, where it can be counted
            await host.machine.wait_until_idle()
            return host.machine.max_backlog

    assert run_jumping(main(), GRACE_S) >= 25


async def test_unplugged_the_far_end_reads_nothing_and_then_an_error():
    async with VirtualTeletype(WallClock()) as machine:
        fd = os.open(machine.path, os.O_RDWR | os.O_NOCTTY)
        machine.unplug()
        try:
            assert os.read(fd, 1) == b""
            with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is looked at
                os.write(fd, b"A")
            assert raised.value.errno == errno.EIO
        finally:
            os.close(fd)


def test_plugged_in_again_it_is_under_the_same_link_and_prints_on_the_same_sheet(tmp_path):
    link = tmp_path / "tty"

    async def main() -> tuple[list[LineInput], str]:
        async with hosted(link=link) as host:
            await host.say(b"BEFORE")
            await host.machine.wait_until_idle()
            host.machine.unplug()
            assert not link.is_symlink()
            await host.machine.type("A")  # into the air
            await host.wait(1.0)
            host.machine.plug_in()
            assert str(link.readlink()) == host.machine.path
            line = await open_line(str(link), True)
            line.write(0x21)
            await host.wait(0.5)
            await line.close()
            return host.heard, host.machine.typing_unit.paper.text()

    heard, paper = run_jumping(main(), GRACE_S)
    assert [type(one) for one in heard] == [HangUp]
    assert paper == "BEFORE!"


def test_a_cable_may_fall_out_after_so_many_bytes_and_is_put_back():
    async def main() -> tuple[list[LineInput], bool, str]:
        async with hosted(faults=Faults(unplug_after=5)) as host:
            for byte in b"HELLO":
                host.line.write(byte)
            await host.wait(2.0)
            out = host.machine.is_plugged
            await host.wait(3.0)
            line = await open_line(host.machine.path, True)
            line.write(0x21)
            await host.wait(0.5)
            await line.close()
            return host.heard, out, host.machine.typing_unit.paper.text()

    heard, out, paper = run_jumping(main(), GRACE_S)
    assert [type(one) for one in heard] == [HangUp]
    assert not out
    assert paper == "HELLO!"


def test_pulling_and_plugging_at_any_moment_ends_no_machine():
    async def main() -> str:
        async with VirtualTeletype(JumpingClock()) as machine:
            for _ in range(20):
                machine.unplug()
                machine.unplug()
                machine.plug_in()
                await asyncio.sleep(0)
                machine.unplug()
                await asyncio.sleep(0)
                machine.plug_in()
                machine.plug_in()
            line = await open_line(machine.path, True)
            line.write(0x41)
            await asyncio.sleep(0.3)
            await line.close()
            machine.unplug()
            return machine.typing_unit.paper.text()

    assert run_jumping(main(), GRACE_S) == "A"


def test_an_open_loop_after_so_many_bytes_is_one_break_and_chatter():
    async def main() -> tuple[list[LineInput], int, str]:
        async with hosted(faults=Faults(open_after=3)) as host:
            await host.say(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            await host.machine.wait_until_idle()
            return host.heard, host.machine.typing_unit.open_line_cycles, host.machine.typing_unit.paper.text()

    heard, blanks, paper = run_jumping(main(), GRACE_S)
    assert heard == [Break()]
    assert blanks == 10
    assert paper.startswith("A")
    assert paper.endswith("XYZ")
    assert 14 <= len(paper) <= 18


def test_a_cold_motor_loses_and_garbles_what_comes_in_its_first_two_seconds():
    async def main() -> str:
        async with hosted(faults=Faults(cold=True)) as host:
            await host.say(b"THE QUICK BROWN FOX JUMPS OVER")
            await host.machine.wait_until_idle()
            return host.machine.typing_unit.paper.text()

    paper = run_jumping(main(), GRACE_S)
    assert paper.endswith("JUMPS OVER")
    assert "QUICK" not in paper


async def test_a_machine_may_be_left_while_the_cable_is_out():
    async with VirtualTeletype(WallClock()) as machine:
        await asyncio.sleep(0)
        machine.unplug()
        await asyncio.sleep(0)


def test_a_frame_that_a_line_has_damaged_is_told_as_one():
    async def main() -> list[LineInput]:
        async with hosted(fitted=Equipment(profile=HALF)) as host:
            host.line.write(0x55)
            await host.wait(0.03)
            await host.machine.type("5")  # 35
            await host.wait(0.2)
            return host.heard

    assert run_jumping(main(), GRACE_S) == [FramingError(0x55 & 0x35)]
