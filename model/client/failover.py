"""One Model out of several servers and, as the last resort, a local model.

When a stream breaks, the same server or the next one is asked for the rest of the answer. When all are silent for a
while, the local model continues the sentence, and the next prompt goes to a server again. Without a local model the
reader gets a notice, and the sentence continues when a server returns. A server counts as silent when the reader waits
for its words, whatever bytes it sends. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace

from model.client.chunk_queue import ChunkQueue
from model.client.liveness import LOCAL_AFTER_S, SILENCE_LIMIT_S, LivenessGuard, ServerSilent, fail_if_silent
from model.client.partial_answer import PartialAnswer, ResumeTrimmer
from model.client.server_health import ServerHealth
from model.client.server_pool import RemoteBackend, ServerPool, TextChunks
from model.client.silence_notice import SilenceNotice
from model.errors import ModelError, PromptTooLong
from model.interface import CompletionRequest, Model, Sampling, TextChunk

NOTICE_AFTER_S = 10.0  # seconds of silence after which the reader gets a notice
LOCAL_READ_AHEAD_CHARS = 144  # two lines of paper, as in `model.generate.local_model`
ANSWER_SHARE = 4  # a fourth of the local model's context stays free for the answer

_log = logging.getLogger("asr33")


class FailoverModel:
    """Implements `model.interface.Model`."""

    def __init__(
        self,
        servers: Sequence[RemoteBackend],
        local_factory: Callable[[], Model] | None = None,
        *,
        rng: random.Random,
        max_tries: int | None = None,
        notice_after_s: float = NOTICE_AFTER_S,
    ) -> None:
        """`local_factory` opens the local model at its first use. `max_tries`: attempts at each server per answer."""
        self.pool = ServerPool(servers, rng, max_tries)
        self.local_factory = local_factory
        self.local_model: Model | None = None
        self.notice_after_s = notice_after_s
        self.on_ready: Callable[[RemoteBackend], None] | None = None  # gets the server that answered `wait_ready`
        self.is_local_active = False  # the reader has the notice that the local model answers

    @property
    def has_alternative(self) -> bool:
        """Whether another server or the local model can replace a silent server."""
        return self.local_factory is not None or len(self.pool) > 1

    @property
    def _next_model(self) -> Model:
        """The model that is likeliest to answer next."""
        return self.local_model if self.local_model is not None and self.is_local_active else self.pool.preferred

    @property
    def name(self) -> str:
        return self._next_model.name

    @property
    def device(self) -> str:
        """Empty while no server answers."""
        is_reachable = self.is_local_active or self.pool.count_healthy()
        return self._next_model.device if is_reachable else ""

    @property
    def context(self) -> int:
        return self._next_model.context

    def count_tokens(self, text: str) -> int:
        return self._next_model.count_tokens(text)

    async def wait_ready(self) -> None:
        """Asks each server for its models. Raises ModelError if no server will ever answer."""
        await self.pool.check_all(self.has_alternative)
        if self.pool.select_server() is None:
            self.pool.raise_if_none_left()
            _log.warning("no server answers yet; the client asks again until one does")
        elif self.on_ready is not None:
            self.on_ready(self.pool.preferred)

    def prefill(self, prompt: str) -> None:
        self._next_model.prefill(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> TextChunks:
        """Yields the answer. Closing the generator closes all connections. Raises ModelError if no attempt can help."""
        queue = ChunkQueue()
        work = asyncio.get_running_loop().create_task(_FailoverRun(self, queue, prompt, sampling).run())
        work.add_done_callback(lambda _: queue.close())
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            work.result()
        finally:
            work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()

    async def close(self) -> None:
        await self.pool.close()
        if self.local_model is not None:
            await self.local_model.close()

    async def open_local_model(self) -> Model | None:
        """Returns the local model when it is ready; None if there is none or it cannot be opened."""
        try:
            if self.local_model is None and self.local_factory is not None:
                self.local_model = self.local_factory()
            if self.local_model is not None:
                await self.local_model.wait_ready()
        except ModelError as error:
            _log.error("%s", error)
            self.local_factory = self.local_model = None
        return self.local_model


class _FailoverRun:
    """Generates one answer into a queue."""

    def __init__(self, model: FailoverModel, queue: ChunkQueue, prompt: str, sampling: Sampling) -> None:
        self._model, self._pool, self._queue = model, model.pool, queue
        self._prompt, self._sampling = prompt, sampling
        self._partial = PartialAnswer()
        self._silent_since: float | None = None
        self._notice = SilenceNotice(self._send_notice, queue.waited_s, model.notice_after_s)
        self._local_deadline = asyncio.timeout(None)
        model.pool.clear_refusals()

    async def run(self) -> None:
        """Returns at the end of the answer. Raises ModelError."""
        watching = asyncio.get_running_loop().create_task(self._notice.watch())
        try:
            while not await self._run_on_servers() and not await self._run_on_local_model():
                pass
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def _run_on_servers(self) -> bool:
        """Returns True at the end of the answer, False when the local model should continue."""
        try:
            async with asyncio.timeout(None) as self._local_deadline:
                if self._pool.silent_since is not None or self._silent_since is not None:
                    self._note_silence()
                while True:
                    if (selected := self._pool.select_server()) is None:
                        await self._pool.wait_for_server()
                    elif await self._try_server(*selected):
                        return True
        except TimeoutError:
            if not self._local_deadline.expired():
                raise
            return False

    async def _try_server(self, server: RemoteBackend, health: ServerHealth) -> bool:
        """Returns whether the answer ended; records the error of a server that did not complete it."""
        guard = self._make_guard(server)
        self._notice.note_attempt(server)
        try:
            async with fail_if_silent(guard, server.device) if self._model.has_alternative else nullcontext():
                return await self._stream_from(server, health, guard)
        except PromptTooLong as error:
            if self._partial.text:  # the answer filled the context
                self._queue.put(TextChunk("", (), time.monotonic(), "context"))
                return True
            self._pool.record_failure(server, health, error)
        except ServerSilent as error:
            self._pool.record_failure(server, health, error)
            if self._pool.select_server() is not None:
                return False  # the next server has a time limit of its own
        except ModelError as error:
            self._pool.record_failure(server, health, error)
        self._note_silence()
        return False

    async def _stream_from(self, server: RemoteBackend, health: ServerHealth, guard: LivenessGuard) -> bool:
        """Returns whether the answer ended. Raises ModelError."""
        async with aclosing(server.resume(self._prompt, self._sampling, self._partial)) as chunks:
            async for chunk in chunks:
                guard.note_sign()
                self._end_silence()
                if not (chunk.text or chunk.tokens or chunk.finish_reason or chunk.dropped_chars):
                    continue  # only a sign that the server works on it
                if chunk.text or chunk.tokens or chunk.finish_reason:
                    health.record_success()
                self._accept_chunk(chunk, server.vocabulary)
                if chunk.text:
                    guard.note_text(len(chunk.text))
                    self._notice.note_text(len(chunk.text))
                if chunk.finish_reason:
                    return True
                await self._queue.wait_for_room(server.read_ahead_chars)
        return False

    def _make_guard(self, server: RemoteBackend) -> LivenessGuard:
        is_local_next = self._model.local_factory is not None and self._pool.count_healthy() < 2
        return LivenessGuard(server, self._queue.waited_s, LOCAL_AFTER_S if is_local_next else SILENCE_LIMIT_S)

    def _accept_chunk(self, chunk: TextChunk, vocabulary: str) -> None:
        self._silent_since, self._model.is_local_active = None, False
        self._partial = self._partial.for_vocabulary(vocabulary).with_chunk(chunk, vocabulary)
        self._queue.put(chunk)

    def _note_silence(self) -> None:
        """Starts the time after which the local model continues or, without one, the reader gets a notice."""
        now, pool_since = asyncio.get_running_loop().time(), self._pool.silent_since
        self._silent_since = now if self._silent_since is None else self._silent_since
        since = self._silent_since if pool_since is None else min(pool_since, self._silent_since)
        self._notice.note_lost(since)
        if self._model.local_factory is not None:
            self._local_deadline.reschedule(since + LOCAL_AFTER_S)

    def _end_silence(self) -> None:
        if self._local_deadline.when() is not None and not self._local_deadline.expired():
            self._local_deadline.reschedule(None)

    def _send_notice(self) -> bool:
        if self._model.local_factory is not None:
            return False
        self._queue.put(TextChunk("", (), time.monotonic(), notice="no server"))
        return True

    async def _run_on_local_model(self) -> bool:
        """Returns True at the end of the answer, False if there is no local model."""
        model = self._model
        if (local := await model.open_local_model()) is None:
            return False
        if finish := self._partial.finish_reason(self._sampling):
            self._queue.put(TextChunk("", (), time.monotonic(), finish))
            return True
        if not model.is_local_active:
            self._queue.put(TextChunk("", (), time.monotonic(), notice="local"))
        model.is_local_active = True
        async with aclosing(stream_from_local(local, self._prompt, self._sampling, self._partial)) as chunks:
            async for chunk in chunks:
                self._queue.put(chunk)
                await self._queue.wait_for_room(LOCAL_READ_AHEAD_CHARS)
        return True


async def stream_from_local(model: Model, prompt: str, sampling: Sampling, partial: PartialAnswer) -> TextChunks:
    """Yields the rest of an answer from a local model that is ready. Raises ModelError."""
    partial = partial.for_vocabulary("")
    request = partial.remaining_request(CompletionRequest(prompt, sampling))
    shortened = shorten_prompt(request.prompt, model)
    dropped_chars = len(request.prompt) - len(shortened)
    trimmer = ResumeTrimmer(partial, sampling) if partial.text else None
    async with aclosing(model.stream(shortened, request.sampling)) as chunks:
        async for chunk in chunks:
            text, finish = chunk.text, chunk.finish_reason
            if trimmer is not None:
                text, finish = trimmer.trim(text, finish)
            yield replace(chunk, text=text, finish_reason=finish, dropped_chars=chunk.dropped_chars + dropped_chars)
            if finish:
                return
            dropped_chars = 0


def shorten_prompt(prompt: str, model: Model) -> str:
    """Returns the end of the prompt that fits the model: without its oldest lines, or words of a single line."""
    max_tokens = model.context - model.context // ANSWER_SHARE
    while prompt and (tokens := model.count_tokens(prompt)) > max_tokens:
        excess = max(1, len(prompt) * (tokens - max_tokens) // tokens)
        start = next((at + 1 for mark in "\n " if (at := prompt.find(mark, excess - 1)) >= 0), excess)
        prompt = prompt[start:]
    return prompt
