import asyncio
import random
import socket

import pytest
from fakes_serial_line import FakeSerialServer, LineRecorder, far_end
from fakes_teletype import raises_driver_error, spin_loop
from test_drivers_line_transport import assert_hung_up

from drivers.line.line import open_line
from drivers.line.line_input import Break, Byte


async def open_to(server, **settings):
    line = await open_line(server.url, **settings)
    await server.wait_accepted()
    return line


async def fill_buffers(line):
    """Writes more bytes than the kernels of both ends hold."""
    transport = line._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport.write(bytes(20_000_000))
    unsent = 0
    while unsent != line.out_waiting:
        unsent = line.out_waiting
        await asyncio.sleep(0.05)
    assert unsent


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
    server.send(bytes(range(256)))
    assert await listener.wait_for_inputs(256) == [Byte(value) for value in range(256)]
    line.set_rts(True)
    assert not line.is_pty
    assert line.tty_fd is None
    await line.close()
    assert await server.reader.read() == b""
    assert len(listener.inputs) == 256
    await server.__aexit__()


async def test_marking_can_be_turned_on_for_a_serial_server():
    async with FakeSerialServer() as server:
        line = await open_to(server, marked=True)
        listener = LineRecorder(line)
        server.send(b"\xff\x00\x00\xff\xff")
        assert await listener.wait_for_inputs(2) == [Break(), Byte(0xFF)]
        await line.close()


@pytest.mark.parametrize("ending", [FakeSerialServer.send_eof, FakeSerialServer.reset])
@pytest.mark.parametrize("writing", [False, True])
async def test_a_far_end_that_closes_or_resets_is_one_hang_up(ending, writing, caplog):
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        if writing:
            line.write(0x41)
        server.send(b"A")
        await listener.wait_for_inputs(1)
        ending(server)
        if writing:
            line.write(0x41)
        await assert_hung_up(line, listener, caplog)
        assert listener.inputs[0] == Byte(0x41)


@pytest.mark.parametrize("seed", range(20))
async def test_a_socket_reset_at_any_moment_of_a_conversation_is_one_hang_up(seed, caplog):
    rng = random.Random(seed)
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        for _ in range(rng.randrange(12)):
            match rng.randrange(3):
                case 0:
                    line.write(0x41)
                case 1:
                    server.send(b"B")
                case 2:
                    await asyncio.sleep(rng.random() / 500)
        rng.choice([FakeSerialServer.reset, FakeSerialServer.send_eof])(server)
        await assert_hung_up(line, listener, caplog)


async def test_a_far_end_that_closes_without_reading_is_a_hang_up(caplog):
    async with FakeSerialServer() as server:
        line = await open_to(server)
        listener = LineRecorder(line)
        await fill_buffers(line)
        server.send_eof()
        await assert_hung_up(line, listener, caplog)


async def test_close_gives_up_on_a_server_that_reads_nothing():
    async with FakeSerialServer() as server:
        line = await open_to(server)
        await fill_buffers(line)
        async with asyncio.timeout(30):
            await line.close()


async def test_a_socket_has_keepalive_and_no_delay():
    async with FakeSerialServer() as server:
        line = await open_to(server)
        connected = line._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        await line.close()


async def test_a_port_where_nothing_listens_names_the_server():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening, so no other program can have it
        port = taken.getsockname()[1]
        with raises_driver_error("missing", match=f"nothing listens at port {port} of 127.0.0.1: start the serial"):
            await open_line(f"socket://127.0.0.1:{port}")


async def test_an_unknown_host_is_named():
    with raises_driver_error("missing", match=r"no host asr33\.invalid is known: correct the name"):
        await open_line("socket://asr33.invalid:4001")
    with raises_driver_error("missing", match="is known"):
        await open_line(f"socket://{'x' * 70}:4001")


async def test_a_silent_host_times_out_without_blocking_the_loop():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        url = "socket://{}:{}".format(*silent.getsockname())
        clients = [socket.socket() for _ in range(3)]  # its queue is full: the kernel accepts no more
        for client in clients:
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        ticks = 0
        opening = asyncio.create_task(open_line(url, connect_timeout_s=0.5))
        while not opening.done():
            ticks += 1
            await asyncio.sleep(0.01)
        with raises_driver_error("missing", match=r"127\.0\.0\.1 does not answer: see that it is on"):
            await opening
        assert ticks > 3  # about fifty are expected; a blocked loop has one or two
        for client in clients:
            client.close()


async def test_a_cancelled_open_leaves_nothing_open():
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
