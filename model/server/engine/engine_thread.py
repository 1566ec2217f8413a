"""Runs one model for many answers at once: a thread runs `engine_loop`, and the event loop receives the chunks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from model.errors import EngineFailed, ModelError
from model.generate.local_model import Clock
from model.generate.prefix_cache import stable_prefix
from model.generate.thread_queue import ThreadToLoopQueue, put_many
from model.interface import CompletionRequest, DeviceChoice, TextChunk
from model.server.engine.counters import EngineCounters
from model.server.engine.encoder import Alphabets, BatchEngine, RequestEncoder, load_engine
from model.server.engine.engine_loop import EngineLoop, PrefillJob
from model.server.engine.scheduler import SchedulingPolicy
from model.server.engine.sequence import BatchSequence
from model.store import store

UNDELIVERED_POLL_S = 0.02  # while chunks are undelivered, so that a delivery need not wake the thread
CACHE_MEMORY = 1 << 31  # bytes of all caches

T = TypeVar("T")
Command = Callable[[EngineLoop], object]


@dataclass(frozen=True, slots=True)
class _LoadedEngine:
    engine_loop: EngineLoop
    encoder: RequestEncoder
    device: str


class BatchModel:
    """One model that generates many answers at once."""

    def __init__(
        self,
        source: Path | Callable[[], BatchEngine],
        *,
        batch_size: int,
        memory: int = CACHE_MEMORY,
        context: int = 0,
        queue_size: int | None = None,
        alphabets: Alphabets | None = None,
        threads: int = 0,
        device: DeviceChoice = "auto",
        clock: Clock = time.monotonic,
        order: SchedulingPolicy = "paper",
    ) -> None:
        """`source` is a model's folder or a function that loads an engine. The thread loads it at once.

        `batch_size` answers are generated at once, and `queue_size` more may wait (default: the same number). All
        caches have `memory` bytes, each has `context` tokens (0: the model's). A request may name one of `alphabets`.
        `order` "arrival" ignores deadlines; it exists for comparison.
        """
        self.name = store.name_of_folder(source) if isinstance(source, Path) else "model"
        self._capacity = batch_size + (batch_size if queue_size is None else queue_size)
        self._open_requests = self._refused_requests = 0
        self._clock = clock
        self._queues: dict[BatchSequence, ThreadToLoopQueue] = {}
        self._commands: SimpleQueue[Command] = SimpleQueue()
        self._deliveries: deque[tuple[BatchSequence, float, int]] = deque()
        self._is_closed = False
        self._loading: Future[_LoadedEngine] = Future()
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._engine_thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

        def load() -> _LoadedEngine:
            if isinstance(source, Path):
                options = {"batch_size": batch_size, "memory": memory, "context": context, "threads": threads}
                engine = load_engine(source, **options, device=device)
            else:
                engine = source()
            engine_loop = EngineLoop(engine.session, batch_size=batch_size, clock=clock, policy=order)
            return _LoadedEngine(engine_loop, RequestEncoder(engine, alphabets or {}), engine.device)

        self._engine_run = self._engine_thread.submit(self._run_engine, load)

    @property
    def device(self) -> str:
        """Where the model runs. Waits until the model is loaded."""
        return self._loading.result().device

    @property
    def context(self) -> int:
        """The most tokens that a prompt and its answer may have together. Waits until the model is loaded."""
        return self._loading.result().encoder.context

    def count_tokens(self, text: str) -> int:
        """Waits until the model is loaded."""
        return self._loading.result().encoder.count_tokens(text)

    def token_bytes(self, token: int) -> bytes:
        """Waits until the model is loaded."""
        return self._loading.result().encoder.token_bytes(token)

    async def wait_until_loaded(self) -> None:
        """Raises ModelError if the model cannot be loaded."""
        await self._run_in_tokenizer_thread(bool)

    async def check_alive(self) -> None:
        """Waits until the engine's thread answers. Raises the error that the engine failed with."""
        answered: Future[None] = Future()

        def answer(engine_loop: EngineLoop) -> None:
            if answered.set_running_or_notify_cancel():
                if engine_loop.failure:
                    answered.set_exception(engine_loop.failure)
                else:
                    answered.set_result(None)

        self._commands.put(answer)
        if self._engine_run.done():
            raise EngineFailed("the engine's thread has ended: start it again")
        await asyncio.wrap_future(answered)

    def counters(self) -> EngineCounters:
        if self._loading.done() and not self._loading.exception():
            return replace(self._loading.result().engine_loop.counters(), refused=self._refused_requests)
        return EngineCounters(waiting=self._open_requests)

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        """Generates the answer. Closing the generator takes the answer out of the next pass.

        `key_name` is the API key that the answer counts for when several keys compete for rows. An answer that gives
        way takes no place in the queue. Raises ModelError before the first chunk: PromptTooLong, InvalidParameter, and
        the kind "busy" if the queue is full.
        """
        places = 0 if request.gives_way else 1
        if self._open_requests + places > self._capacity:
            self._refused_requests += 1
            raise ModelError(f"all {self._open_requests} places for answers are taken: ask again soon", "busy")
        self._open_requests += places
        try:
            now = self._clock()
            sequence = await self._run_in_tokenizer_thread(lambda loaded: loaded.encoder.make_sequence(request, now))
            if self._is_closed:
                return
            sequence.key_name = key_name
            queue = ThreadToLoopQueue(asyncio.get_running_loop(), partial(self._note_delivery, sequence))
            self._queues[sequence] = queue
            self._commands.put(lambda engine_loop: engine_loop.add_sequence(sequence))
            try:
                while (chunk := await queue.get()) is not None:
                    yield chunk
            finally:
                self._queues.pop(sequence, None)
                self._commands.put(lambda engine_loop: engine_loop.cancel(sequence))
        finally:
            self._open_requests -= places

    async def prefill(self, request: CompletionRequest) -> int:
        """Prefills the stable prefix of a prompt while the engine has time. Returns the number of tokens computed.

        A newer prefill or an answer of the same conversation ends the prefill early.
        """
        prompt = stable_prefix(request.prompt)
        token_ids = await self._run_in_tokenizer_thread(lambda loaded: loaded.encoder.encode_prompt(prompt))
        done: Future[int] = Future()

        def finish(prefilled: int) -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(prefilled)

        job = PrefillJob(token_ids[: self.context], request.conversation, finish)
        self._commands.put(lambda engine_loop: engine_loop.add_prefill(job))
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._commands.put(lambda engine_loop: engine_loop.remove_prefill(job))

    async def close(self) -> None:
        """Ends all answers, waits for the current load or pass, and ends the threads."""
        self._is_closed = True
        self._commands.put(bool)
        await asyncio.wrap_future(self._engine_run)
        self._engine_thread.shutdown()
        self._tokenizer_thread.shutdown()

    async def _run_in_tokenizer_thread(self, work: Callable[[_LoadedEngine], T]) -> T:
        """Runs slow work with the loaded model; neither the event loop nor the engine waits for it."""
        return await asyncio.wrap_future(self._tokenizer_thread.submit(lambda: work(self._loading.result())))

    def _note_delivery(self, sequence: BatchSequence, characters: int) -> None:
        self._deliveries.append((sequence, self._clock(), characters))

    # In the engine's thread:

    def _run_engine(self, load: Callable[[], _LoadedEngine]) -> None:
        try:
            loaded = load()
        except BaseException as error:  # raised to every caller
            self._loading.set_exception(error)
            return
        self._loading.set_result(loaded)
        engine_loop = loaded.engine_loop
        while not self._is_closed:
            until = engine_loop.run_pass()
            self._send_outputs(engine_loop)
            self._run_commands(engine_loop, until - self._clock())
        self._run_commands(engine_loop, 0)  # the commands that were queued before the end
        engine_loop.end_all()
        self._send_outputs(engine_loop)

    def _send_outputs(self, engine_loop: EngineLoop) -> None:
        outputs, engine_loop.outputs = engine_loop.outputs, []
        receivers = [(sequence, queue, item) for sequence, item in outputs if (queue := self._queues.get(sequence))]
        lost = set(put_many((queue, item) for _, queue, item in receivers))
        for sequence, queue, _ in receivers:
            if queue in lost:  # the event loop is closed, so that no cancel command will come
                self._queues.pop(sequence, None)
                engine_loop.cancel(sequence)

    def _run_commands(self, engine_loop: EngineLoop, wait_s: float) -> None:
        """Runs all queued commands. If the queue is empty, waits up to `wait_s` for a command."""
        self._report_deliveries(engine_loop)
        if engine_loop.has_undelivered:
            wait_s = min(wait_s, UNDELIVERED_POLL_S)
        try:
            command = self._commands.get(wait_s > 0, None if wait_s == inf else max(wait_s, 0))
            while True:
                command(engine_loop)
                command = self._commands.get_nowait()
        except Empty:
            self._report_deliveries(engine_loop)

    def _report_deliveries(self, engine_loop: EngineLoop) -> None:
        while self._deliveries:
            engine_loop.mark_delivered(*self._deliveries.popleft())
