"""What clients do on the wire: empty lines before a request, a closed sending half, Unix sockets, both IP families."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import h11
import pytest
from fakes_completion_server import (
    FakeBatchModel,
    get,
    post,
    read_head,
    read_reply,
    running_server,
    send_request,
    wait_until,
)
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ModelError
from model.server.http.request_parser import RequestParser
from model.server.http.sockets import bind_sockets, open_sockets, open_unix_socket, remove_unix_socket
from model.server.limits import RequestLimits

BODY = {"model": "tiny", "prompt": "Hello", "max_tokens": 100}
REQUEST = post(BODY)
STREAM = post({**BODY, "stream": True})
QUICK = RequestLimits(first_chunk_s=0.05, keepalive_s=0.05)


@pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n\r\n\n", b"\r\n" * 3000])
async def test_empty_lines_before_a_request_are_skipped(lines: bytes) -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        assert (await send_request(port, lines + REQUEST)).status == 200


async def test_empty_lines_may_be_cut_anywhere_and_stand_between_requests() -> None:
    async with running_server(FakeBatchModel("Yes.")) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            for part in (b"\r", b"\n\r", b"\n", REQUEST + b"\r\n" + REQUEST, b"\r", b"\n"):
                writer.write(part)
                await asyncio.sleep(0.02)
            assert [(await read_reply(reader)).status for _ in range(2)] == [200, 200]
            writer.write(get("/health"))
            assert (await read_reply(reader)).status == 200


@pytest.mark.parametrize("start", [b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", b" \r\n", b"\r\n\r\rGET /"])
async def test_other_bytes_before_a_request_are_refused(start: bytes) -> None:
    async with running_server(FakeBatchModel()) as (_, port):
        assert (await send_request(port, start)).status == 400


@given(st.lists(st.sampled_from([b"\r\n", b"\n"]), max_size=9).map(b"".join), st.lists(st.integers(1, 9), max_size=30))
def test_a_request_after_empty_lines_is_the_same_however_it_is_cut(lines: bytes, sizes: list[int]) -> None:
    parser, data, events = RequestParser(8192), lines + REQUEST, []
    while data:
        size = sizes.pop() if sizes else len(data)
        parser.receive_data(data[:size])
        data = data[size:]
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(type(event).__name__)
    assert (events[0], events[-1], parser.has_whole_request) == ("Request", "EndOfMessage", True)


async def ask_and_half_close(port: int, request: bytes, delay_s: float = 0.0) -> bytes:
    """Sends a request, closes the sending half, and reads to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(request)
        await asyncio.sleep(delay_s)
        writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()


@pytest.mark.parametrize("delay_s", [0.0, 0.15])
@pytest.mark.parametrize("request_bytes", [REQUEST, STREAM])
async def test_a_client_that_closes_its_sending_half_gets_its_answer(request_bytes: bytes, delay_s: float) -> None:
    async with running_server(FakeBatchModel("Yes, it is.", every_s=0.05)) as (_, port):
        data = await ask_and_half_close(port, request_bytes, delay_s)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    if request_bytes is STREAM:
        assert data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert data.count(b'"text":') == 11
    else:
        assert b'"text":"Yes, it is."' in data


async def test_a_refusal_and_pipelined_requests_reach_a_half_closed_client() -> None:
    async with running_server(FakeBatchModel("Yes.", every_s=0.02)) as (_, port):
        refused = await ask_and_half_close(port, post({}))
        both = await ask_and_half_close(port, REQUEST + get("/health") + REQUEST + b"GET /he")
        old = await ask_and_half_close(port, REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert refused.startswith(b"HTTP/1.1 400")
    assert (both.count(b"HTTP/1.1 200 OK"), both.count(b'"text":"Yes."')) == (3, 2)
    assert b'"text":"Yes."' in old


async def test_a_half_closed_client_of_a_slow_answer_gets_interim_responses() -> None:
    model = FakeBatchModel("Yes.")
    model.may_step.clear()
    async with running_server(model) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(REQUEST)
            writer.write_eof()
            for _ in range(2):
                assert (await read_head(reader))[0] == 100
            model.may_step.set()
            assert (await read_reply(reader)).json()["choices"][0]["text"] == "Yes."


@pytest.mark.parametrize("request_bytes", [REQUEST, STREAM])
async def test_a_half_closed_client_that_leaves_is_noticed(request_bytes: bytes) -> None:
    model = FakeBatchModel("x" * 1000)
    model.may_step.clear()
    async with running_server(model, limits=QUICK) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        writer.write_eof()
        await wait_until(lambda: model.active)
        await asyncio.sleep(0.3)
        assert model.active == 1
        writer.close()
        await wait_until(lambda: model.ended, 15)
        assert (model.steps, len(server.clients)) == (0, 0)


async def test_a_client_that_leaves_a_stream_is_noticed_soon() -> None:
    model = FakeBatchModel("x" * 1000)
    model.may_step.clear()
    async with running_server(model, limits=RequestLimits(first_chunk_s=0.01, keepalive_s=60)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(STREAM)
        await reader.readuntil(b"ping\n\n")
        left_at = asyncio.get_running_loop().time()
        writer.close()
        await wait_until(lambda: model.ended)
        assert asyncio.get_running_loop().time() - left_at < 2


async def test_half_a_request_and_an_end_is_no_request() -> None:
    async with running_server(FakeBatchModel()) as (server, port):
        for part in (b"", b"GET /hea", REQUEST[:-1]):
            assert await ask_and_half_close(port, part) == b""
        await wait_until(lambda: not server.clients)


def can_bind(host: str, family: int) -> bool:
    with suppress(OSError), socket.socket(family) as probe:
        probe.bind((host, 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not can_bind("::1", socket.AF_INET6), reason="this computer has no IPv6")


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "0::0", "[::]", "::0"])
def test_the_address_of_all_is_of_both_families(host: str) -> None:
    sockets = open_sockets(host, 0)
    try:
        port = sockets[0].getsockname()[1]
        assert {bound.getsockname()[:2] for bound in sockets} == {("::", port), ("0.0.0.0", port)}
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), 5).close()
        with pytest.raises(ModelError, match="is taken"):
            open_sockets("::", port)
    finally:
        for bound in sockets:
            bound.close()


@needs_ipv6
def test_one_address_has_one_family() -> None:
    for host, family in (("::1", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)):
        [bound] = bind_sockets(host, 0)
        with bound:
            assert bound.family == family


@asynccontextmanager
async def unix_server(path: Path) -> AsyncIterator[FakeBatchModel]:
    from model.server.app import CompletionServer
    from model.server.http.connections import ConnectionLimiter
    from model.server.http.server import HardenedServer

    model, limiter = FakeBatchModel("Yes."), ConnectionLimiter()
    server = CompletionServer(model, name="tiny")
    http_server = HardenedServer(server.app, limiter)
    serving = asyncio.ensure_future(http_server.serve_sockets([open_unix_socket(path, 0o660)]))
    await server.open_when_loaded()
    await wait_until(lambda: http_server.started)
    try:
        yield model
    finally:
        http_server.stop()
        await serving


async def test_a_unix_socket_answers_and_half_closes(tmp_path: Path) -> None:
    path = tmp_path / "serve.sock"
    async with unix_server(path) as model:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        for half_closes in (False, True):
            reader, writer = await asyncio.open_unix_connection(path)
            with closing(writer):
                writer.write(REQUEST)
                if half_closes:
                    writer.write_eof()
                assert (await read_reply(reader)).status == 200
        model.may_step.clear()
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(REQUEST)
        await wait_until(lambda: model.active)
        writer.close()
        await wait_until(lambda: not model.active)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    open_unix_socket(path, 0o600).close()  # as after kill -9
    bound = open_unix_socket(path, 0o666)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with pytest.raises(ModelError, match="another server listens") as caught:
        open_unix_socket(path, 0o600)
    assert caught.value.exit_code == 69
    remove_unix_socket(path, bound)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_server_leaves_the_socket_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = open_unix_socket(path, 0o600)
    path.unlink()
    second = open_unix_socket(path, 0o600)
    remove_unix_socket(path, first)
    with second, socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))


@pytest.mark.parametrize(
    ("name", "exit_code", "message"),
    [("file", 73, "is no socket"), ("absent/s", 73, "cannot|can be made"), ("x" * 120, 64, "too long")],
)
def test_a_path_that_cannot_be_a_socket_is_one_line(tmp_path: Path, name: str, exit_code: int, message: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ModelError, match=message) as caught:
        open_unix_socket(tmp_path / name, 0o600)
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (exit_code, False)
    assert (tmp_path / "file").read_text() == "kept"
