"""Sends an answer to its client, whole or as server-sent events with keep-alives, until the client disconnects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from model.errors import ModelError
from model.interface import CompletionRequest, TextChunk
from model.openai_api import response
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.server import refusals
from model.server.limits import RequestLimits
from model.server.refusals import CancelReason, HttpError, StreamCancelled

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # otherwise nginx buffers the events
]

log = logging.getLogger("asr33.serve")


class ClientStream:
    """The client of a request, until the answer ends. `cancel` ends the answer early."""

    def __init__(self, key_name: str) -> None:
        self.key_name = key_name
        self.token_count = 0
        self.cancelled: asyncio.Future[CancelReason] = asyncio.get_running_loop().create_future()

    def cancel(self, reason: CancelReason) -> None:
        if not self.cancelled.done():
            self.cancelled.set_result(reason)


class CompletionBackend(Protocol):
    """Generates the answers. `BatchModel` implements it."""

    def count_tokens(self, text: str) -> int: ...
    def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]: ...
    async def prefill(self, request: CompletionRequest) -> int: ...


class CompletionResponse:
    """The answer to one request: a stream, a whole answer, or the token count of a prefill."""

    def __init__(
        self,
        request: OpenAIRequest,
        backend: CompletionBackend,
        client: ClientStream,
        limits: RequestLimits,
        template: CompletionChunk,
    ) -> None:
        """`template` has the fields that all chunks share."""
        self._request, self._backend, self._client = request, backend, client
        self._limits, self._template = limits, template
        self._next_offset = len(request.completion.prompt)  # in characters

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer. An error before the first byte is raised; a later one is sent as the last event."""
        if self._request.stream and not self._request.prefill_only:
            await self._send_stream(send)
            return
        chunk = await (self._prefill() if self._request.prefill_only else self._whole_answer())
        await JSONResponse(chunk.to_json())(scope, receive, send)

    async def _send_stream(self, send: Send) -> None:
        has_started = False
        try:
            async with aclosing(self._sse_events()) as events:
                async for data in events:
                    if not has_started:
                        has_started = True
                        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except Exception as error:
            if not has_started or (isinstance(error, StreamCancelled) and error.reason == "gone"):
                raise
            body = response.encode_event(_failure_for(error))
            await send({"type": "http.response.body", "body": body, "more_body": False})
            if not isinstance(error, StreamCancelled | ModelError):
                raise
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _sse_events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._text_chunks()) as chunks:
            async for chunk in chunks:
                yield response.PING if chunk is None else response.encode_event(self._completion_chunk(chunk))
        if self._request.include_usage:
            yield response.encode_event(replace(self._template, usage=self._usage()))
        yield response.encode_event(StreamEnd())

    async def _whole_answer(self) -> CompletionChunk:
        async with aclosing(self._text_chunks()) as chunks:
            parts = [self._completion_chunk(chunk) async for chunk in chunks if chunk is not None]
        return replace(
            self._template,
            text="".join(part.text for part in parts),
            tokens=tuple(token for part in parts for token in part.tokens),
            logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
            offsets=tuple(offset for part in parts for offset in part.offsets),
            dropped_chars=sum(part.dropped_chars for part in parts),
            finish_reason=parts[-1].finish_reason if parts else None,
            usage=self._usage(),
        )

    async def _prefill(self) -> CompletionChunk:
        work = asyncio.ensure_future(self._backend.prefill(self._request.completion))
        usage = Usage(await until_disconnect(work, self._client), 0)
        return replace(self._template, finish_reason="length", usage=usage)

    def _text_chunks(self) -> AsyncGenerator[TextChunk | None, None]:
        chunks = self._backend.stream(self._request.completion, self._client.key_name)
        return with_keepalive(chunks, self._client, self._limits.first_chunk_s, self._limits.keepalive_s)

    def _completion_chunk(self, chunk: TextChunk) -> CompletionChunk:
        offset, self._next_offset = self._next_offset, self._next_offset + len(chunk.text)
        return replace(
            self._template,
            text=chunk.text,
            tokens=chunk.tokens,
            finish_reason=chunk.finish_reason,
            logprobs=chunk.logprobs,
            offsets=(offset,) * len(chunk.logprobs),  # several tokens may be one character, so they share an offset
            dropped_chars=chunk.dropped_chars,
        )

    def _usage(self) -> Usage:
        request = self._request.completion
        prompt_tokens = self._backend.count_tokens(request.prompt) + len(request.resume_tokens)
        return Usage(prompt_tokens, self._client.token_count)


async def with_keepalive(
    chunks: AsyncGenerator[TextChunk, None], client: ClientStream, first_chunk_s: float, keepalive_s: float
) -> AsyncGenerator[TextChunk | None, None]:
    """Yields the chunks, and None after each `keepalive_s` without a chunk (`first_chunk_s` before the first).

    Raises StreamCancelled, and the errors of `chunks`, which it closes at the end. It requests a chunk only when the
    caller has taken the chunk before.
    """
    timeout = first_chunk_s
    next_chunk: asyncio.Future[TextChunk | None] | None = None
    try:
        while True:
            next_chunk = asyncio.ensure_future(_next_chunk(chunks))
            while not next_chunk.done():
                ends = (next_chunk, client.cancelled)
                await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if client.cancelled.done():
                    raise StreamCancelled(client.cancelled.result())
                if not next_chunk.done():
                    yield None
                timeout = keepalive_s
            chunk = next_chunk.result()
            if chunk is None:
                return
            client.token_count += len(chunk.tokens)
            yield chunk
    finally:
        if next_chunk is not None:
            await _cancel_and_wait(next_chunk)
        await chunks.aclose()


async def until_disconnect(work: asyncio.Future[int], client: ClientStream) -> int:
    """Returns the result of the work. If the client goes first, cancels the work and raises StreamCancelled."""
    try:
        await asyncio.wait((work, client.cancelled), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise StreamCancelled(client.cancelled.result())
        return work.result()
    finally:
        await _cancel_and_wait(work)


async def _next_chunk(chunks: AsyncGenerator[TextChunk, None]) -> TextChunk | None:
    return await anext(chunks, None)


async def _cancel_and_wait(work: asyncio.Future[TextChunk | None] | asyncio.Future[int]) -> None:
    """Cancels the work and retrieves its exception; asyncio would log it otherwise."""
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        with suppress(BaseException):
            work.exception()


def _failure_for(error: Exception) -> ErrorInfo:
    """The last event of a stream that ends early."""
    if isinstance(error, StreamCancelled):
        return refusals.NOT_OPEN["draining"].error().failure
    return (convert_model_error(error) if isinstance(error, ModelError) else refusals.MODEL_FAILED.error()).failure


def convert_model_error(error: ModelError) -> HttpError:
    """Returns the answer to an error of the model, and logs the place of a failure, which the client is not told."""
    http_error = refusals.error_for(error)
    if http_error.failure.status == 500:
        log.error("asr33: the model failed: %s", refusals.error_location(error))
    return http_error
