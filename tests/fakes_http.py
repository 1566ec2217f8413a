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

from model.interface import FinishReason
from model.openai_api import response
from model.openai_api.response import CompletionChunk, StreamEnd

STREAM = "text/event-stream; charset=utf-8"


def reply_head(status: int = 200, kind: str = STREAM, *more: str) -> bytes:
    """The head of a reply whose body ends with the connection."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def full_reply(status: int, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    return reply_head(status, kind, f"Content-Length: {len(body)}", *more) + body


def error_reply(status: int, message: str = "", code: str = "") -> bytes:
    return full_reply(status, json.dumps(response.ErrorInfo(status, "x", message, code).to_json()).encode())


@dataclass
class ReceivedRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: Any = None

    @property
    def resume_tokens(self) -> list[int]:
        said: list[int] = self.body["asr33"]["said"]
        return said


Responder = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeModelServer:
    """Use it as a context. `answers` are given in turn, the last one for ever; each POST is in `posts`."""

    responders: list[Responder]
    is_asr33: bool = False
    vocabulary: str = "letters"
    context: int = 512
    tls: ssl.SSLContext | None = None
    models: bytes | None = None  # instead of the catalogue
    is_mute: bool = False  # it takes the connection and says nothing
    port: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed what was being answered
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[ReceivedRequest]:
        return [asked for asked in self.requests if asked.method == "POST"]

    async def __aenter__(self) -> FakeModelServer:
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
            await self._respond(await read_request(reader), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _respond(
        self, request: ReceivedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.requests.append(request)
        if self.is_mute:
            await reader.read()
            return
        if request.method == "GET":
            card = response.ModelInfo(
                "m", "asr33" if self.is_asr33 else "x", self.context, (), self.vocabulary if self.is_asr33 else ""
            )
            writer.write(self.models or full_reply(200, json.dumps(response.encode_models([card])).encode()))
            return
        answer = self.responders[min(len(self.posts), len(self.responders)) - 1]
        work = asyncio.ensure_future(answer(request, writer))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.client_left.set()
        for one in (work, gone):
            one.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return ReceivedRequest(method, path, headers, json.loads(body) if body else None)


def chunk_event(text: str = "", finish: FinishReason | None = None, *, with_tokens: bool = False) -> bytes:
    known = tuple(map(ord, text)) if with_tokens else ()
    return response.encode_event(CompletionChunk("c", 1, "m", text, known, finish, is_plain=not with_tokens))


def stream_body(text: str, *, with_tokens: bool = False, size: int = 3) -> bytes:
    """The body of a stream that says the text and ends it."""
    parts = [chunk_event(text[at : at + size], with_tokens=with_tokens) for at in range(0, len(text), size)]
    return b"".join([*parts, chunk_event(finish="end", with_tokens=with_tokens), response.encode_event(StreamEnd())])


def remaining_text(text: str, prompt: str, request: ReceivedRequest) -> str:
    """What of the text is left to say: behind the tokens that were said, or behind what the prompt has of it."""
    so_far = request.body["prompt"][len(prompt) :] + "".join(map(chr, request.resume_tokens))
    assert text.startswith(so_far), so_far
    return text[len(so_far) :]


def stream_text(text: str, prompt: str = "", *, with_tokens: bool = False) -> Responder:
    """It says all that is left, and ends it."""
    return send_bytes(
        lambda asked: reply_head() + stream_body(remaining_text(text, prompt, asked), with_tokens=with_tokens)
    )


def stream_cut_at(text: str, prompt: str = "", *, at: int, with_tokens: bool = False) -> Responder:
    """The same, cut off behind so many bytes of the body."""
    return send_bytes(
        lambda asked: reply_head() + stream_body(remaining_text(text, prompt, asked), with_tokens=with_tokens)[:at]
    )


def send_bytes(reply: bytes | Callable[[ReceivedRequest], bytes]) -> Responder:
    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(reply if isinstance(reply, bytes) else reply(asked))
        await writer.drain()

    return answer


def send_parts(*parts: bytes | float, reset: bool = False) -> Responder:
    """Bytes and pauses."""

    async def answer(asked: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
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
