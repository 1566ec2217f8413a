"""A model in this process: the generation loop in one worker thread, its pieces in the event loop.

The thread is made at once and loads the model first, while the caller does something else (types a greeting, say).
It is the only one that ever touches the session. What heavy libraries a model needs are imported there. While nobody
wants an answer it reads along with what is being typed, a chunk at a time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model import store
from model.base import Piece, Provider, Sampling
from model.belt import Belt
from model.loading import load as load

if TYPE_CHECKING:
    from model.loop import Step
    from model.mask import Mask
    from model.prefix import Forward

AHEAD = 144  # characters: two lines of paper, so that a BREAK wastes little
LINES = 512  # whose ids are remembered: the same lines are counted and read at every key of the next
FEW, QUICK_S = 8, 0.03  # tokens, and what they may take to be read at every key: a third of the time between two

Clock = Callable[[], float]


class Words(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int
    longest: int

    def bytes_of(self, token: int) -> bytes: ...

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that is loaded, and what it may say; without a mask anything."""

    session: Forward
    tokenizer: Words
    mask: Mask | None = None
    device: str = ""


def _loaded(folder: Path, threads: int, device: Provider, kept: Callable[[str], bool] | None) -> Engine:
    from model.mask import Mask

    session, words = load(folder, threads, device)
    spelled = [words.bytes_of(token) for token in range(session.shape.vocab_size)]
    return Engine(session, words, Mask(spelled, words.end_of_text, kept) if kept else None, session.provider)


class Local:
    """A model on this machine, as `model.base.Model` has it."""

    def __init__(
        self,
        source: Path | Callable[[], Engine],
        *,
        name: str = "",
        threads: int = 0,
        device: Provider = "auto",
        ahead: int = AHEAD,
        kept: Callable[[str], bool] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """`source` is a model's folder, or a function that loads an engine; it is loaded at once, in the thread.

        The thread makes pieces until `ahead` characters wait that no one has taken; a piece is taken when the next is
        asked for. What goes wrong while loading is raised by `ready` and by `stream`. The model of a folder says
        nothing but characters that are `kept`.
        """
        self._name = name or (store.name_of(source) if isinstance(source, Path) else "model")
        self._ahead = ahead
        self._clock = clock
        self._belts: set[_Belt] = set()
        self._heard: str | None = None  # a prompt that is still being typed
        self._reading = False  # it is read, or about to be
        self._closed = False
        self._turn = threading.Lock()  # of the two above
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loading: Future[_Reader] = self._worker.submit(
            lambda: _Reader(_loaded(source, threads, device, kept) if isinstance(source, Path) else source(), clock)
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def device(self) -> str:
        """Where it runs; empty until it is loaded."""
        done = self._loading.done() and self._loading.exception() is None
        return self._loading.result().device if done else ""

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer may have together; waits for the model to be loaded."""
        return self._loading.result().cache.context

    def count(self, text: str) -> int:
        """Tokens of a text; waits for the model to be loaded."""
        return len(self._loading.result().ids(text))

    async def ready(self) -> None:
        """Return when the model is loaded. Raises ModelError if it cannot be."""
        # Not the loading itself: to cancel the wait would cancel that.
        await asyncio.wrap_future(self._worker.submit(self._loading.result))

    def listen(self, prompt: str) -> None:
        """So far has this prompt been typed: the thread reads what is settled of it while it has nothing else to do.

        Returns at once, never fails, and may be called at every key: the newest counts. Answers go first.
        """
        with self._turn:
            self._heard = prompt
            if not self._reading and not self._closed:
                self._reading = True
                self._worker.submit(self._read_on)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The continuation of the prompt; closing the generator ends the work within one step.

        Answers are made one after the other. Raises ModelError before the first piece.
        """
        belt = _Belt(asyncio.get_running_loop(), self._ahead)
        self._belts.add(belt)
        self._heard = None  # an answer takes the whole prompt, and need not wait for more than the chunk in hand
        work = self._worker.submit(self._work, belt, prompt, sampling)
        work.add_done_callback(belt.end)
        try:
            while (piece := await belt.take()) is not None:
                yield piece
            work.result()
        finally:
            belt.stop()
            self._belts.discard(belt)

    async def close(self) -> None:
        """End what is being made, wait for the loading or the step that is under way, and end the thread."""
        with self._turn:
            self._heard, self._closed = None, True
        for belt in self._belts:
            belt.stop()
        await asyncio.wrap_future(self._worker.submit(bool))
        self._worker.shutdown()

    def _read_on(self) -> None:
        """One chunk of the newest prompt; then again, behind an answer that was asked for meanwhile.

        What goes wrong is told to nobody: it will again, to whoever asks for the answer.
        """
        heard, read = self._heard, False
        try:
            if heard is not None:
                read = self._loading.result().read_along(heard)
        finally:
            with self._turn:
                newer = self._heard is not heard
                self._reading = not self._closed and self._heard is not None and (read or newer)
                if self._reading:
                    self._worker.submit(self._read_on)

    def _work(self, belt: _Belt, prompt: str, sampling: Sampling) -> None:
        for piece in self._pieces(prompt, sampling, belt.room):
            belt.add(piece)

    def _pieces(self, prompt: str, sampling: Sampling, room: Callable[[int], bool]) -> Iterator[Piece]:
        """The pieces, each as soon as there is room for it, until there is none to be had."""
        reader = self._loading.result()
        tokens: tuple[int, ...] = ()
        logprobs: tuple[float, ...] = ()
        forgotten = 0
        steps = reader.answer(prompt, sampling)
        while room(reader.words.longest) and (step := next(steps, None)) is not None:
            tokens += step.tokens
            logprobs += step.logprobs
            forgotten += step.forgotten
            if step.text or step.finish:
                yield Piece(step.text, tokens, self._clock(), step.finish, logprobs, forgotten)
                tokens, logprobs, forgotten = (), (), 0


class _Reader:
    """A model that is loaded, and what it has read. All but `ids` is the thread's alone."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        # Here, while there is time, and not before the first token.
        from model import context, loop, prefix

        self.words = engine.tokenizer
        self.cache = prefix.Cache(engine.session)
        self.device = engine.device
        self._mask = engine.mask
        self._generate, self._check, self._settled = loop.generate, context.check, prefix.settled
        self._clock, self._quick = clock, False
        self._ids_of = lru_cache(LINES)(self.words.encode_lines)

    def ids(self, text: str) -> list[int]:
        return [token for line in text.splitlines(keepends=True) for token in self._ids_of(line)]

    def answer(self, prompt: str, sampling: Sampling) -> Iterator[Step]:
        return self._generate(self.cache, self._with_end(prompt), sampling, self.words, mask=self._mask)

    def read_along(self, prompt: str) -> bool:
        """A chunk of the prompt; False if there was nothing to read. Raises PromptTooLong.

        Its last word changes with the next key, and is read only where a few tokens cost next to nothing.
        """
        ids = self._with_end(prompt)
        self._check(ids, self.cache.context)
        begun = self._clock()
        read = self.cache.read(ids if self._quick else self._with_end(self._settled(prompt)))
        if 0 < read <= FEW:
            self._quick = self._clock() - begun < QUICK_S
        return read > 0

    def _with_end(self, prompt: str) -> list[int]:
        return [self.words.end_of_text, *self.ids(prompt)]


class _Belt(Belt):
    """One that says when it is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int) -> None:
        super().__init__(loop, self._free)
        self._ahead = ahead
        self._changed = threading.Condition()
        self._waiting = 0  # characters put and not yet taken
        self._stopped = False

    # In the thread:

    def room(self, longest: int) -> bool:
        """Wait until a token of `longest` bytes fits; False if no one wants it any more."""
        reserve = min(longest, self._ahead // 2)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._waiting or self._waiting + reserve <= self._ahead)
            return not self._stopped

    def add(self, piece: Piece) -> None:
        with self._changed:
            self._waiting += len(piece.text)
        self.put(piece)

    def end(self, _: Future[None]) -> None:
        self.put(None)

    # In the event loop:

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _free(self, characters: int) -> None:
        with self._changed:
            self._waiting -= characters
            self._changed.notify()
