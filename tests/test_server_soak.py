"""The server under a crowd: other clients keep printing, memory is bounded, each request gets a status."""

import asyncio
import contextlib
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from fakes_completion_server import get, post, read_head, read_reply, send_request
from fakes_paced_reader import PacedReader
from fakes_serve_process import ServeProcess, serve_process

pytestmark = pytest.mark.soak

MB = 1 << 20
PRINTING_CLIENTS = 4
CROWD_SIZE = 3000


@pytest.fixture(autouse=True, scope="module")
def _many_descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def printing(process: ServeProcess) -> AsyncIterator[list[PacedReader]]:
    """Runs clients that print while the block runs. None of them may stall."""
    assert process.process.stdout
    loop, log = asyncio.get_running_loop(), process.process.stdout.fileno()
    loop.add_reader(log, os.read, log, 65536)  # so that the pipe never fills
    readers = [PacedReader() for _ in range(PRINTING_CLIENTS)]
    work = [asyncio.ensure_future(reader.read(process.port)) for reader in readers]
    await asyncio.sleep(3)
    before = process.resident_bytes()
    yield readers
    await asyncio.sleep(1)
    for task in work:
        assert not task.done() or not task.exception()
        task.cancel()
    await asyncio.wait(work)
    loop.remove_reader(log)
    assert all(reader.characters > 20 for reader in readers)
    assert max(reader.longest_stall_s for reader in readers) < 0.2
    assert process.resident_bytes() - before < 300 * MB, (before / MB, process.resident_bytes() / MB)


async def test_ten_thousand_silent_connections_keep_no_client_out() -> None:
    with serve_process("--rows", "16", "--connections", "4000") as process:
        process.wait_until_open()
        async with printing(process):
            crowd = []
            for _ in range(100):
                opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", process.port) for _ in range(100)))
                crowd += opened
                for _, writer in opened[::2]:
                    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
                assert (await send_request(process.port, get("/health"))).status == 200
            for _, writer in crowd:
                writer.close()


async def test_a_thousand_requests_at_once_each_get_a_status() -> None:
    with serve_process("--rows", "16", "--clients", "200", "--memory", "200") as process:
        process.wait_until_open()
        async with printing(process):
            body = post({"prompt": "Once", "max_tokens": 4})
            replies = await asyncio.gather(*(send_request(process.port, body) for _ in range(1000)))
            statuses = Counter(reply.status for reply in replies)
            assert set(statuses) == {200, 429}, statuses
            assert statuses[200] >= 190
            assert all(reply.headers["retry-after"] for reply in replies if reply.status == 429)


REQUEST = post({"prompt": "The sea", "max_tokens": 4000, "stream": True})
TINY_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2_000
CROWDS = {
    "unread": REQUEST,
    "slow": REQUEST[:-1],
    "tiny chunks": REQUEST.partition(b"Content-Length")[0] + TINY_CHUNKS,
}


@pytest.mark.parametrize("crowd", CROWDS)
async def test_thousands_of_bad_clients_at_once_stall_no_other(crowd: str) -> None:
    with serve_process("--rows", "16", "--connections", "6000", "--memory", "200") as process:
        process.wait_until_open()
        async with printing(process):  # the crowd has its own event loop, so that it does not delay these clients
            statuses = await asyncio.to_thread(asyncio.run, _send_crowd(process.port, CROWDS[crowd]))
        assert set(statuses) <= {"unread": {200, 429}, "slow": {408, 429}, "tiny chunks": {413, 429}}[crowd], statuses


async def _send_crowd(port: int, data: bytes) -> Counter[int]:
    """Sends the data from a crowd of clients, who stay until most have a status. Counts the statuses."""
    statuses, most_done = Counter[int](), asyncio.Event()

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        with closing(writer):
            writer.write(data)
            with contextlib.suppress(ConnectionError):  # at the connection limit the server aborts idle ones
                statuses[(await read_head(reader))[0]] += 1
            most_done.set() if statuses.total() > CROWD_SIZE * 0.9 else await most_done.wait()

    async with asyncio.timeout(90):
        await asyncio.gather(*(send() for _ in range(CROWD_SIZE)))
    return statuses


async def test_large_bodies_are_refused() -> None:
    with serve_process("--rows", "16") as process:
        process.wait_until_open()
        async with printing(process):
            for length in ("Content-Length: 100000000", "Transfer-Encoding: chunked"):
                reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
                with closing(writer):
                    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
                    writing = asyncio.ensure_future(_write_forever(writer, chunked="chunked" in length))
                    assert (await read_reply(reader)).status == 413
                    writing.cancel()
            assert (await send_request(process.port, post({"prompt": "word " * 1_000_000}))).status == 413
            assert (await send_request(process.port, post({"prompt": "word " * 12_000}))).status == 400
            assert (await send_request(process.port, post({"prompt": "word " * 5_000}))).status == 400


async def _write_forever(writer: asyncio.StreamWriter, chunked: bool) -> None:
    block = b"x" * 65536
    with contextlib.suppress(ConnectionError):
        for _ in range(100_000_000 // len(block)):
            writer.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
            await writer.drain()
