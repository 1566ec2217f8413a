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

from model import store
from model.base import Ask, Piece, Provider
from model.belt import Belt, post
from model.errors import Busy, EngineFailed
from model.local import Clock
from model.prefix import settled
from model.serving.counters import Counters, Tally
from model.serving.deadlines import Order
from model.serving.distributor import Distributor, Heard
from model.serving.engine import Alphabets, Engine, Speller, load
from model.serving.turn import Turn

LOOK_S = 0.02  # while pieces lie untaken: then what is taken need not wake the thread each time
MEMORY = 1 << 31  # bytes of all caches

T = TypeVar("T")
Told = Callable[[Distributor], object]


@dataclass(frozen=True, slots=True)
class _Loaded:
    distributor: Distributor
    speller: Speller
    device: str


class Batch:
    """One model for many lines."""

    def __init__(
        self,
        source: Path | Callable[[], Engine],
        *,
        rows: int,
        memory: int = MEMORY,
        context: int = 0,
        queue: int | None = None,
        alphabets: Alphabets | None = None,
        name: str = "",
        threads: int = 0,
        device: Provider = "auto",
        clock: Clock = time.monotonic,
        order: Order = "paper",
    ) -> None:
        """`source` is a model's folder, or a function that loads an engine; it is loaded at once, in the thread.

        `rows` answers are made at once, `queue` more wait: as many, where it is not said. `memory` is what all caches
        may take, `context` how many tokens one has, 0 what the model has. `alphabets`: by its name what characters an
        ask may want to be kept to. `order` arrival knows no paper; it is there to be compared.
        """
        self._name = name or (store.name_of(source) if isinstance(source, Path) else "model")
        self._places = rows + (rows if queue is None else queue)
        self._asked = self._refused = 0
        self._clock = clock
        self._belts: dict[Turn, Belt] = {}
        self._told: SimpleQueue[Told] = SimpleQueue()
        self._taken: deque[tuple[Turn, float, int]] = deque()
        self._closed = False
        self._loading: Future[_Loaded] = Future()
        self._spelling = ThreadPoolExecutor(1, thread_name_prefix="spelling")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batch")

        def engine() -> Engine:
            if not isinstance(source, Path):
                return source()
            return load(source, rows=rows, memory=memory, context=context, threads=threads, device=device)

        def loaded() -> _Loaded:
            made = engine()
            distributor = Distributor(made.slots, rows=rows, clock=clock, order=order)
            return _Loaded(distributor, Speller(made, alphabets or {}), made.device)

        self._running = self._worker.submit(self._run, loaded)

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
        return self._loading.result().speller.context

    def count(self, text: str) -> int:
        """Tokens of a text; waits for the model to be loaded."""
        return self._loading.result().speller.count(text)

    async def ready(self) -> None:
        """Return when the model is loaded. Raises ModelError if it cannot be."""
        await self._aside(bool)

    async def sound(self) -> None:
        """Return as soon as the thread comes round. Raises what the engine has failed by, as all answers do then."""
        heard: Future[None] = Future()

        def told(distributor: Distributor) -> None:
            if not heard.set_running_or_notify_cancel():
                return
            if distributor.failed:
                heard.set_exception(distributor.failed)
            else:
                heard.set_result(None)

        self._told.put(told)
        if self._running.done():
            raise EngineFailed("the engine's thread has ended: start it again")
        await asyncio.wrap_future(heard)

    def counters(self) -> Counters:
        """What was done so far."""
        if self._is_loaded():
            return replace(self._loading.result().distributor.counters(), refused=self._refused)
        return Tally().counters(active=0, waiting=self._asked, caches=0)

    async def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]:
        """The continuation of the prompt; closing the generator takes it out before the next step.

        `who` is the key that it counts for, where several want more rows than there are.

        Raises ModelError before the first piece: PromptTooLong, NoSuchAlphabet, Busy.
        """
        if self._asked >= self._places:
            self._refused += 1
            raise Busy(
                f"{self._asked} answers are being made or wait for it, which is all there is room for: ask again soon"
            )
        self._asked += 1
        try:
            arrived = self._clock()
            turn = await self._aside(lambda loaded: loaded.speller.turn(ask, arrived))
            if self._closed:
                return
            turn.who = who
            belt = self._belts[turn] = Belt(asyncio.get_running_loop(), partial(self._took, turn))
            self._told.put(lambda distributor: distributor.enter(turn))
            try:
                while (piece := await belt.take()) is not None:
                    yield piece
            finally:
                self._belts.pop(turn, None)
                self._told.put(lambda distributor: distributor.cut(turn))
        finally:
            self._asked -= 1

    async def read(self, ask: Ask) -> int:
        """Read what is settled of a prompt into a cache while there is nothing better to do; how many tokens it was.

        The newest counts: it returns also when a newer one of the same conversation comes, or an answer of it.
        """
        ids = await self._aside(lambda loaded: loaded.speller.ids(settled(ask.prompt))[: loaded.speller.context])
        done: Future[int] = Future()

        def told(read: int) -> None:
            if done.set_running_or_notify_cancel():
                done.set_result(read)

        heard = Heard(ids, ask.conversation, told)
        self._told.put(lambda distributor: distributor.hear(heard))
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._told.put(lambda distributor: distributor.forget(heard))

    async def close(self) -> None:
        """End what is being made, wait for the loading or the pass that is under way, and end the threads."""
        self._closed = True
        self._told.put(bool)
        await asyncio.wrap_future(self._running)
        self._worker.shutdown()
        self._spelling.shutdown()

    def _is_loaded(self) -> bool:
        return self._loading.done() and self._loading.exception() is None

    async def _aside(self, work: Callable[[_Loaded], T]) -> T:
        """What takes a moment, once the model is loaded: neither the event loop nor the engine waits for it."""
        return await asyncio.wrap_future(self._spelling.submit(lambda: work(self._loading.result())))

    def _took(self, turn: Turn, characters: int) -> None:
        self._taken.append((turn, self._clock(), characters))

    # In the thread:

    def _run(self, load: Callable[[], _Loaded]) -> None:
        try:
            loaded = load()
        except BaseException as error:  # whoever asks is told
            self._loading.set_exception(error)
            return
        self._loading.set_result(loaded)
        distributor = loaded.distributor
        while not self._closed:
            until = distributor.work()
            self._send(distributor)
            self._listen(distributor, until - self._clock())
        self._listen(distributor, 0)  # what was told before the end
        distributor.end()
        self._send(distributor)

    def _send(self, distributor: Distributor) -> None:
        made, distributor.made = distributor.made, []
        belts = [(turn, belt, load) for turn, load in made if (belt := self._belts.get(turn))]
        lost = set(post((belt, load) for _, belt, load in belts))
        for turn, belt, _ in belts:
            if belt in lost:  # its event loop is closed: it will tell no one
                self._belts.pop(turn, None)
                distributor.cut(turn)

    def _listen(self, distributor: Distributor, wait_s: float) -> None:
        """Take what was told; wait for it where there is nothing else to do."""
        self._take(distributor)
        if distributor.untaken:
            wait_s = min(wait_s, LOOK_S)
        try:
            told = self._told.get(wait_s > 0, None if wait_s == inf else max(wait_s, 0))
            while True:
                told(distributor)
                told = self._told.get_nowait()
        except Empty:
            self._take(distributor)

    def _take(self, distributor: Distributor) -> None:
        while self._taken:
            distributor.took(*self._taken.popleft())
