import asyncio
import socket

import pytest

from drivers.clock import WallClock
from drivers.errors import LineBusy, LineNotFound
from drivers.virtual import Equipment, SocketPort, VirtualTeletype
from tools.virtual_options import BadFitting, parse_address


def machine_at(port: SocketPort) -> VirtualTeletype:
    return VirtualTeletype(WallClock(), character_s=0.0, port=port, equipment=Equipment(break_mode="nul"))


async def connected(machine: VirtualTeletype) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = machine.path.removeprefix("socket://").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def printed(machine: VirtualTeletype, text: str) -> None:
    async with asyncio.timeout(30):
        while machine.typing_unit.paper.text() != text:
            await machine.wait_until_idle()


async def test_over_tcp_it_prints_types_and_takes_the_next_driver_when_one_is_gone():
    async with machine_at(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        for text in ("A", "AB"):
            reader, writer = await connected(machine)
            writer.write(text[-1].encode())
            await printed(machine, text)
            await machine.type("x\x7f")
            assert await reader.readexactly(2) == b"\xd8\xff"
            writer.close()
            await writer.wait_closed()


async def test_a_second_driver_is_turned_away_and_the_first_is_not_disturbed():
    async with machine_at(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        _, first = await connected(machine)
        first.write(b"A")
        await printed(machine, "A")
        reader, second = await connected(machine)
        assert await reader.read() == b""
        second.close()
        first.write(b"B")
        await printed(machine, "AB")
        first.close()


async def test_a_driver_that_resets_its_connection_is_one_that_is_gone():
    async with machine_at(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        _, writer = await connected(machine)
        writer.write(b"A")
        await printed(machine, "A")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()
        await asyncio.sleep(0.05)
        await machine.type("A")
        _, writer = await connected(machine)
        writer.write(b"B")
        await printed(machine, "AB")
        writer.close()


async def test_unplugged_the_connection_ends_and_plugged_in_it_listens_at_the_same_port():
    async with machine_at(SocketPort(WallClock(), "127.0.0.1", 0)) as machine:
        path = machine.path
        reader, writer = await connected(machine)
        writer.write(b"A")
        await printed(machine, "A")
        machine.unplug()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await connected(machine)
        machine.plug_in()
        assert machine.path == path
        _, writer = await connected(machine)
        writer.write(b"B")
        await printed(machine, "AB")
        writer.close()


async def test_a_port_that_is_taken_or_no_address_is_said_in_a_line():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LineBusy, match="name another port"):
        async with machine_at(SocketPort(WallClock(), "127.0.0.1", taken.getsockname()[1])):
            pass
    with pytest.raises(LineNotFound, match="no address"):
        async with machine_at(SocketPort(WallClock(), "no.such.host.invalid", 0)):
            pass


def test_an_address_is_a_host_and_a_port():
    assert parse_address("0.0.0.0:4033") == ("0.0.0.0", 4033)
    assert parse_address(":4033") == ("127.0.0.1", 4033)
    assert parse_address("[::1]:4033") == ("::1", 4033)
    for text in ("4033:", "localhost", "a:b", "a:99999", "a:-1", ""):
        with pytest.raises(BadFitting, match="HOST:PORT"):
            parse_address(text)
