"""A model server on a real socket that says one text to whatever it is asked, and misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from model.base import Finish
from model.far import wire
from model.far.wire import Chunk, Done

STREAM = "text/event-stream; charset=utf-8"


def head(status: int = 200, kind: str = STREAM, *more: str) -> bytes:
    """The head of a reply whose body ends with the connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(status: int, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    return head(status, kind, f"Content-Length: {len(body)}", *more) + body


def refused(status: int, message: str = "", code: str = "") -> bytes:
    return whole(status, json.dumps(wire.Failure(status, "x", message, code).to_json()).encode())


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any = None

    @property
    def said(self) -> list[int]:
        said: list[int] = self.body["asr33"]["said"]
        return said


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FarEnd:
    """Use it as a context. `answers` are given in turn, the last one for ever; each POST is in `posts`."""

    answers: list[Answer]
    ours: bool = False
    vocabulary: str = "letters"
    context: int = 512
    tls: ssl.SSLContext | None = None
    models: bytes | None = None  # instead of the catalogue
    mute: bool = False  # it takes the connection and says nothing
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed what was being answered
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "POST"]

    async def __aenter__(self) -> FarEnd:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._answer(await read_request(reader), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        if self.mute:
            await reader.read()
            return
        if asked.method == "GET":
            card = wire.Card("m", "asr33" if self.ours else "x", self.context, (), self.vocabulary if self.ours else "")
            writer.write(self.models or whole(200, json.dumps(wire.catalogue([card])).encode()))
            return
        answer = self.answers[min(len(self.posts), len(self.answers)) - 1]
        work = asyncio.ensure_future(answer(asked, writer))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.gone.set()
        for one in (work, gone):
            one.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, json.loads(body) if body else None)


def chunk(text: str = "", finish: Finish | None = None, *, tokens: bool = False) -> bytes:
    known = tuple(map(ord, text)) if tokens else ()
    return wire.event(Chunk("c", 1, "m", text, known, finish, bare=not tokens))


def recorded(text: str, *, tokens: bool = False, size: int = 3) -> bytes:
    """The body of a stream that says the text and ends it."""
    parts = [chunk(text[at : at + size], tokens=tokens) for at in range(0, len(text), size)]
    return b"".join([*parts, chunk(finish="end", tokens=tokens), wire.event(Done())])


def left(text: str, prompt: str, asked: Asked) -> str:
    """What of the text is left to say: behind the tokens that were said, or behind what the prompt has of it."""
    so_far = asked.body["prompt"][len(prompt) :] + "".join(map(chr, asked.said))
    assert text.startswith(so_far), so_far
    return text[len(so_far) :]


def says(text: str, prompt: str = "", *, tokens: bool = False) -> Answer:
    """It says all that is left, and ends it."""
    return sends(lambda asked: head() + recorded(left(text, prompt, asked), tokens=tokens))


def breaks(text: str, prompt: str = "", *, at: int, tokens: bool = False) -> Answer:
    """The same, cut off behind so many bytes of the body."""
    return sends(lambda asked: head() + recorded(left(text, prompt, asked), tokens=tokens)[:at])


def sends(reply: bytes | Callable[[Asked], bytes]) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply if isinstance(reply, bytes) else reply(asked))
        await writer.drain()

    return answer


def then(*parts: bytes | float, reset: bool = False) -> Answer:
    """Bytes and pauses."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        if reset:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    return answer
