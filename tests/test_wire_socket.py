import asyncio
import random
import socket

import pytest
from fakes import spin_loop
from fakes_wire import FakeSerialServer, LineRecorder, far_end
from test_wire import assert_hung_up

from drivers import errors
from drivers.events import Break, Byte
from drivers.line.line import open_line


async def open_to(server, **settings):
    line = await open_line(server.url, **settings)
    await server.accepted()
    return line


async def stuff(line):
    """As many bytes as the kernels of both ends hold, and more."""
    transport = line._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport.write(bytes(20_000_000))
    left = 0
    while left != line.waiting:
        left = line.waiting
        await asyncio.sleep(0.05)
    assert left


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bytes_go_both_ways_over_a_socket(host):
    try:
        server = await FakeSerialServer(host).__aenter__()
    except OSError:
        pytest.skip(f"no {host} here")
    line = await open_to(server)
    listener = LineRecorder(line)
    for byte in b"\x8d\x0a\x00\xff":
        line.write(byte)
        await line.drain()
    assert await server.reader.readexactly(4) == b"\x8d\x0a\x00\xff"
    server.say(bytes(range(256)))
    assert await listener.first(256) == [Byte(value) for value in range(256)]
    line.set_rts(True)
    assert not line.is_pty
    assert line.device is None
    await line.close()
    assert await server.reader.read() == b""
    assert len(listener.heard) == 256
    await server.__aexit__()


async def test_a_serial_server_that_marks_its_breaks_can_be_said_to():
    async with FakeSerialServer() as server:
        line = await open_to(server, marked=True)
        listener = LineRecorder(line)
        server.say(b"\xff\x00\x00\xff\xff")
        assert await listener.first(2) == [Break(), Byte(0xFF)]
        await line.close()


@pytest.mark.parametrize("ending", [FakeSerialServer.finish, FakeSerialServer.reset])
@pytest.mark.parametrize("writing", [False, True])
async def test_a_far_end_that_ends_or_crashes_is_one_hang_up(ending, writing, caplog):
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        if writing:
            line.write(0x41)
        server.say(b"A")
        await listener.first(1)
        ending(server)
        if writing:
            line.write(0x41)
        await assert_hung_up(line, listener, caplog)
        assert listener.heard[0] == Byte(0x41)


@pytest.mark.parametrize("seed", range(20))
async def test_a_socket_reset_at_any_moment_of_a_conversation_is_one_hang_up(seed, caplog):
    dice = random.Random(seed)
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        for _ in range(dice.randrange(12)):
            match dice.randrange(3):
                case 0:
                    line.write(0x41)
                case 1:
                    server.say(b"B")
                case 2:
                    await asyncio.sleep(dice.random() / 500)
        dice.choice([FakeSerialServer.reset, FakeSerialServer.finish])(server)
        await assert_hung_up(line, listener, caplog)


async def test_a_far_end_that_ends_while_it_takes_nothing_is_a_hang_up_too(caplog):
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        await stuff(line)
        server.finish()
        await assert_hung_up(line, listener, caplog)


async def test_close_gives_up_on_a_server_that_takes_nothing():
    async with FakeSerialServer() as server:
        line = await open_to(server)
        await stuff(line)
        async with asyncio.timeout(30):
            await line.close()


async def test_a_socket_is_kept_alive_and_holds_no_character_back():
    async with FakeSerialServer() as server:
        line = await open_to(server)
        connected = line._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        await line.close()


async def test_a_port_where_nothing_listens_names_the_server():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can have it
        port = taken.getsockname()[1]
        with pytest.raises(errors.LineNotFound, match=f"nothing listens at port {port} of 127.0.0.1: start the serial"):
            await open_line(f"socket://127.0.0.1:{port}")


async def test_a_host_that_nobody_knows_is_named():
    with pytest.raises(errors.LineNotFound, match=r"no host asr33\.invalid is known: correct the name"):
        await open_line("socket://asr33.invalid:4001")
    with pytest.raises(errors.LineNotFound, match="is known"):
        await open_line(f"socket://{'x' * 70}:4001")


async def test_a_host_that_does_not_answer_is_given_up_and_the_loop_runs_on():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = "socket://{}:{}".format(*deaf.getsockname())
        waiting = [socket.socket() for _ in range(3)]  # its queue is full: the kernel lets nobody else in
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        ticks = 0
        opening = asyncio.create_task(open_line(url, connect_timeout_s=0.5))
        while not opening.done():
            ticks += 1
            await asyncio.sleep(0.01)
        with pytest.raises(errors.LineNotFound, match=r"127\.0\.0\.1 does not answer: see that it is on"):
            await opening
        assert ticks > 3  # of fifty; a loop that stands still has one or two
        for one in waiting:
            one.close()


async def test_whoever_gives_up_opening_leaves_nothing_open():
    async with FakeSerialServer() as server:
        opening = asyncio.create_task(open_line(server.url))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    with far_end() as end:
        opening = asyncio.create_task(open_line(end.path))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await spin_loop()
        again = await open_line(end.path)
        await again.close()
