"""A model at a URL: OpenAI's `/v1/completions` over HTTP, our own server's or another's.

One server, asked once: whatever goes wrong is raised, as ServerLost where another try may mend it; `model.client.failover`
tries again. What a stream brings is handed on as it comes, and the stream is closed with the generator.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace

from model.client.buffering_detector import BufferingDetector
from model.client.http_client import ClientConfig, HttpClient, HttpReply, ResponseTimeout
from model.client.http_errors import error_for_reply
from model.client.partial_answer import PartialAnswer, ResumeTrimmer
from model.client.prefill_sender import PrefillSender
from model.client.server_url import parse_server_url
from model.client.token_estimate import TokenEstimate
from model.errors import ModelError, ModelNotFound, PromptTooLong, ServerLost
from model.generate.prefix_cache import stable_prefix
from model.interface import CompletionRequest, Sampling, TextChunk
from model.openai_api import response
from model.openai_api.sse import SseParser

TRAILING_USAGE_S = 0.5  # for the count behind an answer that is complete
MAX_BODY_BYTES = 65536  # bytes of an answer that is not a stream
MAX_MODELS_BYTES = 1 << 20
DEFAULT_CONTEXT_TOKENS = 512  # tokens, where nobody says: the embedded model's, and less than any other's
SHORT_PROMPT_CHARS = 64  # characters, too many for no context
ASR33_READ_AHEAD_CHARS, OTHER_READ_AHEAD_CHARS = (
    600,
    65536,
)  # characters: ours paces itself; another's proxy may not bear a slow reader

Clock = Callable[[], float]
NO_ANSWER_YET = PartialAnswer()


class RemoteModel:
    """The model at a URL, as `model.interface.Model` has it. Raises AddressWrong."""

    def __init__(self, url: str, config: ClientConfig | None = None, *, clock: Clock = time.monotonic) -> None:
        self.server_url = parse_server_url(url)
        self._config, self._clock = config or ClientConfig(), clock
        self._http = HttpClient(self.server_url, self._config)
        self._info: response.ModelInfo | None = None
        self._is_info_stale = True  # it may be another server, or another model, since the card was read
        self._buffering = BufferingDetector()
        self._token_estimate = TokenEstimate()
        self._prefill_sender = PrefillSender(self._send_prefill)

    @property
    def name(self) -> str:
        if self.server_url.model or self._info is None:
            return self.server_url.model or self.server_url.base_url.partition("://")[2]
        return self._info.id

    @property
    def device(self) -> str:
        return self.server_url.base_url

    @property
    def context(self) -> int:
        return (self._info and self._info.context) or DEFAULT_CONTEXT_TOKENS

    @property
    def is_asr33(self) -> bool:
        return self._info is not None and self._info.is_asr33

    @property
    def vocabulary(self) -> str:
        """Two servers of ours with the same have the same tokens; empty where tokens are not to be had."""
        if not self.is_asr33 or self._info is None:
            return ""
        return self._info.vocabulary or f"{self.server_url.base_url}#{self._info.id}"

    @property
    def read_ahead_chars(self) -> int:
        """How many characters it is well to take before they are needed."""
        return ASR33_READ_AHEAD_CHARS if self.is_asr33 else OTHER_READ_AHEAD_CHARS

    def count_tokens(self, text: str) -> int:
        """At least as many tokens as the text has, by what was counted before."""
        return self._token_estimate.estimate_tokens(text)

    async def wait_ready(self) -> None:
        """Ask what it has. Raises ModelError."""
        async with self._http.request("GET", "/v1/models", self._config.read_timeout_s) as reply:
            if reply.status in (404, 405, 501):  # there are servers without this list
                self._info, self._is_info_stale = response.ModelInfo(self.server_url.model, owned_by=""), False
                return
            if reply.status != 200:
                raise await self._error_in_reply(reply)
            try:
                cards = response.decode_models(
                    json.loads(await reply.read_body(MAX_MODELS_BYTES, self._config.read_timeout_s))
                )
            except ValueError:
                raise self._lost_error("what it says of its models is none", "is it a model server?") from None
        wanted = self.server_url.model
        found = next((card for card in cards if card.id == wanted or not wanted), None)
        if found is None:
            there = ", ".join(card.id for card in cards[:5]) or "none"
            raise ModelNotFound(f"{self.device} has no model {wanted!r}; there are: {there}")
        self._info, self._is_info_stale = found, False

    async def is_alive(self) -> bool:
        """Whether it answers at all: at /health, which needs no model, or says that it has no such thing."""
        with contextlib.suppress(ModelError):
            async with self._http.request("GET", "/health", self._config.read_timeout_s) as reply:
                return reply.status < 500
        return False

    def prefill(self, prompt: str) -> None:
        """What is settled of it our own server reads."""
        if self.is_asr33:
            self._prefill_sender.submit(stable_prefix(prompt))

    async def _send_prefill(self, prompt: str) -> None:
        body = response.OpenAIRequest(
            self.name,
            replace(self._config.request_template, prompt=prompt),
            stream=False,
            prefill_only=True,
            include_usage=False,
        )
        with contextlib.suppress(ModelError, TimeoutError):  # it will be told to whoever asks for the answer
            async with self._http.request(
                "POST", "/v1/completions", self._config.read_timeout_s, body.to_json()
            ) as reply:
                await reply.read_body(MAX_BODY_BYTES, self._config.read_timeout_s)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """The continuation, asked for once. Raises ModelError also in its middle."""
        async with contextlib.aclosing(self.resume(prompt, sampling)) as pieces:
            async for piece in pieces:
                if piece.text or piece.tokens or piece.finish_reason or piece.dropped_chars:
                    yield piece

    async def resume(
        self, prompt: str, sampling: Sampling, partial: PartialAnswer = NO_ANSWER_YET
    ) -> AsyncGenerator[TextChunk, None]:
        """The rest of an answer that has come so far; a piece with nothing in it says that the server is at work.

        Raises ModelError.
        """
        self._prefill_sender.cancel()
        try:
            if self._is_info_stale:
                await self.wait_ready()
            async with contextlib.aclosing(
                self._stream_rest(prompt, sampling, partial.for_vocabulary(self.vocabulary))
            ) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception:  # and not where the reader has had enough
            self._is_info_stale = True
            raise

    async def _stream_rest(
        self, prompt: str, sampling: Sampling, partial: PartialAnswer
    ) -> AsyncGenerator[TextChunk, None]:
        if finish := partial.finish_reason(sampling):
            yield TextChunk("", (), self._clock(), finish)
            return
        pace = 0.0 if self._buffering.is_buffered else self._config.request_template.chars_per_second
        ask = partial.remaining_request(
            replace(self._config.request_template, prompt=prompt, sampling=sampling, chars_per_second=pace)
        )
        trimmed = None if self.is_asr33 and not partial.prompt_chars else ResumeTrimmer(partial, sampling)
        begun = False
        async with contextlib.aclosing(self._stream_chunks(ask)) as chunks:
            async for chunk in chunks:
                piece = self._to_text_chunk(chunk, trimmed)
                begun = begun or chunk.text != ""
                yield piece
                if piece.finish_reason:
                    return
        raise await self._explain_cut_stream(ask, begun)

    async def _explain_cut_stream(self, request: CompletionRequest, has_text: bool) -> ModelError:
        """Why a stream ended before the answer did; there are servers that say it only where they are not to stream.

        And there are those that say it nowhere: what they fail of, and not of its last words, was too long.
        """
        lost = ServerLost(f"{self.device}: the stream ended before the answer did")
        now = asyncio.get_running_loop().time
        asked = now()
        if has_text or self.is_asr33 or (why := await self._error_unstreamed(request)) is None:
            return lost
        if not isinstance(why, ServerLost):
            return why
        if now() - asked >= self._config.read_timeout_s:
            return lost  # who says nothing at all now would say nothing to the next question either
        if len(request.prompt) <= SHORT_PROMPT_CHARS or await self._error_unstreamed(
            replace(request, prompt=request.prompt[-SHORT_PROMPT_CHARS:])
        ):
            return lost
        return self._error_for(
            response.ErrorInfo(
                413, "", f"it fails of {len(request.prompt):,} characters, not of {SHORT_PROMPT_CHARS}", ""
            )
        )

    async def _error_unstreamed(self, request: CompletionRequest) -> ModelError | None:
        """What is wrong with an ask that is not to be streamed."""
        one = replace(request, sampling=replace(request.sampling, max_tokens=1))
        body = response.OpenAIRequest(self.server_url.model or self.name, one, stream=False).to_json()
        try:
            async with self._http.request("POST", "/v1/completions", self._config.read_timeout_s, body) as reply:
                return None if reply.status == 200 else await self._error_in_reply(reply)
        except ServerLost as error:
            return error

    def _to_text_chunk(self, chunk: response.CompletionChunk, trimmer: ResumeTrimmer | None) -> TextChunk:
        """What a chunk brings the reader."""
        text, finish = chunk.text, chunk.finish
        if trimmer is not None:
            text = trimmer.push(text)
            if finish and not trimmer.finish:
                text += trimmer.flush()
            finish = trimmer.finish or finish
        return TextChunk(text, chunk.tokens, self._clock(), finish, chunk.logprobs, chunk.forgotten)

    async def _stream_chunks(self, request: CompletionRequest) -> AsyncGenerator[response.CompletionChunk, None]:
        """The answer's chunks, the one with its end last."""
        model = self._info.id if self._info else ""
        body = response.OpenAIRequest(self.server_url.model or model, request).to_json()
        self._buffering.start_answer()
        async with self._open_stream(body) as reply:
            await self._check_reply(reply)
            yield response.CompletionChunk("", 0, "")  # it is there, and at work
            async with (
                contextlib.aclosing(reply.iter_bytes()) as parts,
                contextlib.aclosing(self._decode_events(parts)) as events,
            ):
                async for said in events:
                    if isinstance(said, response.ErrorInfo):
                        raise self._error_for(said)
                    ended = isinstance(said, response.StreamEnd)
                    chunk = (
                        response.CompletionChunk("", 0, "", finish="end")
                        if isinstance(said, response.StreamEnd)
                        else said
                    )
                    self._token_estimate.update(request, chunk.usage)
                    if chunk.finish and not ended:
                        await self._read_trailing_usage(request, events)
                    yield chunk
                    if chunk.finish:
                        return

    @contextlib.asynccontextmanager
    async def _open_stream(self, body: object) -> AsyncIterator[HttpReply]:
        """The reply; our own server says within a second that it is there."""
        limit_s = (
            min(self._config.read_timeout_s, self._config.first_token_s)
            if self.is_asr33
            else self._config.first_token_s
        )
        try:
            async with self._http.request("POST", "/v1/completions", limit_s, body) as reply:
                yield reply
        except ResponseTimeout:
            self._buffering.note_silence()
            raise

    async def _read_trailing_usage(
        self, request: CompletionRequest, events: AsyncGenerator[response.StreamEvent, None]
    ) -> None:
        """What comes behind the end: a count, and the end of the stream, without which the connection is of no use."""
        with contextlib.suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(TRAILING_USAGE_S):
                async for said in events:
                    if isinstance(said, response.CompletionChunk):
                        self._token_estimate.update(request, said.usage)

    async def _decode_events(self, blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[response.StreamEvent, None]:
        """What comes, as long as something does in time."""
        events, loop = SseParser(), asyncio.get_running_loop()
        first, waited = True, 0.0  # since the last word; the reader's own pauses do not count
        while True:
            begun = loop.time()
            try:
                async with asyncio.timeout(self._read_limit_s(first, waited)):
                    part = await anext(blocks, None)
            except TimeoutError:
                raise self._silence_error(first, loop.time() - begun) from None
            if part is None:
                return
            this = loop.time() - begun
            waited += this
            words = 0
            try:
                for data in events.iter_events(part):
                    said = response.decode_event(data)
                    if isinstance(said, response.CompletionChunk) and (said.text or said.tokens):
                        first, waited, words = False, 0.0, words + 1
                    yield said
            except response.MalformedResponse as error:
                raise self._lost_error("the stream is garbled", str(error)) from None
            self._buffering.note_read(words, this)

    def _read_limit_s(self, before_text: bool, waited_s: float) -> float:
        """How long the next byte may take: before the first word others are silent where ours says that it is there."""
        left = self._config.first_token_s - waited_s
        return left if before_text and not self.is_asr33 else min(self._config.read_timeout_s, left)

    def _silence_error(self, before_text: bool, silent_s: float) -> ServerLost:
        if self.is_asr33 and silent_s >= self._config.read_timeout_s:
            self._buffering.note_silence()
        return self._lost_error("no word came" if before_text else "no further word came", "in the time allowed")

    async def _check_reply(self, reply: HttpReply) -> None:
        """Raises ModelError if what comes is not a stream of events."""
        if reply.status != 200:
            raise await self._error_in_reply(reply)
        if reply.content_type != "text/event-stream":
            raise self._lost_error(
                f"{reply.content_type or 'something'} came, not a stream of events", "is a proxy in between?"
            )

    async def _error_in_reply(self, reply: HttpReply) -> ModelError:
        body = await reply.read_body(MAX_BODY_BYTES, self._config.read_timeout_s)
        return self._error_for(response.decode_error(reply.status, body.decode("utf-8", "replace")), reply.retry_after)

    def _error_for(self, info: response.ErrorInfo, retry_after: str = "") -> ModelError:
        error = error_for_reply(self.device, self.server_url.model, info, bool(self._config.api_key), retry_after)
        if isinstance(error, PromptTooLong):
            self._token_estimate.lower_after_refusal()
        return error

    def _lost_error(self, what: str, reason: str) -> ServerLost:
        return ServerLost(f"{self.device}: {what}: {reason}")

    async def close(self) -> None:
        await self._prefill_sender.close()
        await self._http.close()
