"""Turns the chunks of a request's choices into its reply: a stream, a whole answer, or the token count of a prefill."""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from model.dialogue import ChatTextFilter
from model.errors import ModelError
from model.interface import CompletionRequest, TextChunk
from model.openai_api import chat_response, response
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, Usage
from model.server import refusals
from model.server.limits import RequestLimits
from model.server.refusals import HttpError, StreamCancelled
from model.server.streaming import ClientStream, IndexedChunk, until_disconnect, with_keepalive

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # otherwise nginx buffers the events
]

log = logging.getLogger("asr33.serve")


class CompletionBackend(Protocol):
    """Generates the answers. `BatchModel` implements it."""

    def count_tokens(self, text: str) -> int: ...
    def token_bytes(self, token: int) -> bytes: ...
    def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]: ...
    async def prefill(self, request: CompletionRequest) -> int: ...


class CompletionResponse:
    """The answer to one request."""

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
        self._choices = [
            _ChoiceEncoder(replace(template, index=index), choice, backend, request)
            for index, choice in enumerate(request.choices)
        ]

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer. An error before the first byte is raised; a later one is sent as the last event."""
        if self._request.prefill_only:
            work = asyncio.ensure_future(self._backend.prefill(self._request.completion))
            usage = Usage(await until_disconnect(work, self._client), 0)
            await self._send_answers([replace(self._template, finish_reason="length")], usage, scope, receive, send)
        elif self._request.stream:
            await self._send_stream(scope, send)
        else:
            await self._send_answers(await self._whole_answers(), self._usage(), scope, receive, send)

    async def _send_answers(
        self, answers: list[CompletionChunk], usage: Usage, scope: Scope, receive: Receive, send: Send
    ) -> None:
        encode = chat_response.encode_chat_answers if self._request.is_chat else response.encode_answers
        await JSONResponse(encode(answers, usage))(scope, receive, send)

    async def _send_stream(self, scope: Scope, send: Send) -> None:
        has_started = False
        try:
            async with aclosing(self._sse_events()) as events:
                async for data in events:
                    if not has_started:
                        has_started = True
                        scope["state"]["filler"] = response.PING
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
        async with aclosing(self._chunks()) as chunks:
            async for item in chunks:
                if item is None:
                    yield response.PING
                    continue
                self._client.token_count += len(item[1].tokens)
                if events := self._choices[item[0]].encode(item[1]):
                    yield events
        if self._request.include_usage:
            last = replace(self._template, usage=self._usage())
            yield chat_response.encode_chat_usage(last) if self._request.is_chat else response.encode_event(last)
        yield response.encode_event(StreamEnd())

    async def _whole_answers(self) -> list[CompletionChunk]:
        parts: list[list[CompletionChunk]] = [[] for _ in self._choices]
        async with aclosing(self._chunks()) as chunks:
            async for item in chunks:
                if item is not None:
                    self._client.token_count += len(item[1].tokens)
                    parts[item[0]].append(self._choices[item[0]].convert(item[1]))
        return [choice.join(chunks) for choice, chunks in zip(self._choices, parts, strict=True)]

    def _chunks(self) -> AsyncGenerator[IndexedChunk | None, None]:
        key_name, limits = self._client.key_name, self._limits
        choices = [self._backend.stream(choice, key_name) for choice in self._request.choices]
        return with_keepalive(choices, self._client, limits.first_chunk_s, limits.keepalive_s)

    def _usage(self) -> Usage:
        """Counts each prompt once, however many choices it has."""
        prompts = self._request.choices[:: self._request.choices_per_prompt]
        prompt_tokens = sum(self._backend.count_tokens(choice.prompt) for choice in prompts)
        resumed = len(self._request.completion.resume_tokens)
        return Usage(prompt_tokens + resumed, self._client.token_count)


class _ChoiceEncoder:
    """Turns the chunks of one choice into chunks of the protocol, and these into events."""

    def __init__(
        self, template: CompletionChunk, choice: CompletionRequest, backend: CompletionBackend, request: OpenAIRequest
    ) -> None:
        self._template, self._backend, self._is_chat = template, backend, request.is_chat
        self._chat_text = ChatTextFilter(request.persona_tag) if request.is_chat else None
        self._echo = choice.prompt if request.echo else ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")  # as the answer is decoded
        self._next_offset = len(choice.prompt)  # in characters
        self._is_first = True

    def encode(self, chunk: TextChunk) -> bytes:
        """Returns the events of a chunk; none if a chat message gains no text by it."""
        converted, is_first = self.convert(chunk), self._is_first
        if not self._is_chat:
            return response.encode_event(converted)
        self._is_first = False
        return chat_response.encode_chat_chunk(converted, is_first)

    def convert(self, chunk: TextChunk) -> CompletionChunk:
        text = self._echo + chunk.text
        self._echo = ""
        if self._chat_text:
            text = self._chat_text.feed(text) + (self._chat_text.flush() if chunk.finish_reason else "")
        converted = replace(
            self._template,
            text=text,
            tokens=chunk.tokens,
            finish_reason=chunk.finish_reason,
            logprobs=chunk.logprobs,
            dropped_chars=chunk.dropped_chars,
        )
        if not chunk.logprobs:
            return converted
        return replace(
            converted,
            offsets=tuple(map(self._offset_of, chunk.tokens)),
            token_texts=tuple(map(self._backend.token_bytes, chunk.tokens)),
            top_logprobs=tuple(
                tuple((self._backend.token_bytes(token), number) for token, number in tops)
                for tops in chunk.top_logprobs
            ),
        )

    def join(self, parts: list[CompletionChunk]) -> CompletionChunk:
        """Returns the whole answer."""
        return replace(
            self._template,
            text="".join(part.text for part in parts),
            tokens=tuple(token for part in parts for token in part.tokens),
            finish_reason=parts[-1].finish_reason if parts else None,
            logprobs=tuple(number for part in parts for number in part.logprobs),
            offsets=tuple(offset for part in parts for offset in part.offsets),
            dropped_chars=sum(part.dropped_chars for part in parts),
            token_texts=tuple(data for part in parts for data in part.token_texts),
            top_logprobs=tuple(tops for part in parts for tops in part.top_logprobs),
        )

    def _offset_of(self, token: int) -> int:
        """Where the text of the answer's next token begins. Tokens of one character share its offset."""
        offset = self._next_offset
        self._next_offset += len(self._decoder.decode(self._backend.token_bytes(token)))
        return offset


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
