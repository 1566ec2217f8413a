import asyncio
import contextlib
import fcntl
import os
import random
import time

import pytest
from fakes_wire import LineRecorder, far_end, read_from

from drivers import errors
from drivers.events import Break, Byte, FramingError, HangUp, ParmrkDecoder
from drivers.line import line_transport
from drivers.line.line import open_line, open_tty
from drivers.line.line_transport import LineTransport


async def assert_hung_up(line, listener, caplog):
    """One word of it, and no traceback; afterwards nothing stands still and nothing more is said."""
    async with asyncio.timeout(30):
        await listener.hang_up()
        await line.drain()
        with pytest.raises(errors.LineLost, match="hung up: see that"):
            line.write(0x41)
        line.set_rts(True)
        assert line.waiting == 0
        assert line.counters.hang_ups == 1
        await line.close()
        await line.close()
    assert [heard.reason for heard in listener.heard if isinstance(heard, HangUp)] == [
        f"{line.name}: the line hung up: {'see that the serial server' if '://' in line.name else 'see that the cable'}"
        f"{' and the network run' if '://' in line.name else ' is in and the far end runs'}"
    ]
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
    dice = random.Random(seed)
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for _ in range(dice.randrange(12)):
            match dice.randrange(4):
                case 0:
                    line.write(0x41)
                case 1:
                    os.write(end.master, b"B\xff\x00\x00"[: dice.randrange(1, 5)])
                case 2:
                    await asyncio.sleep(0)
                case 3:
                    await asyncio.sleep(dice.random() / 500)
        end.hang_up()
        await assert_hung_up(line, listener, caplog)
        assert isinstance(listener.heard[-1], HangUp)


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


async def test_whoever_waits_for_room_is_let_go_by_a_hang_up(caplog):
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


async def as_a_real_tty(path):
    wire = LineTransport(path, "tty", ParmrkDecoder())
    await open_tty(wire, path, parmrk=True)
    return wire


@pytest.mark.parametrize("kind", ["tty", "pty"])
@pytest.mark.parametrize("doing", ["nothing", "writing", "reading", "a full line"])
async def test_what_the_kernel_does_to_an_adapter_pulled_out_is_one_hang_up(kind, doing, caplog):
    with far_end() as end:
        line = await (as_a_real_tty(end.path) if kind == "tty" else open_line(end.path))
        listener = LineRecorder(line)
        match doing:
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


async def test_an_adapter_pulled_out_while_its_line_is_closed_does_not_keep_it(caplog, monkeypatch):
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


async def test_a_far_end_that_takes_one_at_a_time_gets_every_byte_once():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        sent = bytes(n * 7 % 251 for n in range(3000))
        for byte in sent:
            line.write(byte)
        taken = bytearray()
        async with asyncio.timeout(60):
            while not taken.endswith(sent[-250:]):
                for _ in range(50):
                    with contextlib.suppress(BlockingIOError):
                        taken += os.read(end.master, 1 + len(taken) % 3)
                await asyncio.sleep(0)
        assert bytes(taken[-len(sent) :]) == sent
        assert set(taken[: -len(sent)]) <= {0x41}
        await asyncio.wait_for(line.drain(), 30)
        assert line.out_waiting == 0
        await line.close()


async def test_a_flood_of_wake_ups_for_nothing_loses_nothing_and_hangs_nothing_up():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        end.fill()
        for byte in b"XYZ":
            line.write(byte)
        for _ in range(1000):  # each is told EAGAIN
            line._transport._write_ready()
            line._transport._read_ready()
        assert line.out_waiting == 3
        assert listener.heard == []
        taken = b""
        async with asyncio.timeout(30):
            while not taken.endswith(b"XYZ"):
                with contextlib.suppress(BlockingIOError):
                    taken += os.read(end.master, 1000)
                await asyncio.sleep(0)
        assert set(taken[:-3]) == {0x41}
        os.write(end.master, b"B")
        assert await listener.first(1) == [Byte(0x42)]
        await line.close()


async def test_close_reports_no_hang_up_and_frees_whoever_closes_twice():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        await asyncio.gather(line.close(), line.close())
        assert listener.heard == []
        with pytest.raises(errors.LineLost):
            line.write(0x41)


async def test_what_waits_in_the_transport_is_counted_and_gone_when_it_is_written():
    with far_end() as end:
        line = await open_line(end.path)
        for byte in b"ABC":
            line.write(byte)
        assert line.out_waiting == 3
        assert await read_from(end, 3) == b"ABC"
        assert line.out_waiting == 0
        await line.close()


async def test_a_full_line_costs_no_time_of_ours():
    with far_end() as end:
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        for _ in range(5):  # a computer that is taken away from us may put that time on our account
            begun = time.process_time()
            await asyncio.sleep(0.2)
            if (spent := time.process_time() - begun) < 0.1:
                break
        assert spent < 0.1
        end.hang_up()
        await line.close()


async def test_a_wire_counts_what_goes_over_it():
    with far_end() as end:
        line = await open_line(end.path)
        listener = LineRecorder(line)
        for byte in b"\x00AB":
            line.write(byte)
        os.write(end.master, b"A\xff\xff\xff\x00\x00\xff\x00\x07")
        assert await listener.first(4) == [Byte(0x41), Byte(0xFF), Break(), FramingError(7)]
        counters = line.counters
        assert (counters.sent, counters.received, counters.breaks, counters.framing_errors) == (3, 3, 1, 1)
        assert counters.hang_ups == 0
        await line.close()
        assert counters.hang_ups == 0


async def test_what_one_listener_leaves_the_next_is_told():
    with far_end() as end:
        line = await open_line(end.path)
        first = LineRecorder(line)
        os.write(end.master, b"AB")
        assert await first.first(2) == [Byte(0x41), Byte(0x42)]
        line.stop_listening(first.heard[1:])
        os.write(end.master, b"C")
        await asyncio.sleep(0.02)
        assert await LineRecorder(line).first(2) == [Byte(0x42), Byte(0x43)]
        await line.close()
