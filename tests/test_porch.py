"""The door at a real socket: headers that never end, bodies after a no, readers who do not read, all places taken."""

import asyncio
import socket
import ssl
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from fakes_server import FakeBatchModel, get, post, read_reply, running_server, send_request, wait_until

from model.server.http.connections import ConnectionLimiter, ConnectionLimits
from model.server.http.lifecycle import bind_sockets, tls_context
from model.server.http.server import HardenedServer
from model.server.limits import RequestLimits

REQUEST = post({"model": "tiny", "prompt": "Hello", "max_tokens": 100})


def make_limiter(**patience: Any) -> ConnectionLimiter:
    return ConnectionLimiter(ConnectionLimits(**patience))


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """What still comes, up to the end of the connection."""
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_header_that_never_ends_has_its_time() -> None:
    async with running_server(FakeBatchModel(), make_limiter(header_s=0.1)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            loop = asyncio.get_running_loop()
            begun = loop.time()
            dripping = asyncio.ensure_future(_write_slowly(writer))
            reply = await read_reply(reader)
            assert (reply.status, reply.error["code"]) == (408, "slow_header")
            assert 0.05 < loop.time() - begun < 30
            dripping.cancel()


async def _write_slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    while True:
        await asyncio.sleep(0.02)
        writer.write(b"X-A: b\r\n")


async def test_whoever_says_nothing_is_not_waited_for() -> None:
    inside = make_limiter(header_s=0.05)
    async with running_server(FakeBatchModel(), inside) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            assert await read_to_end(reader) == b""
            await wait_until(lambda: not inside.connections)


async def test_a_second_request_may_come_later_but_not_slowly() -> None:
    async with running_server(FakeBatchModel(), make_limiter(header_s=0.4, idle_s=30)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(get("/health"))
            assert (await read_reply(reader)).status == 200
            await asyncio.sleep(0.5)
            writer.write(get("/health") + get("/v1/models"))
            assert [(await read_reply(reader)).status for _ in range(2)] == [200, 200]
            writer.write(b"GET /health HT")
            assert (await read_reply(reader)).status == 408


async def test_an_answer_takes_as_long_as_it_takes() -> None:
    batch = FakeBatchModel("ab", every_s=0.5)
    async with running_server(batch, make_limiter(header_s=0.4, idle_s=0.4, rest_s=0.4)) as (_, port):
        assert (await send_request(port, REQUEST)).json()["choices"][0]["text"] == "ab"


async def test_a_body_that_goes_on_after_the_no_is_not_swallowed_for_ever() -> None:
    inside = make_limiter(rest_s=0.1)
    async with running_server(FakeBatchModel(), inside, limits=RequestLimits(body_bytes=10)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
            assert (await read_reply(reader)).status == 413
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(_write_forever(writer), 30)
            await wait_until(lambda: not inside.connections)


async def test_a_no_is_heard_though_much_was_said_and_the_line_is_to_be_closed() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=10)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000000\r\n\r\n"
            writer.write(head + b"x" * 5_000_000)
            await asyncio.sleep(0.1)
            assert (await read_reply(reader)).status == 413


async def _write_forever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 100_000)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"Hello?\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 30_000 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\n\n", 400),  # TLS, where none is spoken
    ],
)
async def test_what_is_no_http_is_refused_in_the_same_shape(data: bytes, status: int) -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        reply = await send_request(port, data)
    assert (reply.status, reply.error["code"]) == (status, "not_http")


CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_that_stops_being_http_ends_the_connection() -> None:
    async with running_server(FakeBatchModel()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(CHUNKED + b"zz\r\n")
            assert (await read_reply(reader)).status == 400
            assert await read_to_end(reader) == b""
        assert (await send_request(port, get("/health"))).status == 200
        assert not server.clients


async def test_a_body_in_crumbs_is_not_picked_up() -> None:
    async with running_server(FakeBatchModel()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            begun = time.process_time()
            writer.write(CHUNKED + b"1\r\nx\r\n" * 60_000)
            assert (await read_reply(reader)).status == 413
            await read_to_end(reader)
            await wait_until(lambda: not server.clients)
        assert time.process_time() - begun < 0.2  # it was a second


async def test_nor_after_the_answer() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(CHUNKED.replace(b"/v1/completions", b"/nowhere"))
            assert (await read_reply(reader)).status == 404
            writer.write(b"1\r\nx\r\n" * 30_000)
            assert await read_to_end(reader) == b""


async def test_a_body_in_honest_chunks_is_read() -> None:
    body = REQUEST.partition(b"\r\n\r\n")[2][:-1] + b" " * 40_000 + b"}"
    chunks = b"".join(b"200\r\n%s\r\n" % body[at : at + 512].ljust(512) for at in range(0, len(body), 512))
    async with running_server(FakeBatchModel()) as (_, port):
        assert (await send_request(port, CHUNKED + chunks + b"0\r\n\r\n")).status == 200


async def test_a_body_with_two_lengths_is_refused_and_nothing_after_it_is_heard() -> None:
    both = CHUNKED.replace(b"chunked", b"chunked\r\nContent-Length: 5")
    async with running_server(FakeBatchModel()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(both + b"0\r\n\r\n" + get("/health"))
            reply = await read_reply(reader)
            assert (reply.status, reply.headers["connection"]) == (400, "close")
            assert await read_to_end(reader) == b""


async def test_a_body_that_does_not_come_on_makes_room_and_hears_why() -> None:
    inside = make_limiter(connections=2)
    async with running_server(FakeBatchModel(), inside) as (_, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in slow:
            writer.write(REQUEST[:-1])
        await wait_until(lambda: all(cast(Any, visitor)._waits_for == "body" for visitor in inside.connections))
        assert (await send_request(port, get("/health"))).status == 200
        assert (await read_reply(slow[0][0])).status == 503
        slow[1][1].write(REQUEST[-1:])
        assert (await read_reply(slow[1][0])).status == 200
        for _, writer in slow:
            writer.close()


def test_of_many_who_come_at_once_each_makes_somebody_leave() -> None:
    class Guest:
        def leave(self) -> None:
            left.append(self)

    left: list[Guest] = []
    inside, guests = make_limiter(connections=10), [Guest() for _ in range(100)]
    for guest in guests:
        assert inside.admit(guest)
        inside.mark_idle(guest)
    assert left == guests[:90]
    assert inside.connections == set(inside.idle_connections) == set(guests[90:])


async def test_where_all_places_are_taken_the_longest_idle_one_makes_room() -> None:
    inside = make_limiter(connections=3)
    async with running_server(FakeBatchModel(), inside) as (_, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await wait_until(lambda: len(inside.connections) == 3)
        assert (await send_request(port, get("/health"))).status == 200
        assert await read_to_end(idle[0][0]) == b""
        for reader, writer in idle[1:]:
            writer.write(get("/health"))
            assert (await read_reply(reader)).status == 200
        assert inside.aborted_count == 1
        for _, writer in idle:
            writer.close()


async def test_where_all_are_being_answered_the_next_is_told_so() -> None:
    batch, inside = FakeBatchModel(), make_limiter(connections=2)
    batch.may_step.clear()
    async with running_server(batch, inside) as (_, port):
        under_way = [asyncio.ensure_future(send_request(port, REQUEST)) for _ in range(2)]
        await wait_until(lambda: batch.active == 2)
        reply = await send_request(port, REQUEST)
        assert (reply.status, reply.headers["retry-after"], reply.error["code"]) == (503, "5", "busy")
        batch.may_step.set()
        assert [(await each).status for each in under_way] == [200, 200]
        assert (await send_request(port, REQUEST)).status == 200
        assert inside.rejected_count == 1


async def test_whoever_does_not_read_is_cut_off_in_the_end() -> None:
    batch, inside = FakeBatchModel("x" * 200_000), make_limiter(unread_s=0.2)
    async with running_server(batch, inside, limits=RequestLimits(max_tokens=1_000_000)) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.setblocking(False)
            deaf.send(post({"prompt": "Hello", "max_tokens": 200_000, "stream": True}))
            await wait_until(lambda: batch.active)
            await wait_until(lambda: batch.ended)
            assert not server.clients
            assert inside.aborted_count == 1


async def test_the_buffers_of_all_connections_are_small() -> None:
    sockets = bind_sockets("127.0.0.1", 0)
    with sockets[0] as here:
        here.listen()
        with socket.create_connection(here.getsockname()), here.accept()[0] as there:
            assert there.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 32_768
            assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 180_000


def test_a_name_with_two_addresses_is_listened_at_by_both_on_one_port() -> None:
    sockets = bind_sockets("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*make, *subject, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_https_is_the_same_with_a_lock(certificate: tuple[Path, Path]) -> None:
    from model.server.app import CompletionServer

    inside, server = make_limiter(header_s=0.5), CompletionServer(FakeBatchModel(), name="tiny")
    await server.open_when_loaded()
    porch, sockets = HardenedServer(server.app, inside, tls_context(*certificate)), bind_sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    opening = asyncio.ensure_future(porch.serve_sockets(sockets))
    await wait_until(lambda: porch.started)
    trusting = ssl.create_default_context(cafile=certificate[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    writer.write(REQUEST)
    assert (await read_reply(reader)).status == 200
    writer.write(b"GET / HTTP/1.1\r\n")
    assert (await read_reply(reader)).status == 408
    writer.close()
    porch.stop()
    await opening
