import asyncio
import os
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import errors
from drivers.events import Break, Byte, Frame, HangUp, Heard, Marking
from drivers.line import Line, open_line

ROOT = os.geteuid() == 0


class FarEnd:
    """A pty whose near end is a line; this is its other end."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(slave)
        self.slave: int | None = slave

    def fill(self) -> None:
        """As many bytes as a pty holds, about 20,000, so that a line has to wait."""
        assert self.slave is not None
        os.set_blocking(self.slave, False)
        # The kernel moves what it has taken on to the far end in its own time, and then there is room again.
        refused_since = None
        while refused_since is None or time.monotonic() < refused_since + 0.1:
            try:
                os.write(self.slave, b"A" * 1000)
                refused_since = None
            except BlockingIOError:
                refused_since = refused_since or time.monotonic()

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        for fd in (self.master, self.slave):
            if fd is not None and fd >= 0:
                os.close(fd)


@contextmanager
def far_end() -> Iterator[FarEnd]:
    end = FarEnd()
    try:
        yield end
    finally:
        end.close()


class Listener:
    """All that was heard, and a way to wait for so and so much of it."""

    def __init__(self, line: Line) -> None:
        self.heard: list[Heard] = []
        self._more = asyncio.Event()
        line.listen(self._listen)

    def _listen(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._more.set()

    async def first(self, count: int) -> list[Heard]:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


async def read_from(end: FarEnd, count: int) -> bytes:
    data = b""
    async with asyncio.timeout(5):
        while len(data) < count:
            try:
                data += os.read(end.master, count - len(data))
            except BlockingIOError:
                await asyncio.sleep(0.002)
    return data


# Marking.

HEARD = st.lists(
    st.one_of(
        st.builds(Byte, st.integers(0, 255)),
        st.just(Break()),
        st.builds(Frame, st.integers(1, 255)),
        st.just(Byte(0xFF)),
    )
)


def marked(heard: list[Heard]) -> bytes:
    """The kernel's side of it."""
    data = b""
    for one in heard:
        if isinstance(one, Break):
            data += b"\xff\x00\x00"
        elif isinstance(one, Frame):
            data += bytes((0xFF, 0x00, one.value))
        elif isinstance(one, Byte):
            data += b"\xff\xff" if one.value == 0xFF else bytes((one.value,))
    return data


@given(HEARD, st.lists(st.integers(0, 60)))
def test_marks_are_decoded_at_any_split(heard, cuts):
    data = marked(heard)
    edges = [0, *sorted(cuts), len(data)]
    marking = Marking()
    assert [one for a, b in pairwise(edges) for one in marking.feed(data[a:b])] == heard


@given(st.binary())
def test_no_bytes_are_an_error(data):
    assert len(Marking().feed(data)) <= len(data)


def test_a_far_end_that_does_not_double_ff_loses_nothing():
    assert Marking().feed(b"\xffA") == [Byte(0xFF), Byte(0x41)]


# The port.


async def test_bytes_go_both_ways_over_a_pty():
    with far_end() as end:
        line = await open_line(end.path)
        listener = Listener(line)
        for byte in b"\x8d\x0aA":
            line.write(byte)
            await line.drain()
        assert await read_from(end, 3) == b"\x8d\x0aA"
        os.write(end.master, b"\xc8\x0d\x03\x11\x13\x04")
        assert await listener.first(6) == [Byte(value) for value in b"\xc8\x0d\x03\x11\x13\x04"]
        await line.close()
        assert len(listener.heard) == 6


async def test_a_break_comes_marked_from_the_far_end_even_in_pieces():
    with far_end() as end:
        line = await open_line(end.path)
        listener = Listener(line)
        for piece in (b"A\xff", b"\x00", b"\x00\xff\xff"):
            os.write(end.master, piece)
            await asyncio.sleep(0.01)
        assert await listener.first(3) == [Byte(0x41), Break(), Byte(0xFF)]
        await line.close()


async def test_marking_can_be_turned_off_for_a_program_that_does_not_double_ff():
    with far_end() as end:
        line = await open_line(end.path, marked=False)
        listener = Listener(line)
        os.write(end.master, b"\xff\x00\x00")
        assert await listener.first(3) == [Byte(0xFF), Byte(0), Byte(0)]
        await line.close()


async def test_what_comes_before_anyone_listens_is_kept():
    with far_end() as end:
        line = await open_line(end.path)
        os.write(end.master, b"AB")
        await asyncio.sleep(0.02)
        assert await Listener(line).first(2) == [Byte(0x41), Byte(0x42)]
        await line.close()


async def test_the_port_is_set_8n2_at_110_with_nothing_eaten_on_the_way():
    with far_end() as end:
        line = await open_line(end.path)
        assert end.slave is not None
        iflag, oflag, cflag, lflag, ispeed, ospeed, _ = termios.tcgetattr(end.slave)
        assert (ispeed, ospeed) == (termios.B110, termios.B110)
        assert cflag & termios.CSIZE == termios.CS8
        assert cflag & termios.CSTOPB
        assert cflag & termios.CLOCAL
        assert not cflag & (termios.PARENB | termios.HUPCL | termios.CRTSCTS)
        assert not iflag & (termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IXON | termios.IXOFF)
        assert not iflag & termios.PARMRK  # a pty's far end marks; twice would double every FF
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
        assert not oflag & termios.OPOST
        await line.close()


async def test_a_symlink_to_a_pty_is_a_line_too(tmp_path):
    with far_end() as end:
        link = tmp_path / "tty"
        link.symlink_to(end.path)
        line = await open_line(str(link))
        line.write(0x41)
        assert await read_from(end, 1) == b"A"
        await line.close()


async def test_a_port_in_use_is_refused_and_free_again_after_close():
    with far_end() as end:
        line = await open_line(end.path)
        with pytest.raises(errors.LineBusy, match=r"is held by another program: `fuser -v"):
            await open_line(end.path)
        await line.close()
        again = await open_line(end.path)
        await again.close()


async def test_a_port_that_is_not_there_names_those_that_are():
    with pytest.raises(errors.LineNotFound, match=r"^no port /dev/ttyNONE: (there are|this computer shows)"):
        await open_line("/dev/ttyNONE")


@pytest.mark.parametrize("where", ["/dev/null", __file__])
async def test_what_is_no_tty_is_refused(where):
    with pytest.raises(errors.LineUnfit, match="pty"):
        await open_line(where)


async def test_a_url_is_refused_in_one_line():
    with pytest.raises(errors.LineUnfit, match=r"^socket://host:4001: no line of that kind here") as caught:
        await open_line("socket://host:4001")
    assert "\n" not in str(caught.value)


async def test_a_port_of_others_names_the_group_to_join():
    with far_end() as end:
        os.chmod(end.path, 0o600 if ROOT else 0)  # noqa: PTH101
        if ROOT:
            os.seteuid(65534)
        try:
            with pytest.raises(errors.LineRefused, match="dialout"):
                await open_line(end.path)
        finally:
            if ROOT:
                os.seteuid(0)


@pytest.mark.parametrize("writing", [False, True])
async def test_a_hang_up_is_reported_once(writing, caplog):
    with far_end() as end:
        line = await open_line(end.path)
        listener = Listener(line)
        assert end.slave is not None
        os.close(end.slave)
        end.slave = None
        end.hang_up()
        if writing:
            line.write(0x41)
        (hang_up,) = await listener.first(1)
        assert isinstance(hang_up, HangUp)
        assert end.path in hang_up.reason
        with pytest.raises(errors.LineLost, match="cable"):
            line.write(0x41)
        await line.drain()
        await line.close()
        assert len(listener.heard) == 1
        assert not caplog.records


async def test_close_gives_up_on_a_far_end_that_reads_nothing():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(3):
            await line.close()


async def test_drain_waits_while_the_far_end_takes_nothing():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        waiting = asyncio.create_task(line.drain())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        async with asyncio.timeout(5):
            while not waiting.done():
                with suppress(BlockingIOError):
                    os.read(end.master, 1000)
                await asyncio.sleep(0)
        await line.close()


async def test_a_line_says_whether_a_program_is_at_its_far_end():
    with far_end() as end:
        line = await open_line(end.path)
        assert line.is_pty
        await line.close()


@pytest.mark.parametrize("where", ["/dev/tty\0S0", "/dev/\ud800", "/dev/tty\nS0\x1b[2J", "/dev/" + "x" * 5000])
async def test_a_name_that_no_port_can_have_is_refused_in_one_legible_line(where):
    with pytest.raises(errors.LineNotFound) as caught:
        await open_line(where)
    assert str(caught.value).isprintable()


async def test_a_device_that_is_no_tty_gets_the_reason_of_the_system():
    with pytest.raises(errors.LineUnfit) as caught:
        await open_line("/dev/null")
    assert str(caught.value).startswith("/dev/null cannot be the line of a Teletype (Inappropriate ioctl for device): ")
