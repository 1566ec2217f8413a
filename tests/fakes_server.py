"""For the server's tests: a batch that says what it is told to, and the server itself at a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fakes import until

from model.base import Ask, Piece
from model.errors import PromptTooLong
from model.serving.server import Server
from tools.hall import Hall
from tools.opening import listening
from tools.porch import Porch


@dataclass(frozen=True)
class Counters:
    steps: int
    active: int


class Typist:
    """A batch: a character of its text a step, and a step whenever somebody wants one; it counts them."""

    context = 512

    def __init__(self, text: str = "The bell rang twice.", every_s: float = 0.0) -> None:
        self.text, self.every_s = text, every_s
        self.asked: list[Ask] = []
        self.steps = self.active = self.closed = self.reading = 0
        self.loaded, self.gate = asyncio.Event(), asyncio.Event()
        self.loaded.set()
        self.gate.set()
        self.fault: Exception | None = None  # raised after the first character
        self.refusal: Exception | None = None  # raised before it
        self.shut = False
        self.logprobs = False

    async def ready(self) -> None:
        await self.loaded.wait()

    def count(self, text: str) -> int:
        return len(text)

    async def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]:
        if len(ask.prompt) > self.context:
            raise PromptTooLong(f"the prompt is {len(ask.prompt)} tokens, the context {self.context}: shorten it")
        if self.refusal:
            raise self.refusal
        self.asked.append(ask)
        self.active += 1
        try:
            left = self.text[len(ask.said) : len(ask.said) + ask.sampling.max_tokens]
            for at, char in enumerate(left):
                await asyncio.sleep(self.every_s)
                await self.gate.wait()
                self.steps += 1
                if at and self.fault:
                    raise self.fault
                told = (-1.0,) if self.logprobs else ()
                yield Piece(char, (ord(char),), 0.0, "end" if at == len(left) - 1 else None, told)
        finally:
            self.active -= 1
            self.closed += 1

    async def read(self, ask: Ask) -> int:
        self.reading += 1
        try:
            await self.gate.wait()
            return len(ask.prompt)
        finally:
            self.reading -= 1

    def counters(self) -> Counters:
        return Counters(self.steps, self.active)

    async def close(self) -> None:
        self.shut = True

    async def sound(self) -> None:
        pass


@asynccontextmanager
async def serving(
    batch: Any, hall: Hall | None = None, *, loaded: bool = True, **more: Any
) -> AsyncIterator[tuple[Server, int]]:
    """The server at a port of this computer; `more` is as of Server."""
    hall = hall or Hall()
    server = Server(batch, name="tiny", gauges=hall.gauges, **more)
    porch = Porch(server.app, hall)
    sockets = listening("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    opening = asyncio.ensure_future(porch.open(sockets))
    await until(lambda: porch.started)
    if loaded:
        await server.ready()
    try:
        yield server, port
    finally:
        porch.leave()
        await opening


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json()["error"]
        assert {"message", "type", "param", "code"} <= set(found)
        return found


def post(body: object, *, key: str = "", path: str = "/v1/completions") -> bytes:
    """A request as bytes; the connection is closed after it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{shown}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def get(path: str, *, key: str = "", method: str = "GET") -> bytes:
    shown = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{shown}\r\n".encode()


async def head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}


async def chunk_of(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def reply_of(reader: asyncio.StreamReader) -> Reply:
    status, headers = await head_of(reader)
    if "content-length" in headers:
        return Reply(status, headers, await reader.readexactly(int(headers["content-length"])))
    body = b""
    while chunk := await chunk_of(reader):
        body += chunk
    return Reply(status, headers, body)


async def asked(port: int, request: bytes) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reply_of(reader)
    finally:
        writer.close()
