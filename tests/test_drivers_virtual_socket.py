import asyncio
import socket

import pytest
from fakes_teletype import raises_driver_error

from drivers.clock import WallClock
from drivers.virtual import Equipment, SocketPort, VirtualTeletype
from tools.cli.errors import ToolError
from tools.virtual.options import parse_address


def make_machine(port: SocketPort) -> VirtualTeletype:
    return VirtualTeletype(WallClock(), character_s=0.0, port=port, equipment=Equipment(break_mode="nul"))


async def connect(machine: VirtualTeletype) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = machine.path.removeprefix("socket://").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def wait_until_printed(machine: VirtualTeletype, text: str) -> None:
    async with asyncio.timeout(30):
        while machine.typing_unit.paper.text() != text:
            await machine.wait_until_idle()


async def test_a_machine_on_tcp_prints_types_and_accepts_the_next_driver():
    async with make_machine(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        for text in ("A", "AB"):
            reader, writer = await connect(machine)
            writer.write(text[-1].encode())
            await wait_until_printed(machine, text)
            await machine.type("x\x7f")
            assert await reader.readexactly(2) == b"\xd8\xff"
            writer.close()
            await writer.wait_closed()


async def test_a_second_driver_is_rejected():
    async with make_machine(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        _, first = await connect(machine)
        first.write(b"A")
        await wait_until_printed(machine, "A")
        reader, second = await connect(machine)
        assert await reader.read() == b""
        second.close()
        first.write(b"B")
        await wait_until_printed(machine, "AB")
        first.close()


async def test_a_reset_by_the_driver_ends_its_connection():
    async with make_machine(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        _, writer = await connect(machine)
        writer.write(b"A")
        await wait_until_printed(machine, "A")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()
        await asyncio.sleep(0.05)
        await machine.type("A")
        _, writer = await connect(machine)
        writer.write(b"B")
        await wait_until_printed(machine, "AB")
        writer.close()


async def test_unplugging_ends_the_connection_and_plugging_in_listens_at_the_same_port():
    async with make_machine(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        path = machine.path
        reader, writer = await connect(machine)
        writer.write(b"A")
        await wait_until_printed(machine, "A")
        machine.unplug()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await connect(machine)
        machine.plug_in()
        assert machine.path == path
        _, writer = await connect(machine)
        writer.write(b"B")
        await wait_until_printed(machine, "AB")
        writer.close()


async def test_a_used_port_or_bad_address_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, raises_driver_error("busy", match="name another port"):
        async with make_machine(SocketPort(WallClock(), "127.0.0.1", taken.getsockname()[1])):
            pass
    with raises_driver_error("missing", match="no address"):
        async with make_machine(SocketPort(WallClock(), "no.such.host.invalid", 0)):
            pass


def test_an_address_is_a_host_and_a_port():
    assert parse_address("0.0.0.0:4033") == ("0.0.0.0", 4033)
    assert parse_address(":4033") == ("127.0.0.1", 4033)
    assert parse_address("[::1]:4033") == ("::1", 4033)
    for text in ("4033:", "localhost", "a:b", "a:99999", "a:-1", ""):
        with pytest.raises(ToolError, match="HOST:PORT") as caught:
            parse_address(text)
        assert caught.value.kind == "usage"
