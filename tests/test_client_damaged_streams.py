"""RemoteModel with streams whose bytes are damaged."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from fakes_openai_server import FakeModelServer, ReceivedRequest, answer_to, reply_head, stream_body

from model.client.http_client import ClientConfig
from model.client.remote_model import RemoteModel
from model.errors import ModelError
from model.interface import Sampling
from model.openai_api import response
from model.openai_api.models import ModelInfo, encode_models
from model.openai_api.response import ErrorInfo, StreamEnd

TEXT = "The sun rose over the harbour.\nGulls cried, “Who is there?” Nobody was."
CLEAN = stream_body(TEXT.replace("\n", " "))


def expected_text(body: bytes) -> tuple[str, bool]:
    """Returns the text of a stream up to its end or its first fault, and whether it ended; parses it as a whole."""
    stream = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = ""
    for raw_event in stream.split(b"\n\n")[:-1]:
        lines = [line for line in raw_event.split(b"\n") if line.partition(b":")[0] == b"data"]
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines)
        if not lines:
            continue
        try:
            event = response.decode_event(data.decode())
        except ValueError:
            return text, False
        if isinstance(event, ErrorInfo):
            return text, False
        if isinstance(event, StreamEnd):
            return text, True
        text += event.text
        if event.finish_reason:
            return text, True
    return text, False


def mutate(body: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not damaged:
            break
        at = rng.randrange(len(damaged))
        end = min(len(damaged), at + rng.choice((1, 1, 2, 10, 200)))
        match rng.randrange(5):
            case 0:
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[at:end]
            case 2:
                damaged[at:at] = damaged[at:end]
            case 3:
                damaged[at:at] = rng.choice((b"\n", b"\r", b"\n\n", b"\0", b"\xff", b"data:", b"{", b'"', b":"))
            case _:
                del damaged[at + 1 :]
    return bytes(damaged)


async def check_answer(model: RemoteModel, body: bytes) -> None:
    """Checks that no character before the first fault is wrong or repeated, and that the model sees the end."""
    text, ended = "", False
    try:
        async with asyncio.timeout(30):
            async for chunk in model.resume("", Sampling()):
                text, ended = text + chunk.text, chunk.finish_reason is not None
    except ModelError:
        pass
    expected, complete = expected_text(body)
    assert expected.startswith(text), body
    assert (text if complete else "") == (expected if complete else ""), body
    assert ended == complete, body


def cut_into_blocks(body: bytes, rng: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        size = rng.choice((1, 7, 100, 5000))
        yield body[at : at + size]
        at += size


async def check_mutations(count: int, seed: int) -> None:
    rng = random.Random(seed)
    bodies: list[bytes] = []

    async def send_damaged(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_head())
        for block in cut_into_blocks(bodies[-1], rng):
            writer.write(block)
            if rng.random() < 0.1:
                await writer.drain()
                await asyncio.sleep(0)

    async with FakeModelServer([send_damaged]) as server:
        model = RemoteModel(server.url)
        for _ in range(count):
            server.requests.clear()
            bodies.append(mutate(CLEAN, rng))
            await check_answer(model, bodies[-1])
        await model.close()


@dataclass
class FakeReply:
    """Replaces `HttpReply`; the body is given."""

    blocks: Iterable[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    retry_after: str = ""

    async def iter_bytes(self) -> AsyncGenerator[bytes, None]:
        for block in self.blocks:
            yield block

    def check_is_plain(self) -> None:
        pass

    async def read_body(self, max_bytes: int = 65536, limit_s: float | None = None) -> bytes:
        return b"".join(self.blocks)[:max_bytes]


class FakeHttpClient:
    """Replaces `HttpClient`, without a socket."""

    def __init__(self) -> None:
        self.stream: Iterable[bytes] = ()

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, path: str, body: object = None, limit_s: float | None = None, head: object = None
    ) -> AsyncIterator[FakeReply]:
        models = json.dumps(encode_models([ModelInfo("m", "x")])).encode()
        yield FakeReply([models], content_type="application/json") if method == "GET" else FakeReply(self.stream)

    async def close(self) -> None:
        pass


async def test_a_damaged_stream_has_a_clear_end_and_no_wrong_character() -> None:
    await check_mutations(300, 33)


@pytest.mark.soak
async def test_a_hundred_thousand_damaged_streams_have_a_clear_end() -> None:
    await check_mutations(5_000, 33)
    rng, http, model = random.Random(34), FakeHttpClient(), RemoteModel("http://127.0.0.1:1")
    cast(Any, model)._api._http = http
    for _ in range(95_000):
        body = mutate(CLEAN, rng)
        http.stream = cut_into_blocks(body, rng)
        await check_answer(model, body)


async def test_a_damaged_head_has_a_clear_end() -> None:
    rng = random.Random(33)
    for _ in range(60):
        reply = mutate(reply_head(), rng) + stream_body(TEXT)
        with contextlib.suppress(ModelError):
            async with asyncio.timeout(30):
                await answer_to(reply, config=ClientConfig(read_timeout_s=1, first_token_s=1))
