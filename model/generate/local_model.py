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

from model.generate.loading import load_model as load_model
from model.generate.thread_queue import ThreadToLoopQueue
from model.interface import DeviceChoice, Sampling, TextChunk
from model.store import store

if TYPE_CHECKING:
    from model.generate.generate import GenerationStep
    from model.generate.prefix_cache import DecoderSession
    from model.generate.token_mask import TokenMask

LOOKAHEAD_CHARS = 144  # characters: two lines of paper, so that a BREAK wastes little
CACHED_LINES = 512  # whose ids are remembered: the same lines are counted and read at every key of the next
CHEAP_PREFILL_TOKENS, CHEAP_PREFILL_S = (
    8,
    0.03,
)  # tokens, and what they may take to be read at every key: a third of the time between two

Clock = Callable[[], float]


class LineTokenizer(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int
    max_token_bytes: int

    def bytes_of(self, token: int) -> bytes: ...

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """A model that is loaded, and what it may say; without a mask anything."""

    session: DecoderSession
    tokenizer: LineTokenizer
    mask: TokenMask | None = None
    device: str = ""


def _load_engine(
    folder: Path, threads: int, device: DeviceChoice, is_allowed: Callable[[str], bool] | None
) -> LocalEngine:
    from model.generate.token_mask import TokenMask

    session, words = load_model(folder, threads, device)
    spelled = [words.bytes_of(token) for token in range(session.shape.vocab_size)]
    return LocalEngine(
        session, words, TokenMask(spelled, words.end_of_text, is_allowed) if is_allowed else None, session.device_label
    )


class LocalModel:
    """A model on this machine, as `model.interface.Model` has it."""

    def __init__(
        self,
        source: Path | Callable[[], LocalEngine],
        *,
        name: str = "",
        threads: int = 0,
        device: DeviceChoice = "auto",
        lookahead_chars: int = LOOKAHEAD_CHARS,
        is_allowed: Callable[[str], bool] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """`source` is a model's folder, or a function that loads an engine; it is loaded at once, in the thread.

        The thread makes pieces until `ahead` characters wait that no one has taken; a piece is taken when the next is
        asked for. What goes wrong while loading is raised by `ready` and by `stream`. The model of a folder says
        nothing but characters that are `kept`.
        """
        self._name = name or (store.name_of_folder(source) if isinstance(source, Path) else "model")
        self._lookahead_chars = lookahead_chars
        self._clock = clock
        self._queues: set[_PacedQueue] = set()
        self._typed_prompt: str | None = None  # a prompt that is still being typed
        self._is_prefilling = False  # it is read, or about to be
        self._is_closed = False
        self._lock = threading.Lock()  # of the two above
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loading: Future[_LoadedEngine] = self._worker.submit(
            lambda: _LoadedEngine(
                _load_engine(source, threads, device, is_allowed) if isinstance(source, Path) else source(), clock
            )
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

    def count_tokens(self, text: str) -> int:
        """Tokens of a text; waits for the model to be loaded."""
        return len(self._loading.result().encode(text))

    async def wait_ready(self) -> None:
        """Return when the model is loaded. Raises ModelError if it cannot be."""
        # Not the loading itself: to cancel the wait would cancel that.
        await asyncio.wrap_future(self._worker.submit(self._loading.result))

    def prefill(self, prompt: str) -> None:
        """So far has this prompt been typed: the thread reads what is settled of it while it has nothing else to do.

        Returns at once, never fails, and may be called at every key: the newest counts. Answers go first.
        """
        with self._lock:
            self._typed_prompt = prompt
            if not self._is_prefilling and not self._is_closed:
                self._is_prefilling = True
                self._worker.submit(self._prefill_next_chunk)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """The continuation of the prompt; closing the generator ends the work within one step.

        Answers are made one after the other. Raises ModelError before the first piece.
        """
        belt = _PacedQueue(asyncio.get_running_loop(), self._lookahead_chars)
        self._queues.add(belt)
        self._typed_prompt = None  # an answer takes the whole prompt, and need not wait for more than the chunk in hand
        work = self._worker.submit(self._generate_into, belt, prompt, sampling)
        work.add_done_callback(belt.put_end)
        try:
            while (piece := await belt.get()) is not None:
                yield piece
            work.result()
        finally:
            belt.stop()
            self._queues.discard(belt)

    async def close(self) -> None:
        """End what is being made, wait for the loading or the step that is under way, and end the thread."""
        with self._lock:
            self._typed_prompt, self._is_closed = None, True
        for belt in self._queues:
            belt.stop()
        await asyncio.wrap_future(self._worker.submit(bool))
        self._worker.shutdown()

    def _prefill_next_chunk(self) -> None:
        """One chunk of the newest prompt; then again, behind an answer that was asked for meanwhile.

        What goes wrong is told to nobody: it will again, to whoever asks for the answer.
        """
        heard, read = self._typed_prompt, False
        try:
            if heard is not None:
                read = self._loading.result().prefill_chunk(heard)
        finally:
            with self._lock:
                newer = self._typed_prompt is not heard
                self._is_prefilling = not self._is_closed and self._typed_prompt is not None and (read or newer)
                if self._is_prefilling:
                    self._worker.submit(self._prefill_next_chunk)

    def _generate_into(self, queue: _PacedQueue, prompt: str, sampling: Sampling) -> None:
        for piece in self._generate_chunks(prompt, sampling, queue.wait_for_room):
            queue.put_chunk(piece)

    def _generate_chunks(
        self, prompt: str, sampling: Sampling, wait_for_room: Callable[[int], bool]
    ) -> Iterator[TextChunk]:
        """The pieces, each as soon as there is room for it, until there is none to be had."""
        reader = self._loading.result()
        tokens: tuple[int, ...] = ()
        logprobs: tuple[float, ...] = ()
        forgotten = 0
        steps = reader.generate(prompt, sampling)
        while wait_for_room(reader.tokenizer.max_token_bytes) and (step := next(steps, None)) is not None:
            tokens += step.tokens
            logprobs += step.logprobs
            forgotten += step.dropped_chars
            if step.text or step.finish_reason:
                yield TextChunk(step.text, tokens, self._clock(), step.finish_reason, logprobs, forgotten)
                tokens, logprobs, forgotten = (), (), 0


class _LoadedEngine:
    """A model that is loaded, and what it has read. All but `ids` is the thread's alone."""

    def __init__(self, engine: LocalEngine, clock: Clock) -> None:
        # Here, while there is time, and not before the first token.
        from model.generate import context_window, generate, prefix_cache

        self.tokenizer = engine.tokenizer
        self.cache = prefix_cache.PrefixCache(engine.session)
        self.device = engine.device
        self._mask = engine.mask
        self._generate, self._require_prompt_fits, self._stable_prefix = (
            generate.generate,
            context_window.require_prompt_fits,
            prefix_cache.stable_prefix,
        )
        self._clock, self._is_prefill_cheap = clock, False
        self._encode_line = lru_cache(CACHED_LINES)(self.tokenizer.encode_lines)

    def encode(self, text: str) -> list[int]:
        return [token for line in text.splitlines(keepends=True) for token in self._encode_line(line)]

    def generate(self, prompt: str, sampling: Sampling) -> Iterator[GenerationStep]:
        return self._generate(self.cache, self._prompt_ids(prompt), sampling, self.tokenizer, mask=self._mask)

    def prefill_chunk(self, prompt: str) -> bool:
        """A chunk of the prompt; False if there was nothing to read. Raises PromptTooLong.

        Its last word changes with the next key, and is read only where a few tokens cost next to nothing.
        """
        ids = self._prompt_ids(prompt)
        self._require_prompt_fits(ids, self.cache.context)
        begun = self._clock()
        read = self.cache.prefill_chunk(
            ids if self._is_prefill_cheap else self._prompt_ids(self._stable_prefix(prompt))
        )
        if 0 < read <= CHEAP_PREFILL_TOKENS:
            self._is_prefill_cheap = self._clock() - begun < CHEAP_PREFILL_S
        return read > 0

    def _prompt_ids(self, prompt: str) -> list[int]:
        return [self.tokenizer.end_of_text, *self.encode(prompt)]


class _PacedQueue(ThreadToLoopQueue):
    """One that says when it is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lookahead_chars: int) -> None:
        super().__init__(loop, self._release_chars)
        self._lookahead_chars = lookahead_chars
        self._condition = threading.Condition()
        self._waiting_chars = 0  # characters put and not yet taken
        self._is_stopped = False

    # In the thread:

    def wait_for_room(self, max_token_bytes: int) -> bool:
        """Wait until a token of `longest` bytes fits; False if no one wants it any more."""
        reserve = min(max_token_bytes, self._lookahead_chars // 2)
        with self._condition:
            self._condition.wait_for(
                lambda: (
                    self._is_stopped
                    or not self._waiting_chars
                    or self._waiting_chars + reserve <= self._lookahead_chars
                )
            )
            return not self._is_stopped

    def put_chunk(self, chunk: TextChunk) -> None:
        with self._condition:
            self._waiting_chars += len(chunk.text)
        self.put(chunk)

    def put_end(self, _: Future[None]) -> None:
        self.put(None)

    # In the event loop:

    def stop(self) -> None:
        with self._condition:
            self._is_stopped = True
            self._condition.notify()

    def _release_chars(self, characters: int) -> None:
        with self._condition:
            self._waiting_chars -= characters
            self._condition.notify()
