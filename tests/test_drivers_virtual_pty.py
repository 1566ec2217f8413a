import asyncio
import errno
import os
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from fakes_teletype import JumpingClock, on_jumping_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import WallClock
from drivers.errors import NoSuchKey
from drivers.line.line import Line, open_line
from drivers.line.line_input import Break, Byte, FramingError, HangUp, LineInput
from drivers.profile import Profile
from drivers.virtual import Equipment, Faults, PtyPort, VirtualTeletype, encode_drum

pytestmark = pytest.mark.pace

GRACE_S = 0.01  # real time before each jump: a pty passes on its bytes a moment later
HALF = Profile(duplex="half")


class Host:
    """The host: it writes at its own pace, and records its input with the times."""

    def __init__(self, machine: VirtualTeletype, line: Line, clock: JumpingClock) -> None:
        self.machine = machine
        self.line = line
        self.clock = clock
        self.inputs: list[LineInput] = []
        self.at: list[float] = []
        line.listen(self.listen)

    def listen(self, line_input: LineInput) -> None:
        self.inputs.append(line_input)
        self.at.append(self.clock.now())

    @property
    def data(self) -> bytes:
        """The received characters, without the parity bit."""
        return bytes(line_input.value & 0x7F for line_input in self.inputs if isinstance(line_input, Byte))

    async def say(self, text: bytes, every_s: float = 0.1) -> None:
        begin = self.clock.now()
        for n, byte in enumerate(text):
            await self.clock.sleep_until(begin + n * every_s)
            self.line.write(byte)

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + seconds)


@asynccontextmanager
async def open_host(marked: bool = True, **options: Any) -> AsyncIterator[Host]:
    clock = JumpingClock()
    async with VirtualTeletype(clock, **options) as machine:
        line = await open_line(machine.path, marked)
        yield Host(machine, line, clock)
        await line.close()


# Limits of a pty.


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
            received = b""
            while len(received) < len(data):
                received += os.read(fd, 4096)
            return received
        finally:
            os.close(fd)
            port.unplug()

    assert asyncio.run(main()) == data


def test_parmrk_would_double_a_mark():
    master, slave = os.openpty()
    try:
        modes = termios.tcgetattr(slave)
        modes[0], modes[1], modes[3] = termios.PARMRK, 0, 0
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        os.write(master, b"A\xff\x00\x00B")
        assert os.read(slave, 99) == b"A\xff\xff\x00\x00B"  # so the machine marks, and the kernel must not
    finally:
        os.close(master)
        os.close(slave)


# BREAK and duplex, over the line.


@pytest.mark.parametrize(("mode", "inputs"), [("marked", [Break()]), ("nul", [Byte(0x00)]), ("none", [])])
@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_break_is_encoded_as_by_the_adapter(mode, inputs):
    async with open_host(marked=mode == "marked", equipment=Equipment(break_mode=mode)) as host:
        await host.machine.press_break()
        await host.wait(0.1)
    assert host.inputs == inputs


@pytest.mark.parametrize(("mode", "spoilt"), [("marked", Break()), ("none", Byte(0x00))])
@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_in_half_duplex_a_break_is_seen_in_the_echo_whatever_the_adapter(mode, spoilt):
    fitted = Equipment(profile=HALF, break_mode=mode)
    async with open_host(marked=mode == "marked", equipment=fitted) as host:
        await asyncio.gather(host.say(b"A" * 12), _later(host, 0.55, host.machine.press_break(0.3)))
        await host.wait(0.5)
    assert host.inputs.count(Byte(0x41)) >= 7
    assert host.inputs.count(spoilt) >= 3
    assert set(host.inputs) == {Byte(0x41), spoilt}


async def _later(host: Host, seconds: float, work: Any) -> None:
    await host.wait(seconds)
    await work


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_rubout_is_doubled_on_the_marked_line_and_the_echo_too():
    async with open_host(equipment=Equipment(profile=HALF)) as host:
        await host.say(b"\xff\x00")
        await host.machine.wait_until_idle()
        await host.machine.type("\x7fa")
        await host.wait(0.2)
    assert host.inputs == [Byte(0xFF), Byte(0x00), Byte(0xFF), Byte(0x41)]
    assert host.machine.typing_unit.paper.text() == "A"


# The operator.


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_rept_repeats_at_ten_a_second():
    async with open_host(equipment=Equipment(key_parity="space")) as host:
        await host.machine.type_chord("X", times=5)
        await host.machine.type_chord("K", shift=True, ctrl=True)
        await host.wait(0.1)
        with pytest.raises(NoSuchKey):
            await host.machine.type_chord("A", shift=True, times=3)
    assert host.data == b"XXXXX\x1b"
    assert [b - a for a, b in pairwise(host.at)] == pytest.approx([0.1] * 5, abs=0.02)


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_concurrent_keys_lock_each_other_out():
    async with open_host() as host:
        operators = [host.machine.type(key * 4) for key in "ABCD"]
        await asyncio.gather(*operators, host.machine.press_break())
        await host.wait(0.1)
    assert sorted(host.data) == sorted(b"ABCD" * 4)
    assert all(b - a > 0.08 for a, b in pairwise(host.at))


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_here_is_and_the_reader_lever_work():
    fitted = Equipment(profile=Profile(answerback=True), answerback_rows=encode_drum("HI"), tape=b"TAPE")
    async with open_host(equipment=fitted) as host:
        host.machine.here_is()
        await host.wait(2.5)
        host.machine.start_reader()
        await host.wait(1.0)
    assert host.data == b"HITAPE"


@partial(on_jumping_loop, grace_s=GRACE_S / 10)
async def test_without_pacing_a_tape_is_read_completely():
    fitted = Equipment(profile=Profile(auto_reader=True), tape=bytes(range(0x20, 0x60)) * 9)
    async with open_host(equipment=fitted, character_s=0.0) as host:
        host.line.write(0x11)
        await host.wait(2.0)
    assert host.data == bytes(range(0x20, 0x60)) * 9


# Simulated faults.


@partial(on_jumping_loop, grace_s=GRACE_S / 2)
async def test_a_bad_line_loses_doubles_and_flips_in_both_directions():
    faults = Faults(lost=0.2, doubled=0.2, flipped=0.2)
    async with open_host(faults=faults, equipment=Equipment(profile=HALF)) as host:
        await host.say(b"U" * 60)
        await host.machine.wait_until_idle()
        await host.wait(0.3)
    struck = [strike.byte for strike in host.machine.typing_unit.strikes]
    assert host.machine.received_bytes == 60
    assert struck != [0x55] * 60
    assert set(struck) - {0x55}
    assert host.data != bytes(struck)


@pytest.mark.parametrize(
    ("faults", "paper"),
    [(Faults(doubled=1.0), "AABBCC"), (Faults(lost=1.0), ""), (Faults(), "ABC")],
    ids=["doubled", "lost", "good"],
)
@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_doubled_character_is_struck_twice_and_a_lost_one_not_at_all(faults, paper):
    async with open_host(faults=faults) as host:
        await host.say(b"ABC")
        await host.machine.wait_until_idle()
    assert host.machine.typing_unit.paper.text() == paper
    assert host.machine.typing_unit.overspeed == []


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_split_marks_are_decoded():
    async with open_host(faults=Faults(split=True)) as host:
        for _ in range(6):
            await host.machine.press_break(0.1)
            await host.machine.type("\x7f")
        await host.wait(0.1)
    assert host.inputs == [Break(), Byte(0xFF)] * 6


@pytest.mark.parametrize(("skew", "every_s"), [(0.01, 0.101), (-0.01, 0.099)])
@partial(on_jumping_loop, grace_s=GRACE_S / 2)
async def test_a_skewed_line_clock_is_no_overspeed(skew, every_s):
    async with open_host(faults=Faults(skew=skew)) as host:
        await host.say(b"A" * 40, every_s=0.0)
        await host.machine.wait_until_idle()
    starts = [strike.start for strike in host.machine.typing_unit.strikes]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([every_s] * 39)
    assert host.machine.typing_unit.overspeed == []


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_paced_driver_has_a_backlog_of_at_most_two():
    async with open_host() as host:
        await host.say(b"THE WHEEL NEVER WAITS")
        await host.machine.wait_until_idle()
    assert host.machine.max_backlog <= 2
    assert host.machine.typing_unit.driver_errors == []


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_an_unpaced_driver_shows_in_the_backlog():
    async with open_host() as host:
        await host.say(b"A" * 30, every_s=0.0)
        await host.wait(0.5)
        assert host.machine.received_bytes <= 7  # the rest lies in the kernel, where it can be counted
        await host.machine.wait_until_idle()
    assert host.machine.max_backlog >= 25


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


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_machine_plugged_in_again_has_the_same_link_and_the_same_sheet(tmp_path):
    link = tmp_path / "tty"
    async with open_host(link=link) as host:
        await host.say(b"BEFORE")
        await host.machine.wait_until_idle()
        host.machine.unplug()
        assert not link.is_symlink()
        await host.machine.type("A")  # lost
        await host.wait(1.0)
        host.machine.plug_in()
        assert str(link.readlink()) == host.machine.path
        line = await open_line(str(link), True)
        line.write(0x21)
        await host.wait(0.5)
        await line.close()
    assert [type(line_input) for line_input in host.inputs] == [HangUp]
    assert host.machine.typing_unit.paper.text() == "BEFORE!"


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_cable_may_fall_out_after_so_many_bytes_and_is_put_back():
    async with open_host(faults=Faults(unplug_after=5)) as host:
        for byte in b"HELLO":
            host.line.write(byte)
        await host.wait(2.0)
        assert not host.machine.is_plugged
        await host.wait(3.0)
        line = await open_line(host.machine.path, True)
        line.write(0x21)
        await host.wait(0.5)
        await line.close()
    assert [type(line_input) for line_input in host.inputs] == [HangUp]
    assert host.machine.typing_unit.paper.text() == "HELLO!"


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_unplugging_at_any_moment_does_not_stop_the_machine():
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
    assert machine.typing_unit.paper.text() == "A"


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_an_open_loop_after_so_many_bytes_is_one_break_and_chatter():
    async with open_host(faults=Faults(open_after=3)) as host:
        await host.say(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        await host.machine.wait_until_idle()
    assert host.inputs == [Break()]
    assert host.machine.typing_unit.open_line_cycles == 10
    paper = host.machine.typing_unit.paper.text()
    assert paper.startswith("A")
    assert paper.endswith("XYZ")
    assert 14 <= len(paper) <= 18


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_cold_motor_loses_and_garbles_what_comes_in_its_first_two_seconds():
    async with open_host(faults=Faults(cold=True)) as host:
        await host.say(b"THE QUICK BROWN FOX JUMPS OVER")
        await host.machine.wait_until_idle()
    paper = host.machine.typing_unit.paper.text()
    assert paper.endswith("JUMPS OVER")
    assert "QUICK" not in paper


async def test_a_machine_may_be_left_while_the_cable_is_out():
    async with VirtualTeletype(WallClock()) as machine:
        await asyncio.sleep(0)
        machine.unplug()
        await asyncio.sleep(0)


@partial(on_jumping_loop, grace_s=GRACE_S)
async def test_a_damaged_character_stays_a_framing_error():
    async with open_host(equipment=Equipment(profile=HALF)) as host:
        host.line.write(0x55)
        await host.wait(0.03)
        await host.machine.type("5")  # octal 35
        await host.wait(0.2)
    assert host.inputs == [FramingError(0x55 & 0x35)]
