import asyncio
import fcntl
import os
import termios
from contextlib import suppress
from itertools import pairwise

import pytest
from fakes_serial_line import LineRecorder, far_end, open_pty_as_tty, read_from
from fakes_teletype import raises_driver_error
from hypothesis import given
from hypothesis import strategies as st

from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte, FramingError, LineInput, ParmrkDecoder

ROOT = os.geteuid() == 0


# Marking.

SIGNALS = st.lists(
    st.one_of(
        st.builds(Byte, st.integers(0, 255)),
        st.just(Break()),
        st.builds(FramingError, st.integers(1, 255)),
        st.just(Byte(0xFF)),
    )
)


def encode_marked(inputs: list[LineInput]) -> bytes:
    """Encodes signals as the kernel marks them."""
    data = b""
    for signal in inputs:
        if isinstance(signal, Break):
            data += b"\xff\x00\x00"
        elif isinstance(signal, FramingError):
            data += bytes((0xFF, 0x00, signal.value))
        elif isinstance(signal, Byte):
            data += b"\xff\xff" if signal.value == 0xFF else bytes((signal.value,))
    return data


@given(SIGNALS, st.lists(st.integers(0, 60)))
def test_marks_are_decoded_at_any_split(inputs, cuts):
    data = encode_marked(inputs)
    edges = [0, *sorted(cuts), len(data)]
    decoder = ParmrkDecoder()
    assert [signal for a, b in pairwise(edges) for signal in decoder.feed(data[a:b])] == inputs


@given(st.binary())
def test_any_bytes_are_decoded_without_an_error(data):
    assert len(ParmrkDecoder().feed(data)) <= len(data)


def test_a_far_end_that_does_not_double_ff_loses_nothing():
    assert ParmrkDecoder().feed(b"\xffA") == [Byte(0xFF), Byte(0x41)]


# The port.


async def test_bytes_go_both_ways_over_a_pty():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for byte in b"\x8d\x0aA":
            line.write(byte)
            await line.drain()
        assert await read_from(end, 3) == b"\x8d\x0aA"
        os.write(end.master, b"\xc8\x0d\x03\x11\x13\x04")
        assert await listener.wait_for_inputs(6) == [Byte(value) for value in b"\xc8\x0d\x03\x11\x13\x04"]
        await line.close()
        assert len(listener.inputs) == 6


async def test_a_break_comes_marked_from_the_far_end_even_in_pieces():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for piece in (b"A\xff", b"\x00", b"\x00\xff\xff"):
            os.write(end.master, piece)
            await asyncio.sleep(0.01)
        assert await listener.wait_for_inputs(3) == [Byte(0x41), Break(), Byte(0xFF)]
        await line.close()


async def test_marking_can_be_turned_off_for_a_program_that_does_not_double_ff():
    with far_end() as end:
        line = await open_line(end.path, marked=False)
        listener = LineRecorder(line)
        os.write(end.master, b"\xff\x00\x00")
        assert await listener.wait_for_inputs(3) == [Byte(0xFF), Byte(0), Byte(0)]
        await line.close()


async def test_input_before_the_first_listener_is_kept():
    with far_end() as end:
        line = await open_line(end.path)
        os.write(end.master, b"AB")
        await asyncio.sleep(0.02)
        assert await LineRecorder(line).wait_for_inputs(2) == [Byte(0x41), Byte(0x42)]
        await line.close()


def set_unfit_modes(fd):
    """Sets modes that an earlier program may have left."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag |= termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IGNPAR | termios.IXON | termios.IXOFF
    iflag |= termios.PARMRK | termios.INPCK
    cflag = cflag & ~termios.CSTOPB | termios.HUPCL | termios.CRTSCTS
    lflag |= termios.ECHO | termios.ICANON | termios.ISIG
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag | termios.OPOST, cflag, lflag, ispeed, ospeed, cc])
    modes = termios.tcgetattr(fd)
    assert modes[0] & iflag == iflag
    assert modes[2] & termios.HUPCL
    assert modes[3] & lflag == lflag


async def test_the_port_is_set_to_8n2_at_110_baud_without_translation():
    with far_end() as end:
        set_unfit_modes(end.slave)
        line = await open_line(end.path)
        assert end.slave is not None
        iflag, oflag, cflag, lflag, ispeed, ospeed, _ = termios.tcgetattr(end.slave)
        assert (ispeed, ospeed) == (termios.B110, termios.B110)
        assert cflag & termios.CSIZE == termios.CS8
        assert cflag & termios.CSTOPB
        assert cflag & termios.CLOCAL
        assert not cflag & (termios.PARENB | termios.HUPCL | termios.CRTSCTS)
        assert not iflag & (termios.BRKINT | termios.IGNBRK | termios.ISTRIP | termios.IXON | termios.IXOFF)
        assert not iflag & termios.PARMRK  # the far end of a pty marks; marking twice would double every FF
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
        assert not oflag & termios.OPOST
        await line.close()


async def test_a_symlink_to_a_pty_is_a_line_too(tmp_path):
    with far_end() as end:
        link = tmp_path / "tty"
        link.symlink_to(end.path)
        line = await open_line(str(link))
        assert line.name == str(link)
        assert line.is_pty
        line.write(0x41)
        assert await read_from(end, 1) == b"A"
        await line.close()


async def test_a_port_in_use_is_refused_and_free_again_after_close():
    with far_end() as end:
        line = await open_line(end.path)
        with raises_driver_error("busy", match=r"is held by another program: `fuser -v"):
            await open_line(end.path)
        await line.close()
        again = await open_line(end.path)
        await again.close()


async def test_a_missing_port_lists_the_available_ones():
    with raises_driver_error("missing", match=r"^no port /dev/ttyNONE: (there are|this computer shows)"):
        await open_line("/dev/ttyNONE")


@pytest.mark.parametrize("port_name", ["/dev/null", __file__])
async def test_a_file_that_is_no_tty_is_refused(port_name):
    with raises_driver_error("unavailable", match="pty"):
        await open_line(port_name)


async def test_a_port_without_permission_names_the_group_to_join():
    with far_end() as end:
        os.chmod(end.path, 0o600 if ROOT else 0)  # noqa: PTH101
        if ROOT:
            os.seteuid(65534)
        try:
            with raises_driver_error("denied", match="dialout"):
                await open_line(end.path)
        finally:
            if ROOT:
                os.seteuid(0)


async def test_close_gives_up_on_a_far_end_that_reads_nothing():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            await line.close()


async def test_drain_waits_while_the_far_end_takes_nothing():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        waiting = asyncio.create_task(line.drain())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        async with asyncio.timeout(30):
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


@pytest.mark.parametrize("port_name", ["/dev/tty\0S0", "/dev/\ud800", "/dev/tty\nS0\x1b[2J", "/dev/" + "x" * 5000])
async def test_a_name_that_no_port_can_have_is_refused_in_one_legible_line(port_name):
    with raises_driver_error("missing") as caught:
        await open_line(port_name)
    assert str(caught.value).isprintable()


async def test_a_device_that_is_no_tty_gets_the_reason_of_the_system():
    with raises_driver_error("unavailable") as caught:
        await open_line("/dev/null")
    assert str(caught.value).startswith("/dev/null cannot be the line of a Teletype (Inappropriate ioctl for device): ")


def read_modes(end):
    iflag, _, cflag, *_, cc = termios.tcgetattr(end.slave)
    return iflag & (termios.PARMRK | termios.INPCK | termios.BRKINT | termios.IGNBRK), cflag & termios.HUPCL, cc


async def test_a_real_tty_keeps_its_marking_whatever_pyserial_sets_later():
    with far_end() as end:
        set_unfit_modes(end.slave)
        line = await open_pty_as_tty(end.path)
        modes_at_open = read_modes(end)
        assert modes_at_open[:2] == (termios.PARMRK | termios.INPCK, 0)
        assert modes_at_open[2][termios.VMIN] == 1
        line.set_rts(True)
        line.set_rts(False)
        port = line._transport.serial
        port.timeout = 0.5
        port.write_timeout = 0
        port.reset_output_buffer()
        assert read_modes(end) == modes_at_open
        await line.close()


async def test_a_real_tty_is_exclusive_even_without_flock():
    with far_end() as end:
        line = await open_pty_as_tty(end.path)
        exclusive = bytearray(4)
        fcntl.ioctl(end.slave, 0x80045440, exclusive)  # TIOCGEXCL
        assert any(exclusive)
        await line.close()
