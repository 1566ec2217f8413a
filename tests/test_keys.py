import asyncio
import os
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fakes import JumpingClock, run_jumping, terminal
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import WallClock
from drivers.events import Break, Byte, LineInput
from drivers.line.line import open_line
from drivers.virtual import VirtualTeletype
from tools.cli.terminal_keys import CTRL_C, KeyQueue, decode_keys, forward_keys


def never(overtaken: int) -> bool:
    return False


# What a terminal sends.


@pytest.mark.parametrize(
    "data", [b"\x1b[A", b"\x1bOP", b"\x1b[15~", b"\x1b[1;5C", b"\x1b[[A", b"\x1b[A\x1b[A", b"\x1b[?1;2c"]
)
def test_arrow_and_function_keys_are_no_keys(data):
    assert decode_keys(data) == ""
    assert decode_keys(b"A" + data + b"\x03") == "A\x03"


def test_a_lone_esc_is_the_alt_mode_key():
    assert decode_keys(b"\x1b") == "\x1b"
    assert decode_keys(b"\x1bRUN") == "\x1bRUN"


@given(st.binary())
def test_no_bytes_are_an_error_and_control_c_is_never_lost(data):
    assert decode_keys(data).count(CTRL_C) == data.count(b"\x03")


# What Ctrl-C overtakes.


async def all_of(pressed: KeyQueue) -> str:
    pressed.put_keys("|")
    keys = ""
    while (key := await pressed.next_key()) not in ("", "|"):
        keys += key
    return keys


async def test_control_c_overtakes_all_that_was_pressed_before_it():
    told: list[int] = []
    pressed = KeyQueue(lambda overtaken: told.append(overtaken) is not None)
    pressed.put_keys("PASTED")
    pressed.put_keys(" TEXT\x03AB")
    assert await all_of(pressed) == "\x03AB"
    assert told == [11]


async def test_when_control_c_leaves_there_is_no_more():
    pressed = KeyQueue(lambda overtaken: True)
    pressed.put_keys("PASTED\x03AB")
    assert await pressed.next_key() == ""


# On a machine.


class Wired:
    """A machine whose keys are operated, and all that comes of it at the far end."""

    def __init__(self) -> None:
        self.heard: list[LineInput] = []
        self.operator: asyncio.Task[None]
        self._more = asyncio.Event()

    def listen(self, heard: LineInput) -> None:
        self.heard.append(heard)
        self._more.set()

    async def typed(self, count: int) -> str:
        """So many keys; a BREAK is `!`."""
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return "".join(chr(one.value & 0x7F) if isinstance(one, Byte) else "!" for one in self.heard)


@asynccontextmanager
async def operated(stdin: int, leaves: Callable[[int], bool] = never, character_s: float = 0.0) -> AsyncIterator[Wired]:
    wired = Wired()
    async with VirtualTeletype(WallClock(), character_s=character_s) as machine:
        line = await open_line(machine.path)
        line.listen(wired.listen)
        wired.operator = asyncio.create_task(forward_keys(machine, leaves, stdin))
        await asyncio.sleep(0)  # it listens
        yield wired
        wired.operator.cancel()
        await asyncio.wait([wired.operator])
        await line.close()


async def test_keys_of_a_terminal_are_keys_of_the_machine():
    with terminal() as (hand, stdin):
        async with operated(stdin) as wired:
            os.write(hand, b"Hi\r\n\x7f\x1b")
            assert await wired.typed(6) == "HI\r\n\x7f\x1b"


async def test_bytes_that_are_no_keys_and_no_text_do_not_stop_the_keyboard():
    with terminal() as (hand, stdin):
        async with operated(stdin) as wired:
            os.write(hand, b"\xff\xc3\xa9{\x80A")
            assert await wired.typed(1) == "A"


async def test_a_break_does_not_wait_behind_what_was_pasted():
    with terminal() as (hand, stdin):
        async with operated(stdin, character_s=0.1) as wired:
            os.write(hand, b"A VERY LONG LINE OF PASTED TEXT\r")
            before = await wired.typed(2)
            assert "A VERY LONG".startswith(before)
            os.write(hand, b"\x03")
            while "!" not in (keys := await wired.typed(len(wired.heard) + 1)):
                pass
            assert keys.index("!") <= len(before) + 1
            assert isinstance(wired.heard[keys.index("!")], Break)
            assert keys.endswith("!")


async def test_control_c_that_leaves_ends_the_work():
    with terminal() as (hand, stdin):
        async with operated(stdin, lambda overtaken: overtaken == 0) as wired:
            os.write(hand, b"\x03")
            async with asyncio.timeout(30):
                await wired.operator
            assert wired.heard == []


async def test_a_terminal_that_is_closed_ends_the_work():
    master, slave = os.openpty()
    async with operated(slave) as wired:
        os.close(master)
        async with asyncio.timeout(30):
            await wired.operator
    os.close(slave)


async def test_the_terminal_is_as_before_afterwards_and_its_output_always():
    with terminal() as (_, stdin):
        before = termios.tcgetattr(stdin)
        async with operated(stdin):
            iflag, oflag, _, lflag, *_ = termios.tcgetattr(stdin)
            assert oflag == before[1]
            assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
            assert not iflag & (termios.ICRNL | termios.IXON)
        assert termios.tcgetattr(stdin) == before


async def test_lines_of_a_pipe_are_typed_and_its_end_is_not_the_end():
    read, write = os.pipe()
    async with operated(read) as wired:
        os.write(write, b"one\n\xff\x1btwo\n\x03")
        os.close(write)
        assert (await wired.typed(1)).endswith("!")
        await asyncio.sleep(0.05)
        assert not wired.operator.done()
    os.close(read)


def test_the_machine_is_not_typed_at_faster_than_it_can():
    async def main() -> list[float]:
        clock = JumpingClock()
        read, write = os.pipe()
        moments: list[float] = []
        async with VirtualTeletype(clock) as machine:
            line = await open_line(machine.path)
            line.listen(lambda heard: moments.append(clock.now()))
            operator = asyncio.create_task(forward_keys(machine, never, read))
            os.write(write, b"ABCD\n")
            os.close(write)
            await asyncio.sleep(2)
            operator.cancel()
            await line.close()
        os.close(read)
        return moments

    moments = run_jumping(main(), grace_s=0.02)
    assert [moment - moments[0] for moment in moments] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=0.02)
