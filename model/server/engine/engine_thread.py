"""Many answers at once on one model: one thread owns the engine, the pieces come out in the event loop.

The thread is made at once and loads the model first. What is done when is decided by `deadlines` and done by
`distributor`; here is what lies between them and those who ask.
"""

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

from model.errors import Busy, EngineFailed
from model.generate.local_model import Clock
from model.generate.prefix_cache import stable_prefix
from model.generate.thread_queue import ThreadToLoopQueue, put_many
from model.interface import CompletionRequest, DeviceChoice, TextChunk
from model.server.engine.counters import EngineCounters, EngineTotals
from model.server.engine.encoder import Alphabets, BatchEngine, RequestEncoder, load_engine
from model.server.engine.engine_loop import EngineLoop, PrefillJob
from model.server.engine.scheduler import SchedulingPolicy
from model.server.engine.sequence import BatchSequence
from model.store import store

UNDELIVERED_POLL_S = 0.02  # while pieces lie untaken: then what is taken need not wake the thread each time
CACHE_MEMORY = 1 << 31  # bytes of all caches

T = TypeVar("T")
Command = Callable[[EngineLoop], object]


@dataclass(frozen=True, slots=True)
class _LoadedEngine:
    engine_loop: EngineLoop
    encoder: RequestEncoder
    device: str


class BatchModel:
    """One model for many lines."""

    def __init__(
        self,
        source: Path | Callable[[], BatchEngine],
        *,
        batch_size: int,
        memory: int = CACHE_MEMORY,
        context: int = 0,
        queue_size: int | None = None,
        alphabets: Alphabets | None = None,
        name: str = "",
        threads: int = 0,
        device: DeviceChoice = "auto",
        clock: Clock = time.monotonic,
        order: SchedulingPolicy = "paper",
    ) -> None:
        """`source` is a model's folder, or a function that loads an engine; it is loaded at once, in the thread.

        `rows` answers are made at once, `queue` more wait: as many, where it is not said. `memory` is what all caches
        may take, `context` how many tokens one has, 0 what the model has. `alphabets`: by its name what characters an
        ask may want to be kept to. `order` arrival knows no paper; it is there to be compared.
        """
        self._name = name or (store.name_of_folder(source) if isinstance(source, Path) else "model")
        self._capacity = batch_size + (batch_size if queue_size is None else queue_size)
        self._open_requests = self._refused_requests = 0
        self._clock = clock
        self._queues: dict[BatchSequence, ThreadToLoopQueue] = {}
        self._commands: SimpleQueue[Command] = SimpleQueue()
        self._deliveries: deque[tuple[BatchSequence, float, int]] = deque()
        self._is_closed = False
        self._loading: Future[_LoadedEngine] = Future()
        self._tokenizer_thread = ThreadPoolExecutor(1, thread_name_prefix="spelling")
        self._engine_thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

        def engine() -> BatchEngine:
            if not isinstance(source, Path):
                return source()
            return load_engine(
                source, batch_size=batch_size, memory=memory, context=context, threads=threads, device=device
            )

        def loaded() -> _LoadedEngine:
            made = engine()
            distributor = EngineLoop(made.session, batch_size=batch_size, clock=clock, policy=order)
            return _LoadedEngine(distributor, RequestEncoder(made, alphabets or {}), made.device)

        self._engine_run = self._engine_thread.submit(self._run_engine, loaded)

    @property
    def name(self) -> str:
        return self._name

    @property
    def device(self) -> str:
        """Where it runs; empty until it is loaded."""
        return self._loading.result().device if self._is_loaded() else ""

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer may have together; waits for the model to be loaded."""
        return self._loading.result().encoder.context

    def count_tokens(self, text: str) -> int:
        """Tokens of a text; waits for the model to be loaded."""
        return self._loading.result().encoder.count_tokens(text)

    async def wait_until_loaded(self) -> None:
        """Return when the model is loaded. Raises ModelError if it cannot be."""
        await self._run_in_tokenizer_thread(bool)

    async def check_alive(self) -> None:
        """Return as soon as the thread comes round. Raises what the engine has failed by, as all answers do then."""
        heard: Future[None] = Future()

        def told(distributor: EngineLoop) -> None:
            if not heard.set_running_or_notify_cancel():
                return
            if distributor.failure:
                heard.set_exception(distributor.failure)
            else:
                heard.set_result(None)

        self._commands.put(told)
        if self._engine_run.done():
            raise EngineFailed("the engine's thread has ended: start it again")
        await asyncio.wrap_future(heard)

    def counters(self) -> EngineCounters:
        """What was done so far."""
        if self._is_loaded():
            return replace(self._loading.result().engine_loop.counters(), refused=self._refused_requests)
        return EngineTotals().counters(active=0, waiting=self._open_requests, caches=0)

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        """The continuation of the prompt; closing the generator takes it out before the next step.

        `who` is the key that it counts for, where several want more rows than there are.

        Raises ModelError before the first piece: PromptTooLong, NoSuchAlphabet, Busy.
        """
        if self._open_requests >= self._capacity:
            self._refused_requests += 1
            raise Busy(
                f"{self._open_requests} answers are being made or wait for it, which is all there is room for: ask again soon"
            )
        self._open_requests += 1
        try:
            arrived = self._clock()
            turn = await self._run_in_tokenizer_thread(lambda loaded: loaded.encoder.make_sequence(request, arrived))
            if self._is_closed:
                return
            turn.key_name = key_name
            belt = self._queues[turn] = ThreadToLoopQueue(
                asyncio.get_running_loop(), partial(self._note_delivery, turn)
            )
            self._commands.put(lambda distributor: distributor.add(turn))
            try:
                while (piece := await belt.get()) is not None:
                    yield piece
            finally:
                self._queues.pop(turn, None)
                self._commands.put(lambda distributor: distributor.cancel(turn))
        finally:
            self._open_requests -= 1

    async def prefill(self, request: CompletionRequest) -> int:
        """Read what is settled of a prompt into a cache while there is nothing better to do; how many tokens it was.

        The newest counts: it returns also when a newer one of the same conversation comes, or an answer of it.
        """
        ids = await self._run_in_tokenizer_thread(
            lambda loaded: loaded.encoder.encode_prompt(stable_prefix(request.prompt))[: loaded.encoder.context]
        )
        done: Future[int] = Future()

        def told(read: int) -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(read)

        heard = PrefillJob(ids, request.conversation, told)
        self._commands.put(lambda distributor: distributor.add_prefill(heard))
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._commands.put(lambda distributor: distributor.remove_prefill(heard))

    async def close(self) -> None:
        """End what is being made, wait for the loading or the pass that is under way, and end the threads."""
        self._is_closed = True
        self._commands.put(bool)
        await asyncio.wrap_future(self._engine_run)
        self._engine_thread.shutdown()
        self._tokenizer_thread.shutdown()

    def _is_loaded(self) -> bool:
        return self._loading.done() and self._loading.exception() is None

    async def _run_in_tokenizer_thread(self, work: Callable[[_LoadedEngine], T]) -> T:
        """What takes a moment, once the model is loaded: neither the event loop nor the engine waits for it."""
        return await asyncio.wrap_future(self._tokenizer_thread.submit(lambda: work(self._loading.result())))

    def _note_delivery(self, sequence: BatchSequence, characters: int) -> None:
        self._deliveries.append((sequence, self._clock(), characters))

    # In the thread:

    def _run_engine(self, load_engine: Callable[[], _LoadedEngine]) -> None:
        try:
            loaded = load_engine()
        except BaseException as error:  # whoever asks is told
            self._loading.set_exception(error)
            return
        self._loading.set_result(loaded)
        distributor = loaded.engine_loop
        while not self._is_closed:
            until = distributor.run_pass()
            self._send_outputs(distributor)
            self._run_commands(distributor, until - self._clock())
        self._run_commands(distributor, 0)  # what was told before the end
        distributor.finish_all()
        self._send_outputs(distributor)

    def _send_outputs(self, engine_loop: EngineLoop) -> None:
        made, engine_loop.outputs = engine_loop.outputs, []
        belts = [(turn, belt, load) for turn, load in made if (belt := self._queues.get(turn))]
        lost = set(put_many((belt, load) for _, belt, load in belts))
        for turn, belt, _ in belts:
            if belt in lost:  # its event loop is closed: it will tell no one
                self._queues.pop(turn, None)
                engine_loop.cancel(turn)

    def _run_commands(self, engine_loop: EngineLoop, wait_s: float) -> None:
        """Take what was told; wait for it where there is nothing else to do."""
        self._pass_on_deliveries(engine_loop)
        if engine_loop.has_undelivered:
            wait_s = min(wait_s, UNDELIVERED_POLL_S)
        try:
            told = self._commands.get(wait_s > 0, None if wait_s == inf else max(wait_s, 0))
            while True:
                told(engine_loop)
                told = self._commands.get_nowait()
        except Empty:
            self._pass_on_deliveries(engine_loop)

    def _pass_on_deliveries(self, engine_loop: EngineLoop) -> None:
        while self._deliveries:
            engine_loop.mark_delivered(*self._deliveries.popleft())
