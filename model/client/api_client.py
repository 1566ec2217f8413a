"""Requests of OpenAI's protocol to one server, an asr33 server or another. No request is repeated.

Raises ServerLost for a failure that another attempt may cure. Knows nothing of answers that were cut off.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from model.client.http_client import ClientConfig, HttpClient, HttpReply, ResponseTimeout
from model.client.liveness import ServerSilent
from model.client.reply_head import ReplyHead
from model.errors import ModelError, ModelNotFound, PromptTooLong, ServerLost
from model.interface import CompletionRequest
from model.openai_api.models import ModelInfo, decode_models
from model.openai_api.request import OpenAIRequest
from model.openai_api.response import CompletionChunk, ErrorInfo, StreamEnd, StreamEvent, decode_error, decode_event
from model.openai_api.sse import MalformedResponse, SseParser, SurrogateJoiner
from model.printable import quote_briefly
from model.server_url import ServerUrl

TRAILING_USAGE_S = 0.5  # to wait for the token counts after the end of an answer
MAX_MODELS_BYTES = 1 << 20
MAX_WORDLESS_BYTES = 1 << 20  # of a stream: comments and events without a word
ERROR_BODY_S = 5.0  # to read the body of an error
UNBUFFERED_READS = 8  # reads of one word after a wait; a proxy that buffers sends many words at once
MIN_WAIT_S = 0.002  # a shorter pause before a read does not count as a wait

TRANSIENT_STATUSES = {408, 409, 425, 429}  # and every status from 500 on
TRANSIENT_REASONS = {
    429: "too many requests",
    502: "there is no model server behind the proxy",
    503: "the model is loading, or the server is full",
}
MAX_RETRY_AFTER_S = 600.0

# The messages of OpenAI, vLLM, llama.cpp and asr33 for a prompt that is too long.
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|too.?long|too many tokens|maximum (model|input|context)"
    r"|exceeds?\b.*\b(context|tokens)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class BufferingDetector:
    """Detects a proxy that collects words before it passes them on. Pure; the times are arguments.

    An asr33 server paces its words, so such a proxy would delay each word for long. The client then asks for no pacing.
    """

    is_buffered: bool = False
    _single_reads: int = 0

    def start_answer(self) -> None:
        self._single_reads = 0

    def note_silence(self) -> None:
        """Call when the server was silent for longer than an asr33 server ever is."""
        self.is_buffered, self._single_reads = True, 0

    def note_read(self, words: int, waited_s: float) -> None:
        self._single_reads += words == 1 and waited_s > MIN_WAIT_S
        if self._single_reads >= UNBUFFERED_READS:
            self.is_buffered = False


class ApiClient:
    """One server and one of its models: the model that the URL names, else the server's first."""

    def __init__(self, server_url: ServerUrl, config: ClientConfig) -> None:
        self.server_url = server_url
        self.info: ModelInfo | None = None  # until `load_info`
        self._config = config
        self._http = HttpClient(server_url, config)
        self.buffering = BufferingDetector()
        self._head = ReplyHead(is_complete=True)  # of the stream's reply
        self._event_since: float | None = None

    @property
    def unfinished_since(self) -> float | None:
        """When the head of the stream's reply, or its event that is arriving, began; loop time."""
        return self._event_since if self._head.is_complete else self._head.begun_at

    @property
    def is_asr33(self) -> bool:
        return self.info is not None and self.info.is_asr33

    @property
    def model_name(self) -> str:
        return self.server_url.model or (self.info.id if self.info else "")

    async def load_info(self) -> None:
        """Asks for the server's models and sets `info`. Raises ModelError."""
        async with self._http.request("GET", "/v1/models") as reply:
            if reply.status in (404, 405, 501):  # some servers have no such list
                self.info = ModelInfo(self.server_url.model, owned_by="")
                return
            if reply.status != 200:
                raise await self._read_error(reply)
            reply.check_is_plain()
            try:
                models = decode_models(json.loads(await reply.read_body(MAX_MODELS_BYTES)))
            except (ValueError, RecursionError):
                raise self._server_lost("the list of its models is malformed: is it a model server?") from None
        wanted = self.server_url.model
        info = next((model for model in models if model.id == wanted or not wanted), None)
        if info is None:
            names = ", ".join(quote_briefly(model.id) for model in models[:5]) or "none"
            raise ModelNotFound(f"{self.server_url.base_url} has no model {wanted!r}; there are: {names}")
        self.info = info

    async def is_alive(self) -> bool:
        """Whether the server answers /health at all; a server without this path answers 404."""
        with suppress(ModelError):
            async with self._http.request("GET", "/health") as reply:
                return reply.status < 500
        return False

    async def prefill(self, completion: CompletionRequest) -> None:
        """Lets the server read the prompt into its cache. Never fails: the request for the answer gets the error."""
        body = OpenAIRequest(self.model_name, completion, stream=False, prefill_only=True, include_usage=False)
        with suppress(ModelError, TimeoutError):
            async with self._post(body) as reply:
                await reply.read_body()

    async def find_error(self, completion: CompletionRequest) -> ModelError | None:
        """Asks for one token without a stream and returns the error; some servers report it only there."""
        one_token = replace(completion, sampling=replace(completion.sampling, max_tokens=1))
        try:
            async with self._post(OpenAIRequest(self.model_name, one_token, stream=False)) as reply:
                return None if reply.status == 200 else await self._read_error(reply)
        except ServerLost as error:
            return error

    async def stream(self, completion: CompletionRequest) -> AsyncGenerator[CompletionChunk, None]:
        """Yields the chunks of an answer; the last has the finish reason, unless the stream was cut off.

        The first chunk is empty and says that the server has begun to work. Raises ModelError.
        """
        self.buffering.start_answer()
        async with self._open_stream(OpenAIRequest(self.model_name, completion)) as reply:
            await self._check_is_stream(reply)
            yield CompletionChunk("", 0, "")
            async with aclosing(reply.iter_bytes()) as blocks, aclosing(self._decode_events(blocks)) as events:
                async for event in events:
                    if isinstance(event, ErrorInfo):
                        raise self.error_for(event)
                    if isinstance(event, StreamEnd):
                        event = CompletionChunk("", 0, "", finish_reason="end")
                    elif event.finish_reason:
                        event = await self._with_trailing_usage(event, events)
                    yield event
                    if event.finish_reason:
                        return

    def error_for(self, info: ErrorInfo, retry_after: str = "") -> ModelError:
        has_key = bool(self._config.api_key)
        return error_for_reply(self.server_url.base_url, self.server_url.model, info, has_key, retry_after)

    async def close(self) -> None:
        await self._http.close()

    def _post(
        self, body: OpenAIRequest, limit_s: float | None = None, head: ReplyHead | None = None
    ) -> AbstractAsyncContextManager[HttpReply]:
        return self._http.request("POST", "/v1/completions", body.to_json(), limit_s, head)

    @asynccontextmanager
    async def _open_stream(self, body: OpenAIRequest) -> AsyncIterator[HttpReply]:
        """Yields the reply. An asr33 server sends its head at once, other servers with the first token."""
        limit_s = self._config.first_token_s
        if self.is_asr33:
            limit_s = min(self._config.read_timeout_s, limit_s)
        self._head, self._event_since = ReplyHead(), None
        try:
            async with self._post(body, limit_s, self._head) as reply:
                yield reply
        except ResponseTimeout:
            self.buffering.note_silence()
            raise
        finally:
            self._head.is_complete, self._event_since = True, None

    async def _with_trailing_usage(self, last: CompletionChunk, events: AsyncIterator[StreamEvent]) -> CompletionChunk:
        """Returns the last chunk with the token counts that follow it.

        Reads on to the end of the stream: only then can the connection serve the next request.
        """
        with suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(TRAILING_USAGE_S):
                async for event in events:
                    if isinstance(event, CompletionChunk) and event.usage:
                        last = replace(last, usage=event.usage)
        return last

    async def _decode_events(self, blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[StreamEvent, None]:
        """Yields the events as they arrive. Raises ServerLost for silence and for malformed bytes."""
        parser, joiner, loop = SseParser(), SurrogateJoiner(), asyncio.get_running_loop()
        is_before_text, waited_s = True, 0.0  # since the last word, without the caller's pauses
        wordless_bytes, completed = 0, 0
        while True:
            start = loop.time()
            try:
                async with asyncio.timeout(self._read_limit_s(is_before_text, waited_s)):
                    block = await anext(blocks, None)
            except TimeoutError:
                if self.is_asr33 and loop.time() - start >= self._config.read_timeout_s:
                    self.buffering.note_silence()
                reason = f"no {'' if is_before_text else 'further '}word came in the time allowed"
                if waited_s + loop.time() - start >= self._config.first_token_s:  # it was alive, and sent no word
                    raise ServerSilent(f"{self.server_url.base_url}: {reason}") from None
                raise self._server_lost(reason) from None
            if block is None:
                return
            read_s = loop.time() - start
            waited_s += read_s
            wordless_bytes += len(block)
            words = 0
            try:
                for data in parser.iter_events(block):
                    event = decode_event(data)
                    if isinstance(event, CompletionChunk) and (event.text or event.tokens):
                        is_before_text, waited_s, words, wordless_bytes = False, 0.0, words + 1, 0
                        event = replace(event, text=joiner.feed(event.text))
                    yield event
            except MalformedResponse as error:
                raise self._server_lost(f"the stream is malformed: {error}") from None
            if wordless_bytes > MAX_WORDLESS_BYTES:
                raise self._server_lost(f"over {MAX_WORDLESS_BYTES:,} bytes came without a word: is it a model server?")
            if parser.completed != completed or self._event_since is None:
                self._event_since, completed = loop.time(), parser.completed
            self._event_since = self._event_since if parser.is_unfinished else None
            self.buffering.note_read(words, read_s)
            await asyncio.sleep(0)  # many blocks may have arrived, and strokes are due meanwhile

    def _read_limit_s(self, is_before_text: bool, waited_s: float) -> float:
        """Returns how long the next byte may take. Only an asr33 server always sends comments before the first word."""
        left_s = self._config.first_token_s - waited_s
        return left_s if is_before_text and not self.is_asr33 else min(self._config.read_timeout_s, left_s)

    async def _check_is_stream(self, reply: HttpReply) -> None:
        """Raises ModelError if the reply is not a stream of events."""
        if reply.status != 200:
            raise await self._read_error(reply)
        if reply.content_type != "text/event-stream":
            content = quote_briefly(reply.content_type) or "something"
            raise self._server_lost(f"{content} came, not a stream of events: is a proxy in between?")
        reply.check_is_plain()

    async def _read_error(self, reply: HttpReply) -> ModelError:
        body = await reply.read_body(limit_s=ERROR_BODY_S)
        return self.error_for(decode_error(reply.status, body.decode("utf-8", "replace")), reply.retry_after)

    def _server_lost(self, reason: str) -> ServerLost:
        return ServerLost(f"{self.server_url.base_url}: {reason}")


def error_for_reply(base_url: str, model: str, info: ErrorInfo, has_key: bool, retry_after: str = "") -> ModelError:
    """Returns the error with its cure: ServerLost if another attempt may help, else one of another kind.

    `has_key`: the request had a key. `retry_after` is the header of that name.
    """
    status, message = info.status, info.message
    if status in (401, 403):
        cure = (
            "the key is refused: put the right one in key_file"
            if has_key
            else "a key is needed: name its file, [model] key_file or ASR33_MODEL_KEY_FILE"
        )
        return ModelError(f"{base_url}: {cure}", "denied")
    if status in TRANSIENT_STATUSES or status >= 500:
        reason = f"{TRANSIENT_REASONS.get(status, 'the request fails')} ({status})" + (
            f": {message}" if message else ""
        )
        return ServerLost(f"{base_url}: {reason}", parse_retry_after(retry_after))
    if status == 413 or _TOO_LONG.search(f"{info.code} {message}"):
        return PromptTooLong(f"{base_url}: the prompt is too long for the model: {message or 'shorten it'}")
    if status == 404:
        text = f"nothing is at {base_url}/v1/completions: is that the URL of a model server, up to its /v1?"
        if info.code == "model_not_found" or (model and model in message):
            text = f"{base_url} has no model {model!r}; {base_url}/v1/models has the names: write #NAME after the URL"
        return ModelNotFound(text)
    if 300 <= status < 400:
        return ModelError(f"{base_url} redirects to another URL: name the server's own URL", "protocol")
    return ModelError(f"{base_url} refuses the request ({status}){f': {message}' if message else ''}", "protocol")


def parse_retry_after(header: str) -> float:
    """Returns the seconds of a Retry-After header; 0 for a date or nonsense."""
    try:
        wait_s = float(header)
    except ValueError:
        return 0.0
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S) if wait_s == wait_s else 0.0
