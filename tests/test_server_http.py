"""Connections on a real socket: slow headers, bodies after an error, clients that do not read, the limit."""

import asyncio
import logging
import os
import socket
import ssl
import struct
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from fakes_completion_server import FakeBatchModel, get, post, read_reply, running_server, send_request, wait_until

from model.errors import ModelError
from model.server.http.connections import ConnectionLimiter, ConnectionLimits
from model.server.http.server import HardenedServer
from model.server.http.sockets import bind_sockets, tls_context
from model.server.http.wire import LingeringTransport
from model.server.limits import RequestLimits

REQUEST = post({"model": "tiny", "prompt": "Hello", "max_tokens": 100})


def make_limiter(**limits: Any) -> ConnectionLimiter:
    return ConnectionLimiter(ConnectionLimits(**limits))


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Reads until the connection ends."""
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_header_that_never_ends_is_refused() -> None:
    async with running_server(FakeBatchModel(), make_limiter(header_s=0.1)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            loop = asyncio.get_running_loop()
            started_at = loop.time()
            writing = asyncio.ensure_future(_write_slowly(writer))
            reply = await read_reply(reader)
            assert (reply.status, reply.error["code"]) == (408, "slow_header")
            assert 0.05 < loop.time() - started_at < 30
            writing.cancel()


async def _write_slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    while True:
        await asyncio.sleep(0.02)
        writer.write(b"X-A: b\r\n")


async def test_a_silent_connection_is_closed() -> None:
    limiter = make_limiter(header_s=0.05)
    async with running_server(FakeBatchModel(), limiter) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            assert await read_to_end(reader) == b""
            await wait_until(lambda: not limiter.connections)


async def test_a_later_request_has_the_same_header_timeout() -> None:
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


async def test_a_slow_answer_has_no_timeout() -> None:
    model = FakeBatchModel("ab", every_s=0.5)
    async with running_server(model, make_limiter(header_s=0.4, idle_s=0.4, linger_s=0.4)) as (_, port):
        assert (await send_request(port, REQUEST)).json()["choices"][0]["text"] == "ab"


async def test_a_body_that_goes_on_after_a_refusal_ends_the_connection() -> None:
    limiter = make_limiter(linger_s=0.1)
    async with running_server(FakeBatchModel(), limiter, limits=RequestLimits(body_bytes=10)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
            assert (await read_reply(reader)).status == 413
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(_write_forever(writer), 30)
            await wait_until(lambda: not limiter.connections)


async def test_a_refusal_arrives_although_unread_data_is_pending() -> None:
    async with running_server(FakeBatchModel(), limits=RequestLimits(body_bytes=10)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000000\r\n\r\n"
            writer.write(head + b"x" * 5_000_000)
            await asyncio.sleep(0.1)
            assert (await read_reply(reader)).status == 413


async def test_a_refusal_before_100_continue_leaves_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running_server(FakeBatchModel()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(head + b"no length\r\n")
            assert (await read_reply(reader)).status == 400
            assert await read_to_end(reader) == b""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_end_of_an_answer_to_a_client_that_was_reset_raises_nothing() -> None:
    accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer.transport), "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            transport = LingeringTransport(await accepted, lambda: True)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.close()  # before the event loop has seen the reset
        transport.write(b"x")
        assert transport.is_closing()


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
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\n\n", 400),  # TLS to a server without TLS
    ],
)
async def test_malformed_http_is_refused_in_the_same_shape(data: bytes, status: int) -> None:
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


async def test_a_body_in_tiny_chunks_is_refused() -> None:
    async with running_server(FakeBatchModel()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            started_at = time.process_time()
            writer.write(CHUNKED + b"1\r\nx\r\n" * 60_000)
            assert (await read_reply(reader)).status == 413
            await read_to_end(reader)
            await wait_until(lambda: not server.clients)
        assert time.process_time() - started_at < 0.2  # a second without the guard


async def test_tiny_chunks_after_the_answer_end_the_connection() -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(CHUNKED.replace(b"/v1/completions", b"/nowhere"))
            assert (await read_reply(reader)).status == 404
            writer.write(b"1\r\nx\r\n" * 30_000)
            assert await read_to_end(reader) == b""


async def test_a_body_in_chunks_of_a_fair_size_is_read() -> None:
    body = REQUEST.partition(b"\r\n\r\n")[2][:-1] + b" " * 40_000 + b"}"
    chunks = b"".join(b"200\r\n%s\r\n" % body[start : start + 512].ljust(512) for start in range(0, len(body), 512))
    async with running_server(FakeBatchModel()) as (_, port):
        assert (await send_request(port, CHUNKED + chunks + b"0\r\n\r\n")).status == 200


async def test_a_body_with_two_lengths_is_refused_and_ends_the_connection() -> None:
    two_lengths = CHUNKED.replace(b"chunked", b"chunked\r\nContent-Length: 5")
    async with running_server(FakeBatchModel()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(two_lengths + b"0\r\n\r\n" + get("/health"))
            reply = await read_reply(reader)
            assert (reply.status, reply.headers["connection"]) == (400, "close")
            assert await read_to_end(reader) == b""


async def test_a_stuck_body_is_aborted_for_a_new_connection_and_told_why() -> None:
    limiter = make_limiter(max_connections=2)
    async with running_server(FakeBatchModel(), limiter) as (_, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in slow:
            writer.write(REQUEST[:-1])
        await wait_until(lambda: all(cast(Any, connection)._phase == "body" for connection in limiter.connections))
        assert (await send_request(port, get("/health"))).status == 200
        assert (await read_reply(slow[0][0])).status == 503
        slow[1][1].write(REQUEST[-1:])
        assert (await read_reply(slow[1][0])).status == 200
        for _, writer in slow:
            writer.close()


def test_each_connection_of_a_burst_aborts_the_longest_idle_one() -> None:
    class Connection:
        def abort(self) -> None:
            aborted.append(self)

    aborted: list[Connection] = []
    limiter, connections = make_limiter(max_connections=10), [Connection() for _ in range(100)]
    for connection in connections:
        assert limiter.admit(connection)
        limiter.mark_idle(connection)
    assert aborted == connections[:90]
    assert limiter.connections == set(limiter.idle_connections) == set(connections[90:])


async def test_at_the_limit_the_longest_idle_connection_is_aborted() -> None:
    limiter = make_limiter(max_connections=3)
    async with running_server(FakeBatchModel(), limiter) as (_, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await wait_until(lambda: len(limiter.connections) == 3)
        assert (await send_request(port, get("/health"))).status == 200
        assert await read_to_end(idle[0][0]) == b""
        for reader, writer in idle[1:]:
            writer.write(get("/health"))
            assert (await read_reply(reader)).status == 200
        assert limiter.aborted_count == 1
        for _, writer in idle:
            writer.close()


async def test_a_connection_beyond_the_limit_is_refused_if_all_are_busy() -> None:
    model, limiter = FakeBatchModel(), make_limiter(max_connections=2)
    model.may_step.clear()
    async with running_server(model, limiter) as (_, port):
        open_answers = [asyncio.ensure_future(send_request(port, REQUEST)) for _ in range(2)]
        await wait_until(lambda: model.active == 2)
        reply = await send_request(port, REQUEST)
        assert (reply.status, reply.headers["retry-after"], reply.error["code"]) == (503, "5", "busy")
        model.may_step.set()
        assert [(await task).status for task in open_answers] == [200, 200]
        assert (await send_request(port, REQUEST)).status == 200
        assert limiter.rejected_count == 1


async def test_a_client_that_does_not_read_is_aborted() -> None:
    model, limiter = FakeBatchModel("x" * 200_000), make_limiter(unread_s=0.2)
    async with running_server(model, limiter, limits=RequestLimits(max_tokens=1_000_000)) as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            client.send(post({"prompt": "Hello", "max_tokens": 200_000, "stream": True}))
            await wait_until(lambda: model.active)
            await wait_until(lambda: model.ended)
            assert not server.clients
            assert limiter.aborted_count == 1


async def test_the_kernel_buffers_of_connections_are_small() -> None:
    sockets = bind_sockets("127.0.0.1", 0)
    with sockets[0] as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 32_768
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 180_000


def test_a_host_with_two_addresses_has_one_port_at_both() -> None:
    sockets = bind_sockets("localhost", 0)
    try:
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
    finally:
        for bound in sockets:
            bound.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*make, *subject, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_https_has_the_same_answers_and_timeouts(certificate: tuple[Path, Path]) -> None:
    from model.server.app import CompletionServer

    limiter, server = make_limiter(header_s=0.5), CompletionServer(FakeBatchModel(), name="tiny")
    await server.open_when_loaded()
    http_server, sockets = HardenedServer(server.app, limiter, tls_context(*certificate)), bind_sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    serving = asyncio.ensure_future(http_server.serve_sockets(sockets))
    await wait_until(lambda: http_server.started)
    context = ssl.create_default_context(cafile=certificate[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(REQUEST)
    assert (await read_reply(reader)).status == 200
    writer.write(b"GET / HTTP/1.1\r\n")
    assert (await read_reply(reader)).status == 408
    writer.close()
    http_server.stop()
    await serving


@pytest.mark.parametrize("at", [0, 1])
def test_a_certificate_that_became_a_fifo_stalls_no_start(at: int, tmp_path: Path) -> None:
    files = [tmp_path / "server.crt", tmp_path / "server.key"]
    files[1 - at].write_text("")
    os.mkfifo(files[at])
    with pytest.raises(ModelError, match="not a regular file; --cert and --cert-key name PEM files"):
        tls_context(*files)
