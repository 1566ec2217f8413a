import asyncio
import contextlib
import fcntl
import os
import random
import time

import pytest
from fakes_serial_line import LineRecorder, far_end, open_pty_as_tty, read_from

from drivers import errors
from drivers.line import line_transport
from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte, FramingError, HangUp


async def assert_hung_up(line, listener, caplog):
    """Checks that the hang-up is reported once, without a traceback, and that no call blocks afterwards."""
    async with asyncio.timeout(30):
        await listener.wait_for_hang_up()
        await line.drain()
        with pytest.raises(errors.LineLost, match="hung up: see that"):
            line.write(0x41)
        line.set_rts(True)
        assert line.out_waiting == 0
        assert line.counters.hang_ups == 1
        await line.close()
        await line.close()
    cause = "the serial server and the network run" if "://" in line.name else "the cable is in and the far end runs"
    reasons = [line_input.reason for line_input in listener.inputs if isinstance(line_input, HangUp)]
    assert reasons == [f"{line.name}: the line hung up: see that {cause}"]
    assert not caplog.records


@pytest.mark.parametrize("held_open", [False, True])
@pytest.mark.parametrize("writing", [False, True])
async def test_a_hang_up_is_reported_once(writing, held_open, caplog):
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        if not held_open:
            os.close(end.slave)
            end.slave = None
        end.hang_up()
        if writing:
            line.write(0x41)
        await assert_hung_up(line, listener, caplog)


@pytest.mark.parametrize("seed", range(40))
async def test_a_pty_closed_at_any_moment_of_a_conversation_is_one_hang_up(seed, caplog):
    rng = random.Random(seed)
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for _ in range(rng.randrange(12)):
            match rng.randrange(4):
                case 0:
                    line.write(0x41)
                case 1:
                    os.write(end.master, b"B\xff\x00\x00"[: rng.randrange(1, 5)])
                case 2:
                    await asyncio.sleep(0)
                case 3:
                    await asyncio.sleep(rng.random() / 500)
        end.hang_up()
        await assert_hung_up(line, listener, caplog)
        assert isinstance(listener.inputs[-1], HangUp)


async def test_a_hang_up_with_much_unwritten_is_reported_at_once(caplog):
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        end.fill()
        for _ in range(100):
            line.write(0x41)
        assert line.out_waiting >= 100
        end.hang_up()
        await assert_hung_up(line, listener, caplog)


async def test_a_hang_up_ends_a_wait_for_room(caplog):
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        end.fill()
        line.write(0x41)
        waiting = asyncio.create_task(line.drain())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        end.hang_up()
        await asyncio.wait_for(waiting, 30)
        await assert_hung_up(line, listener, caplog)


@pytest.mark.parametrize("kind", ["tty", "pty"])
@pytest.mark.parametrize("activity", ["nothing", "writing", "reading", "a full line"])
async def test_an_unplugged_adapter_is_one_hang_up(kind, activity, caplog):
    with far_end() as end:
        line = await (open_pty_as_tty(end.path) if kind == "tty" else open_line(end.path))
        listener = LineRecorder(line)
        match activity:
            case "writing":
                line.write(0x41)
            case "reading":
                os.write(end.master, b"A" * 1000)
            case "a full line":
                end.fill()
                for _ in range(100):
                    line.write(0x41)
        try:
            fcntl.ioctl(end.slave, 0x5437)  # TIOCVHANGUP
        except PermissionError:
            await line.close()
            pytest.skip("only root may hang a tty up")
        await assert_hung_up(line, listener, caplog)
        assert line.tty_fd is None


async def test_unplugging_during_close_does_not_block_it(caplog, monkeypatch):
    monkeypatch.setattr(line_transport, "_DRAIN_TIMEOUT_S", 3600.0)
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        closing = asyncio.create_task(line.close())
        await asyncio.sleep(0.05)
        end.hang_up()
        await asyncio.wait_for(closing, 30)
        assert not caplog.records


async def test_a_far_end_that_reads_one_byte_at_a_time_gets_each_once():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        sent = bytes(n * 7 % 251 for n in range(3000))
        for byte in sent:
            line.write(byte)
        received = bytearray()
        async with asyncio.timeout(60):
            while not received.endswith(sent[-250:]):
                for _ in range(50):
                    with contextlib.suppress(BlockingIOError):
                        received += os.read(end.master, 1 + len(received) % 3)
                await asyncio.sleep(0)
        assert bytes(received[-len(sent) :]) == sent
        assert set(received[: -len(sent)]) <= {0x41}
        await asyncio.wait_for(line.drain(), 30)
        assert line.out_waiting == 0
        await line.close()


async def test_many_spurious_wake_ups_lose_no_byte():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        end.fill()
        for byte in b"XYZ":
            line.write(byte)
        for _ in range(1000):  # each gets EAGAIN
            line._transport._write_ready()
            line._transport._read_ready()
        assert line.out_waiting == 3
        assert listener.inputs == []
        received = b""
        async with asyncio.timeout(30):
            while not received.endswith(b"XYZ"):
                with contextlib.suppress(BlockingIOError):
                    received += os.read(end.master, 1000)
                await asyncio.sleep(0)
        assert set(received[:-3]) == {0x41}
        os.write(end.master, b"B")
        assert await listener.wait_for_inputs(1) == [Byte(0x42)]
        await line.close()


async def test_close_reports_no_hang_up_and_may_be_called_twice():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        await asyncio.gather(line.close(), line.close())
        assert listener.inputs == []
        with pytest.raises(errors.LineLost):
            line.write(0x41)


async def test_unwritten_bytes_are_counted_until_they_are_written():
    with far_end() as end:
        line = await open_line(end.path)
        for byte in b"ABC":
            line.write(byte)
        assert line.out_waiting == 3
        assert await read_from(end, 3) == b"ABC"
        assert line.out_waiting == 0
        await line.close()


async def test_a_full_line_does_not_use_the_cpu():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        for _ in range(5):  # a busy computer may add time
            start = time.process_time()
            await asyncio.sleep(0.2)
            if (spent := time.process_time() - start) < 0.1:
                break
        assert spent < 0.1
        end.hang_up()
        await line.close()


async def test_a_line_counts_its_bytes():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for byte in b"\x00AB":
            line.write(byte)
        os.write(end.master, b"A\xff\xff\xff\x00\x00\xff\x00\x07")
        assert await listener.wait_for_inputs(4) == [Byte(0x41), Byte(0xFF), Break(), FramingError(7)]
        counters = line.counters
        assert (counters.sent, counters.received, counters.breaks, counters.framing_errors) == (3, 3, 1, 1)
        assert counters.hang_ups == 0
        await line.close()
        assert counters.hang_ups == 0


async def test_pending_input_goes_to_the_next_listener():
    with far_end() as end:
        line = await open_line(end.path)
        first = LineRecorder(line)
        os.write(end.master, b"AB")
        assert await first.wait_for_inputs(2) == [Byte(0x41), Byte(0x42)]
        line.stop_listening(first.inputs[1:])
        os.write(end.master, b"C")
        await asyncio.sleep(0.02)
        assert await LineRecorder(line).wait_for_inputs(2) == [Byte(0x42), Byte(0x43)]
        await line.close()
