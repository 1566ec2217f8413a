"""A batch model that replays a text, the completion server with it on a real socket, and HTTP for its tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fakes_teletype import wait_until

from model.errors import PromptTooLong
from model.interface import CompletionRequest, FinishReason, TextChunk
from model.server.app import CompletionServer
from model.server.http.connections import ConnectionLimiter
from model.server.http.server import HardenedServer
from model.server.http.sockets import bind_sockets


@dataclass(frozen=True)
class FakeCounters:
    steps: int
    active: int = field(metadata={"gauge": True})


class FakeBatchModel:
    """Replaces `BatchModel`: each step yields one character of the text. It counts the steps."""

    context = 512

    def __init__(self, text: str = "The bell rang twice.", every_s: float = 0.0) -> None:
        self.text, self.every_s = text, every_s
        self.requests: list[CompletionRequest] = []
        self.steps = self.active = self.ended = self.prefilling = 0
        self.loaded, self.may_step = asyncio.Event(), asyncio.Event()
        self.loaded.set()
        self.may_step.set()
        self.failure: Exception | None = None  # raised after the first character
        self.refusal: Exception | None = None  # raised before the first character
        self.is_closed = False
        self.with_logprobs = False

    async def wait_until_loaded(self) -> None:
        await self.loaded.wait()

    def count_tokens(self, text: str) -> int:
        return len(text)

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        if len(request.prompt) > self.context:
            raise PromptTooLong(f"the prompt is {len(request.prompt)} tokens, the context {self.context}: shorten it")
        if self.refusal:
            raise self.refusal
        self.requests.append(request)
        self.active += 1
        try:
            start = len(request.resume_tokens)
            answer = self.text[start : start + request.sampling.max_tokens]
            for index, char in enumerate(answer):
                await asyncio.sleep(self.every_s)
                await self.may_step.wait()
                self.steps += 1
                if index and self.failure:
                    raise self.failure
                logprobs = (-1.0,) if self.with_logprobs else ()
                tops = (((65, -0.5), (66, -1.5)),) if self.with_logprobs and request.sampling.top_logprobs else ()
                finish: FinishReason | None = "end" if index == len(answer) - 1 else None
                yield TextChunk(char, (ord(char),), 0.0, finish, logprobs, top_logprobs=tops)
        finally:
            self.active -= 1
            self.ended += 1

    async def prefill(self, request: CompletionRequest) -> int:
        self.prefilling += 1
        try:
            await self.may_step.wait()
            return len(request.prompt)
        finally:
            self.prefilling -= 1

    def counters(self) -> FakeCounters:
        return FakeCounters(self.steps, self.active)

    async def close(self) -> None:
        self.is_closed = True

    async def check_alive(self) -> None:
        pass


@asynccontextmanager
async def running_server(
    model: Any, limiter: ConnectionLimiter | None = None, *, loaded: bool = True, **options: Any
) -> AsyncIterator[tuple[CompletionServer, int]]:
    """Yields a server on a free port, and the port. `options` are those of CompletionServer."""
    limiter = limiter or ConnectionLimiter()
    server = CompletionServer(model, name="tiny", gauges=limiter.gauges, **options)
    http_server = HardenedServer(server.app, limiter)
    sockets = bind_sockets("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    serving = asyncio.ensure_future(http_server.serve_sockets(sockets))
    await wait_until(lambda: http_server.started)
    if loaded:
        await server.open_when_loaded()
    try:
        yield server, port
    finally:
        http_server.stop()
        await serving


@dataclass
class RawReply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json()["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        return error


def post(body: object, *, key: str = "", path: str = "/v1/completions") -> bytes:
    """Returns the bytes of a POST request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    header = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{header}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def get(path: str, *, key: str = "", method: str = "GET") -> bytes:
    header = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode()


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def read_reply(reader: asyncio.StreamReader) -> RawReply:
    status, headers = await read_head(reader)
    if "content-length" in headers:
        return RawReply(status, headers, await reader.readexactly(int(headers["content-length"])))
    body = b""
    while chunk := await read_chunk(reader):
        body += chunk
    return RawReply(status, headers, body)


async def send_request(port: int, request: bytes) -> RawReply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_reply(reader)
    finally:
        writer.close()
