"""A model server on a real socket: it streams a given text, and fails as a test says. Helpers for tests with it."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes_flaky_network import reset_connection
from fakes_teletype import run_jumping

from model.client.http_client import ClientConfig
from model.client.remote_model import RemoteModel
from model.errors import Kind, ModelError
from model.interface import FinishReason, Sampling, TextChunk
from model.openai_api import response
from model.openai_api.models import ModelInfo, encode_models
from model.openai_api.response import CompletionChunk, StreamEnd

STREAM = "text/event-stream; charset=utf-8"
GRACE_S = 0.01  # real time for bytes on their way, before the time of `on_network_loop` jumps


def reply_head(status: int = 200, kind: str = STREAM, *more: str) -> bytes:
    """Returns the head of a reply whose body ends with the connection."""
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
        tokens: list[int] = self.body["asr33"]["said"]
        return tokens


Responder = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeModelServer:
    """The responders answer the POSTs in turn, the last one all later POSTs. `async with` runs the server."""

    responders: list[Responder]
    is_asr33: bool = False
    vocabulary: str = "letters"
    context: int = 512
    tls: ssl.SSLContext | None = None
    models: bytes | None = None  # the reply to /v1/models; None: one model
    is_mute: bool = False  # accepts connections and never replies
    port: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)  # the client left before the reply was complete
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[ReceivedRequest]:
        return [request for request in self.requests if request.method == "POST"]

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
            owner, vocabulary = ("asr33", self.vocabulary) if self.is_asr33 else ("x", "")
            models = encode_models([ModelInfo("m", owner, self.context, (), vocabulary)])
            writer.write(self.models or full_reply(200, json.dumps(models).encode()))
            return
        respond = self.responders[min(len(self.posts), len(self.responders)) - 1]
        responding = asyncio.ensure_future(respond(request, writer))
        leaving = asyncio.ensure_future(reader.read())
        await asyncio.wait({responding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not responding.done():
            self.client_left.set()
        for task in (responding, leaving):
            task.cancel()
        await asyncio.gather(responding, leaving, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return ReceivedRequest(method, path, headers, json.loads(body) if body else None)


def chunk_event(text: str = "", finish: FinishReason | None = None, *, with_tokens: bool = False) -> bytes:
    """Returns an event; its tokens are the code points of the text."""
    tokens = tuple(map(ord, text)) if with_tokens else ()
    return response.encode_event(CompletionChunk("c", 1, "m", text, tokens, finish, is_plain=not with_tokens))


def stream_body(text: str, *, with_tokens: bool = False, size: int = 3) -> bytes:
    """Returns the body of a complete stream; each event has `size` characters of the text."""
    events = [chunk_event(text[at : at + size], with_tokens=with_tokens) for at in range(0, len(text), size)]
    return b"".join([*events, chunk_event(finish="end", with_tokens=with_tokens), response.encode_event(StreamEnd())])


def remaining_text(text: str, prompt: str, request: ReceivedRequest) -> str:
    """Returns the text without the part that the request has in its prompt or as tokens."""
    so_far = request.body["prompt"][len(prompt) :] + "".join(map(chr, request.resume_tokens))
    assert text.startswith(so_far), so_far
    return text[len(so_far) :]


def stream_text(text: str, prompt: str = "", *, with_tokens: bool = False, cut_at: int | None = None) -> Responder:
    """Streams the rest of the text to its end, or cuts it off after `cut_at` bytes of the body."""

    def make_reply(request: ReceivedRequest) -> bytes:
        body = stream_body(remaining_text(text, prompt, request), with_tokens=with_tokens)
        return reply_head() + body[:cut_at]

    return send_bytes(make_reply)


def send_bytes(reply: bytes | Callable[[ReceivedRequest], bytes]) -> Responder:
    async def respond(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(reply if isinstance(reply, bytes) else reply(request))
        await writer.drain()

    return respond


def send_parts(*parts: bytes | float, reset: bool = False) -> Responder:
    """Sends the bytes; a number is a pause in seconds. `reset` ends the connection with RST."""

    async def respond(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        if reset:
            reset_connection(writer)

    return respond


def raises_model_error(kind: Kind, match: str | None = None) -> pytest.RaisesExc[ModelError]:
    """Expects a ModelError of this kind, and none of its subclasses."""
    return pytest.raises(ModelError, match=match, check=lambda error: (type(error), error.kind) == (ModelError, kind))


async def answer_from(
    server: FakeModelServer, sampling: Sampling | None = None, config: ClientConfig | None = None, prompt: str = ""
) -> list[TextChunk]:
    """Returns the chunks of an answer from a model that is closed afterwards."""
    model = RemoteModel(server.url, config)
    try:
        return [chunk async for chunk in model.stream(prompt, sampling or Sampling())]
    finally:
        await model.close()


async def answer_to(
    reply: bytes | Responder, sampling: Sampling | None = None, config: ClientConfig | None = None
) -> list[TextChunk]:
    """Returns the chunks of an answer from a server that sends this reply."""
    async with FakeModelServer([send_bytes(reply) if isinstance(reply, bytes) else reply]) as server:
        return await answer_from(server, sampling, config)


def text_of(chunks: list[TextChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def on_network_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on a loop whose time jumps when no byte is on its way; the limit is 100,000 seconds of it."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        run_jumping(asyncio.wait_for(test(*args, **options), 100_000), GRACE_S)

    return run
