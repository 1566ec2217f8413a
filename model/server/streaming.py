"""One answer on its way out: as events while it is made, or as a whole. OpenAI's shapes, by `model.openai_api.response`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from model.errors import ModelError
from model.interface import CompletionRequest, TextChunk
from model.openai_api import response
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.server import limits
from model.server.keepalive import ClientStream, StreamCancelled, until_disconnect, with_keepalive
from model.server.limits import HttpError, RequestLimits
from model.server.middleware import error_location

DRAINING_FAILURE = ErrorInfo(503, "service_unavailable_error", "the server is going down: go on at another", "draining")
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the words back
]

log = logging.getLogger("asr33.serve")


class CompletionBackend(Protocol):
    """Where answers are made."""

    def count_tokens(self, text: str) -> int: ...

    def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]: ...

    async def prefill(self, request: CompletionRequest) -> int: ...


class CompletionResponse:
    """What one request is given."""

    def __init__(
        self,
        request: response.OpenAIRequest,
        backend: CompletionBackend,
        client: ClientStream,
        limits: RequestLimits,
        template: CompletionChunk,
    ) -> None:
        """`base` has what all chunks of it share."""
        self._request, self._backend, self._client, self._limits, self._template = (
            request,
            backend,
            client,
            limits,
            template,
        )
        self._next_offset = len(request.completion.prompt)  # characters, up to what comes next

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """All of it. Raises ModelError and Cut while nothing has gone out; later they are the stream's last event."""
        if self._request.stream and not self._request.prefill_only:
            await self._send_stream(send)
            return
        whole = await (self._prefill() if self._request.prefill_only else self._whole_answer())
        await JSONResponse(whole.to_json())(scope, receive, send)

    async def _send_stream(self, send: Send) -> None:
        begun = False
        try:
            async with aclosing(self._sse_events()) as events:
                async for data in events:
                    if not begun:
                        begun = True
                        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except Exception as error:
            if not begun or (isinstance(error, StreamCancelled) and error.reason == "gone"):
                raise
            last = response.encode_event(_failure_for(error))
            await send({"type": "http.response.body", "body": last, "more_body": False})
            if not isinstance(error, StreamCancelled | ModelError):
                raise
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _sse_events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._text_chunks()) as pieces:
            async for piece in pieces:
                yield response.PING if piece is None else response.encode_event(self._chunk_of(piece))
        if self._request.include_usage:
            yield response.encode_event(self._fill_template(usage=self._usage()))
        yield response.encode_event(StreamEnd())

    async def _whole_answer(self) -> CompletionChunk:
        async with aclosing(self._text_chunks()) as pieces:
            got = [self._chunk_of(piece) async for piece in pieces if piece is not None]
        return self._fill_template(
            text="".join(piece.text for piece in got),
            tokens=tuple(token for piece in got for token in piece.tokens),
            logprobs=tuple(number for piece in got for number in piece.logprobs),
            offsets=tuple(number for piece in got for number in piece.offsets),
            forgotten=sum(piece.forgotten for piece in got),
            finish=got[-1].finish if got else None,
            usage=self._usage(),
        )

    async def _prefill(self) -> CompletionChunk:
        reading = asyncio.ensure_future(self._backend.prefill(self._request.completion))
        return self._fill_template(finish="length", usage=Usage(await until_disconnect(reading, self._client), 0))

    def _text_chunks(self) -> AsyncGenerator[TextChunk | None, None]:
        limits = self._limits
        return with_keepalive(
            self._backend.stream(self._request.completion, self._client.key_name),
            self._client,
            limits.first_chunk_s,
            limits.keepalive_s,
        )

    def _chunk_of(self, chunk: TextChunk) -> CompletionChunk:
        at, self._next_offset = self._next_offset, self._next_offset + len(chunk.text)
        return self._fill_template(
            text=chunk.text,
            tokens=chunk.tokens,
            finish=chunk.finish_reason,
            logprobs=chunk.logprobs,
            offsets=(at,) * len(chunk.logprobs),  # what tokens are to a character, only all of them tell
            forgotten=chunk.dropped_chars,
        )

    def _usage(self) -> Usage:
        ask = self._request.completion
        return Usage(self._backend.count_tokens(ask.prompt) + len(ask.resume_tokens), self._client.token_count)

    def _fill_template(self, **fields: Any) -> CompletionChunk:
        return replace(self._template, **fields)


def _failure_for(error: Exception) -> ErrorInfo:
    """The last event of a stream that was broken off."""
    if isinstance(error, StreamCancelled):
        return DRAINING_FAILURE
    return (log_and_convert(error) if isinstance(error, ModelError) else limits.error_for(ModelError())).failure


def log_and_convert(error: ModelError) -> HttpError:
    """How the reader hears of it; what he is not told, the log has."""
    no = limits.error_for(error)
    if no.failure.status == 500:
        log.error("asr33: the model failed: %s", error_location(error))
    return no
