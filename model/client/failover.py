"""Several servers in order of preference, and at last maybe a model of this machine: one Model that goes on.

When a stream breaks, what is left of the answer is asked of the same server or the next, and the reader sees a pause
at most. When none answers for a while, the local model takes over in the same sentence, and hands back at the next
prompt; without one, the reader is told, and the sentence goes on when a server returns. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from model.client.chunk_queue import ChunkQueue
from model.client.liveness import ServerSilent, fail_if_silent
from model.client.local_fallback import stream_from_local
from model.client.partial_answer import PartialAnswer
from model.client.server_health import ServerHealth
from model.client.server_pool import RemoteBackend, ServerPool
from model.errors import ModelError, PromptTooLong
from model.interface import Model, Sampling, TextChunk

LOCAL_AFTER_S = 2.0  # of silence, after which the local model takes over
NOTICE_AFTER_S = 10.0  # of silence, after which the reader is told
LOCAL_READ_AHEAD_CHARS = 144  # characters of a local model's: two lines of paper, as in `model.generate.local_model`

_log = logging.getLogger("asr33")
Clock = Callable[[], float]


class FailoverModel:
    """As `model.interface.Model` has it."""

    def __init__(
        self,
        servers: Sequence[RemoteBackend],
        local_factory: Callable[[], Model] | None = None,
        *,
        rng: random.Random,
        max_tries: int | None = None,
        local_after_s: float = LOCAL_AFTER_S,
        notice_after_s: float = NOTICE_AFTER_S,
        clock: Clock = time.monotonic,
    ) -> None:
        """`local` opens the local model, when that is first needed. `tries`: of each server, before an answer fails."""
        self.pool = ServerPool(servers, rng, max_tries)
        self.local_factory = local_factory
        self.local_model: Model | None = None
        self.local_after_s, self.notice_after_s, self.clock = local_after_s, notice_after_s, clock
        self.is_local_active = False  # the reader was told that the local model answers

    @property
    def has_alternative(self) -> bool:
        """Whether somebody else could answer where one server is silent."""
        return self.local_factory is not None or len(self.pool) > 1

    @property
    def _next_model(self) -> Model:
        """Who is likeliest to be asked next."""
        return self.local_model if self.local_model is not None and self.is_local_active else self.pool.preferred

    @property
    def name(self) -> str:
        return self._next_model.name

    @property
    def device(self) -> str:
        return self._next_model.device

    @property
    def context(self) -> int:
        return self._next_model.context

    def count_tokens(self, text: str) -> int:
        return self._next_model.count_tokens(text)

    async def wait_ready(self) -> None:
        """Return when each server was asked what it has. Raises ModelError where none will ever answer."""
        await self.pool.check_all(self.has_alternative)
        if self.pool.select_server() is None:
            self.pool.raise_if_none_left()
            _log.warning("no server answers yet; they are asked again and again")

    def prefill(self, prompt: str) -> None:
        self._next_model.prefill(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """The continuation, whoever makes it; closing the generator closes what is open, at once.

        Raises ModelError for what no other try can mend.
        """
        tray = ChunkQueue()
        work = asyncio.get_running_loop().create_task(_FailoverRun(self, tray, prompt, sampling).run())
        work.add_done_callback(lambda _: tray.close())
        try:
            while (piece := await tray.get()) is not None:
                yield piece
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
        """The local model, ready; None if there is none after all."""
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
    """One answer, whoever makes it; its pieces lie on the tray."""

    def __init__(self, model: FailoverModel, queue: ChunkQueue, prompt: str, sampling: Sampling) -> None:
        self._model, self._pool, self._queue = model, model.pool, queue
        self._prompt, self._sampling = prompt, sampling
        self._partial = PartialAnswer()
        self._silent_since: float | None = None  # nobody answers
        self._notice_timer: asyncio.TimerHandle | None = None
        self._has_noticed = False  # of this silence, which ends with the next word
        self._local_deadline = asyncio.timeout(None)
        model.pool.clear_refusals()

    async def run(self) -> None:
        """Raises ModelError."""
        try:
            while not await self._run_on_servers() and not await self._run_on_local_model():
                pass
        finally:
            self._cancel_notice()

    async def _run_on_servers(self) -> bool:
        """Whether servers brought it to its end; False where the local model is to go on."""
        try:
            async with asyncio.timeout(None) as self._limit:
                if self._pool.silent_since is not None or self._silent_since is not None:
                    self._note_silence()
                while True:
                    if (chosen := self._pool.select_server()) is None:
                        await self._pool.wait_for_server()
                    elif await self._try_server(*chosen):
                        return True
        except TimeoutError:
            if not self._local_deadline.expired():
                raise
            return False

    async def _try_server(self, server: RemoteBackend, health: ServerHealth) -> bool:
        """What this server has of it; whether that was the end."""
        try:
            async with self._liveness_guard(server) as heard:
                return await self._stream_from(server, health, heard)
        except PromptTooLong as error:
            if self._partial.text:  # with what was said it is: so the context is full
                self._queue.put(TextChunk("", (), self._model.clock(), "context"))
                return True
            self._pool.record_failure(server, health, error)
        except ServerSilent as error:
            self._pool.record_failure(server, health, error)
            if self._pool.select_server() is not None:
                return False  # and that one has its own time
        except ModelError as error:
            self._pool.record_failure(server, health, error)
        self._note_silence()
        return False

    async def _stream_from(self, server: RemoteBackend, health: ServerHealth, note_sign: Callable[[], None]) -> bool:
        """True, when it has come to its end. Raises ModelError."""
        async with contextlib.aclosing(server.resume(self._prompt, self._sampling, self._partial)) as pieces:
            async for piece in pieces:
                note_sign()
                self._note_sign()
                if not (piece.text or piece.tokens or piece.finish_reason or piece.dropped_chars):
                    continue  # it is there, and at work
                health.record_success()
                self._accept_chunk(piece, server.vocabulary)
                if piece.finish_reason:
                    return True
                await self._queue.wait_for_room(server.read_ahead_chars)
        return False

    def _liveness_guard(self, server: RemoteBackend) -> contextlib.AbstractAsyncContextManager[Callable[[], None]]:
        """Nobody waits for long in silence where another could answer."""
        if self._model.has_alternative:
            return fail_if_silent(server.device, server.is_alive)
        return contextlib.nullcontext(lambda: None)

    def _accept_chunk(self, chunk: TextChunk, vocabulary: str) -> None:
        self._silent_since, self._has_noticed, self._model.is_local_active = None, False, False
        self._partial = self._partial.for_vocabulary(vocabulary).with_chunk(chunk, vocabulary)
        self._queue.put(chunk)

    def _note_silence(self) -> None:
        """Nobody answers: after a while somebody else will, or the reader is told."""
        relay, loop, known = self._model, asyncio.get_running_loop(), self._pool.silent_since
        self._silent_since = loop.time() if self._silent_since is None else self._silent_since
        since = self._silent_since if known is None else min(known, self._silent_since)
        if relay.local_factory is not None:
            self._local_deadline.reschedule(since + relay.local_after_s)
        elif self._notice_timer is None and not self._has_noticed:
            self._notice_timer = loop.call_at(since + relay.notice_after_s, self._send_notice)

    def _send_notice(self) -> None:
        self._has_noticed = True
        self._queue.put(TextChunk("", (), self._model.clock(), notice="no server"))

    def _note_sign(self) -> None:
        """A server is at work."""
        self._cancel_notice()
        if self._local_deadline.when() is not None and not self._local_deadline.expired():
            self._local_deadline.reschedule(None)

    def _cancel_notice(self) -> None:
        if self._notice_timer is not None:
            self._notice_timer.cancel()
            self._notice_timer = None

    async def _run_on_local_model(self) -> bool:
        """Whether the local model brought it to its end; False where there is none after all."""
        relay = self._model
        if (local := await relay.open_local_model()) is None:
            return False
        if finish := self._partial.finish_reason(self._sampling):
            self._queue.put(TextChunk("", (), relay.clock(), finish))
            return True
        if not relay.is_local_active:
            self._queue.put(TextChunk("", (), relay.clock(), notice="local"))
        relay.is_local_active = True
        async with contextlib.aclosing(stream_from_local(local, self._prompt, self._sampling, self._partial)) as pieces:
            async for piece in pieces:
                self._queue.put(piece)
                await self._queue.wait_for_room(LOCAL_READ_AHEAD_CHARS)
        return True
