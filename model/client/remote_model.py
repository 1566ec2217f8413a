"""The model at a URL, over OpenAI's `/v1/completions`; the server is an asr33 server or another.

Every answer is one attempt; `model.client.failover` tries again. Closing the generator closes the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from model.client.api_client import ApiClient
from model.client.http_client import ClientConfig
from model.client.partial_answer import AnswerLimit, PartialAnswer, ResumeTrimmer
from model.client.server_pool import TextChunks
from model.client.token_estimate import TokenEstimate
from model.errors import ModelError, PromptTooLong, ServerLost
from model.generate.prefix_cache import stable_prefix
from model.interface import CompletionRequest, Sampling, TextChunk
from model.openai_api.response import ErrorInfo
from model.printable import quote_briefly
from model.server_url import parse_server_url

DEFAULT_CONTEXT_TOKENS = 512  # for a server that does not tell it: that of the embedded model, the shortest known
SHORT_PROMPT_CHARS = 64  # fit in any context
ASR33_READ_AHEAD_CHARS = 600  # an asr33 server paces itself
OTHER_READ_AHEAD_CHARS = 65536  # the proxy of another server may close a stream that is read slowly

NO_ANSWER_YET = PartialAnswer()


class PrefillSender:
    """Sends prompts that are still being typed: one request at a time, always the newest prompt."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        """`send` sends a prompt and returns when the server has read it."""
        self._send = send
        self._latest = self._sent = ""
        self._sending: asyncio.Task[None] | None = None

    def submit(self, text: str) -> None:
        self._latest = text
        if text != self._sent and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._send_until_current())

    def cancel(self) -> None:
        """Stops the request, as the request for the answer has the whole prompt."""
        self._latest = ""
        if self._sending is not None:
            self._sending.cancel()

    async def close(self) -> None:
        self.cancel()
        if self._sending is not None:
            await asyncio.wait({self._sending})

    async def _send_until_current(self) -> None:
        while self._latest and self._latest != self._sent:
            self._sent = self._latest
            await self._send(self._sent)


class RemoteModel:
    """Implements `RemoteBackend` with one server."""

    def __init__(self, url: str, config: ClientConfig | None = None) -> None:
        """Raises ModelError for a URL that is invalid."""
        self._config = config or ClientConfig()
        self._api = ApiClient(parse_server_url(url), self._config)
        self._is_info_stale = True  # the URL may now lead to another server or another model
        self._token_estimate = TokenEstimate()
        self._prefill_sender = PrefillSender(self._send_prefill)

    @property
    def name(self) -> str:
        return quote_briefly(self._api.model_name or self.device.partition("://")[2])

    @property
    def device(self) -> str:
        return self._api.server_url.base_url

    @property
    def unfinished_since(self) -> float | None:
        return self._api.unfinished_since

    @property
    def context(self) -> int:
        return (self._api.info and self._api.info.context) or DEFAULT_CONTEXT_TOKENS

    @property
    def known_speakers(self) -> tuple[tuple[str, ...], str]:
        """The speakers of the server's model, and the one who answers; empty until the server has told them."""
        info = self._api.info
        return (info.speakers, info.persona) if info else ((), "")

    @property
    def is_asr33(self) -> bool:
        return self._api.is_asr33

    @property
    def vocabulary(self) -> str:
        if not self.is_asr33 or self._api.info is None:
            return ""
        return self._api.info.vocabulary or f"{self.device}#{self._api.info.id}"

    @property
    def read_ahead_chars(self) -> int:
        return ASR33_READ_AHEAD_CHARS if self.is_asr33 else OTHER_READ_AHEAD_CHARS

    def count_tokens(self, text: str) -> int:
        return self._token_estimate.estimate_tokens(text)

    async def wait_ready(self) -> None:
        """Asks the server for its models. Raises ModelError."""
        await self._api.load_info()
        self._is_info_stale = False

    async def is_alive(self) -> bool:
        return await self._api.is_alive()

    def prefill(self, prompt: str) -> None:
        """Lets an asr33 server read the stable part of the prompt; other servers have no such request."""
        if self.is_asr33:
            self._prefill_sender.submit(stable_prefix(prompt))

    async def _send_prefill(self, prompt: str) -> None:
        await self._api.prefill(replace(self._config.request_template, prompt=prompt))

    async def stream(self, prompt: str, sampling: Sampling) -> TextChunks:
        """Yields the answer, in one attempt. Raises ModelError, also in the middle."""
        async with aclosing(self.resume(prompt, sampling)) as chunks:
            async for chunk in chunks:
                if chunk.text or chunk.tokens or chunk.finish_reason or chunk.dropped_chars:
                    yield chunk

    async def resume(self, prompt: str, sampling: Sampling, partial: PartialAnswer = NO_ANSWER_YET) -> TextChunks:
        """Yields the rest of an answer. An empty chunk says that the server works on it. Raises ModelError."""
        self._prefill_sender.cancel()
        try:
            if self._is_info_stale:
                await self.wait_ready()
            async with aclosing(self._stream_rest(prompt, sampling, partial.for_vocabulary(self.vocabulary))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:  # not GeneratorExit: a caller that stops is not the server's fault
            self._is_info_stale = True
            if isinstance(error, PromptTooLong):
                self._token_estimate.lower_after_refusal()
            raise

    async def _stream_rest(self, prompt: str, sampling: Sampling, partial: PartialAnswer) -> TextChunks:
        if finish := partial.finish_reason(sampling):
            yield TextChunk("", (), time.monotonic(), finish)
            return
        template = replace(self._config.request_template, prompt=prompt, sampling=sampling)
        if self._api.buffering.is_buffered:
            template = replace(template, chars_per_second=0.0)
        request = partial.remaining_request(template)
        trimmer = None if self.is_asr33 and not partial.prompt_chars else ResumeTrimmer(partial, sampling)
        has_text, limit = False, AnswerLimit(partial, sampling)
        async with aclosing(self._api.stream(request)) as chunks:
            async for chunk in chunks:
                self._token_estimate.update(request, chunk.usage)
                has_text = has_text or chunk.text != ""
                text, finish = limit.cut(chunk.text, len(chunk.tokens), chunk.finish_reason)
                if trimmer is not None:
                    text, finish = trimmer.trim(text, finish)
                yield TextChunk(text, chunk.tokens, time.monotonic(), finish, chunk.logprobs, chunk.dropped_chars)
                if finish:
                    return
        raise await self._explain_cut_stream(request, has_text)

    async def _explain_cut_stream(self, request: CompletionRequest, has_text: bool) -> ModelError:
        """Returns the error for a stream that ended before the answer.

        Some servers report the reason only in a reply that is not streamed. Others never report that a prompt is too
        long: they fail for the whole prompt, but not for its last characters.
        """
        cut_off = ServerLost(f"{self.device}: the stream ended before the answer did")
        now = asyncio.get_running_loop().time
        start = now()
        if has_text or self.is_asr33 or (error := await self._api.find_error(request)) is None:
            return cut_off
        if not isinstance(error, ServerLost):
            return error
        if now() - start >= self._config.read_timeout_s or len(request.prompt) <= SHORT_PROMPT_CHARS:
            return cut_off  # the server would be silent again, or the prompt is short already
        if await self._api.find_error(replace(request, prompt=request.prompt[-SHORT_PROMPT_CHARS:])):
            return cut_off
        message = f"it fails for {len(request.prompt):,} characters, not for {SHORT_PROMPT_CHARS}"
        return self._api.error_for(ErrorInfo(413, "", message))

    async def close(self) -> None:
        await self._prefill_sender.close()
        await self._api.close()
