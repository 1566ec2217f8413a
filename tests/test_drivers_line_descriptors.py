import asyncio
import contextlib
import os
import socket
import struct

import pytest
from fakes_serial_line import LineRecorder, far_end
from fakes_teletype import raises_driver_error, spin_loop, wait_until

from drivers import errors
from drivers.line.line import open_line


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def assert_refused(port_name, kind):
    with raises_driver_error(kind):
        await open_line(port_name)


async def test_two_hundred_ptys_opened_closed_refused_and_given_up_leave_no_descriptor(tmp_path):
    with far_end() as end:
        (tmp_path / "gone").symlink_to(tmp_path / "nothing")
        await (await open_line(end.path)).close()
        before = count_descriptors()
        for _ in range(200):
            line = await open_line(end.path)
            await assert_refused(end.path, "busy")
            await assert_refused("/dev/null", "unavailable")
            await assert_refused(str(tmp_path / "gone"), "missing")
            line.write(0x41)
            await line.drain()
            await line.close()
            opening = asyncio.create_task(open_line(end.path))
            await asyncio.sleep(0)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await opening).close()
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                os.read(end.master, 1000)
        await wait_until(lambda: count_descriptors() <= before)


async def test_two_hundred_ptys_that_hang_up_leave_no_descriptor():
    before = count_descriptors()
    for _ in range(200):
        with far_end() as end:
            line = await open_line(end.path)
            end.hang_up()
            await LineRecorder(line).wait_for_hang_up()
            await line.close()
    assert count_descriptors() <= before


async def test_two_hundred_calls_to_a_serial_server_leave_no_descriptor():
    async def serve(reader, writer):
        served.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    served = set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "socket://{}:{}".format(*server.sockets[0].getsockname())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening
        unused_url = "socket://{}:{}".format(*unused.getsockname())
        await (await open_line(url)).close()
        await assert_refused(unused_url, "missing")
        await asyncio.gather(*served)
        before = count_descriptors()
        for number in range(200):
            line = await open_line(url)
            line.write(0x41)
            await line.close()
            await assert_refused(unused_url, "missing")
            opening = asyncio.create_task(open_line(url))
            for _ in range(number % 6):
                await asyncio.sleep(0)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await opening).close()
        await spin_loop()  # the last connections are still being accepted
        await asyncio.gather(*served)
        await wait_until(lambda: count_descriptors() <= before)
    server.close()
    await server.wait_closed()


async def test_a_server_that_resets_each_connection_is_a_hang_up(caplog):
    async def crash(reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(crash, "127.0.0.1", 0)
    url = "socket://{}:{}".format(*server.sockets[0].getsockname())
    before = count_descriptors()
    for _ in range(100):
        try:
            line = await open_line(url)
            async with asyncio.timeout(30):
                await LineRecorder(line).wait_for_hang_up()
            await line.close()
        except errors.DriverError as error:
            assert error.kind == "missing"  # noqa: PT017 - the server was quicker than the opening
    await wait_until(lambda: count_descriptors() <= before)
    assert not caplog.records
    server.close()
    await server.wait_closed()


async def test_a_cancelled_close_has_closed():
    with far_end() as end:
        before = count_descriptors()
        line = await open_line(end.path)
        end.fill()
        line.write(0x41)
        closing = asyncio.create_task(line.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await wait_until(lambda: count_descriptors() <= before)
