import asyncio
import os
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fakes_teletype import JumpingClock, run_jumping, terminal
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock import WallClock
from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte, LineInput
from drivers.virtual import VirtualTeletype
from tools.virtual.terminal_keys import CTRL_C, KeyQueue, decode_keys, forward_keys


def never(dropped_keys: int) -> bool:
    return False


# Decoding of a terminal's bytes.


@pytest.mark.parametrize(
    "data", [b"\x1b[A", b"\x1bOP", b"\x1b[15~", b"\x1b[1;5C", b"\x1b[[A", b"\x1b[A\x1b[A", b"\x1b[?1;2c"]
)
def test_arrow_and_function_keys_are_dropped(data):
    assert decode_keys(data) == ""
    assert decode_keys(b"A" + data + b"\x03") == "A\x03"


def test_a_single_esc_is_the_alt_mode_key():
    assert decode_keys(b"\x1b") == "\x1b"
    assert decode_keys(b"\x1bRUN") == "\x1bRUN"


@given(st.binary())
def test_no_bytes_raise_an_error_and_ctrl_c_is_never_lost(data):
    assert decode_keys(data).count(CTRL_C) == data.count(b"\x03")


# Ctrl-C and waiting keys.


async def read_all(queue: KeyQueue) -> str:
    queue.put_keys("|")
    keys = ""
    while (key := await queue.next_key()) not in ("", "|"):
        keys += key
    return keys


async def test_ctrl_c_drops_all_waiting_keys():
    dropped: list[int] = []
    queue = KeyQueue(lambda dropped_keys: dropped.append(dropped_keys) is not None)
    queue.put_keys("PASTED")
    queue.put_keys(" TEXT\x03AB")
    assert await read_all(queue) == "\x03AB"
    assert dropped == [11]


async def test_after_ctrl_c_leaves_the_queue_is_closed():
    queue = KeyQueue(lambda dropped_keys: True)
    queue.put_keys("PASTED\x03AB")
    assert await queue.next_key() == ""


# Keys typed on a machine.


class FarEnd:
    """Collects the line input that the machine sends to the far end."""

    def __init__(self) -> None:
        self.inputs: list[LineInput] = []
        self.operator: asyncio.Task[None]
        self._more = asyncio.Event()

    def listen(self, received: LineInput) -> None:
        self.inputs.append(received)
        self._more.set()

    async def read_characters(self, count: int) -> str:
        """Waits for so many inputs; returns their characters, with `!` for a BREAK."""
        async with asyncio.timeout(30):
            while len(self.inputs) < count:
                self._more.clear()
                await self._more.wait()
        return "".join(chr(item.value & 0x7F) if isinstance(item, Byte) else "!" for item in self.inputs)


@asynccontextmanager
async def forwarding_keys(
    stdin: int, should_leave: Callable[[int], bool] = never, character_s: float = 0.0
) -> AsyncIterator[FarEnd]:
    far_end = FarEnd()
    async with VirtualTeletype(WallClock(), character_s=character_s) as machine:
        line = await open_line(machine.path)
        line.listen(far_end.listen)
        far_end.operator = asyncio.create_task(forward_keys(machine, should_leave, stdin))
        await asyncio.sleep(0)  # lets it start
        yield far_end
        far_end.operator.cancel()
        await asyncio.wait([far_end.operator])
        await line.close()


async def test_keys_of_a_terminal_are_keys_of_the_machine():
    with terminal() as (hand, stdin):
        async with forwarding_keys(stdin) as far_end:
            os.write(hand, b"Hi\r\n\x7f\x1b")
            assert await far_end.read_characters(6) == "HI\r\n\x7f\x1b"


async def test_undecodable_bytes_do_not_stop_the_keyboard():
    with terminal() as (hand, stdin):
        async with forwarding_keys(stdin) as far_end:
            os.write(hand, b"\xff\xc3\xa9{\x80A")
            assert await far_end.read_characters(1) == "A"


async def test_a_break_does_not_wait_behind_pasted_keys():
    with terminal() as (hand, stdin):
        async with forwarding_keys(stdin, character_s=0.1) as far_end:
            os.write(hand, b"A VERY LONG LINE OF PASTED TEXT\r")
            before = await far_end.read_characters(2)
            assert "A VERY LONG".startswith(before)
            os.write(hand, b"\x03")
            while "!" not in (keys := await far_end.read_characters(len(far_end.inputs) + 1)):
                pass
            assert keys.index("!") <= len(before) + 1
            assert isinstance(far_end.inputs[keys.index("!")], Break)
            assert keys.endswith("!")


async def test_ctrl_c_that_leaves_ends_forward_keys():
    with terminal() as (hand, stdin):
        async with forwarding_keys(stdin, lambda dropped_keys: dropped_keys == 0) as far_end:
            os.write(hand, b"\x03")
            async with asyncio.timeout(30):
                await far_end.operator
            assert far_end.inputs == []


async def test_a_closed_terminal_ends_forward_keys():
    master, slave = os.openpty()
    async with forwarding_keys(slave) as far_end:
        os.close(master)
        async with asyncio.timeout(30):
            await far_end.operator
    os.close(slave)


async def test_the_terminal_modes_are_restored_and_output_modes_never_change():
    with terminal() as (_, stdin):
        before = termios.tcgetattr(stdin)
        async with forwarding_keys(stdin):
            iflag, oflag, _, lflag, *_ = termios.tcgetattr(stdin)
            assert oflag == before[1]
            assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
            assert not iflag & (termios.ICRNL | termios.IXON)
        assert termios.tcgetattr(stdin) == before


async def test_lines_of_a_pipe_are_typed_and_its_end_does_not_end_forward_keys():
    read, write = os.pipe()
    async with forwarding_keys(read) as far_end:
        os.write(write, b"one\n\xff\x1btwo\n\x03")
        os.close(write)
        assert (await far_end.read_characters(1)).endswith("!")
        await asyncio.sleep(0.05)
        assert not far_end.operator.done()
    os.close(read)


def test_keys_are_typed_no_faster_than_the_machine_can_send():
    async def main() -> list[float]:
        clock = JumpingClock()
        read, write = os.pipe()
        moments: list[float] = []
        async with VirtualTeletype(clock) as machine:
            line = await open_line(machine.path)
            line.listen(lambda received: moments.append(clock.now()))
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
