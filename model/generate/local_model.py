"""A model in this process: one worker thread generates, the event loop receives the chunks.

The thread starts at once, imports the large libraries and loads the model. No other thread touches the session.
Between answers it prefills the prompt that is being typed, a chunk at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model.engine_errors import engine_errors, prepare_for_libraries
from model.errors import ModelError
from model.generate.context_window import Vocabulary, require_prompt_fits
from model.generate.prefix_cache import PrefixCache, stable_prefix
from model.generate.thread_queue import PacedQueue
from model.interface import DeviceChoice, Sampling, TextChunk
from model.onnx.model_loader import load_model
from model.store import store

if TYPE_CHECKING:
    from model.generate.generate import GenerationStep
    from model.generate.prefix_cache import DecoderSession
    from model.generate.token_mask import TokenMask

LOOKAHEAD_CHARS = 144  # two lines of paper, so that a BREAK wastes little work
CACHED_LINES = 512  # lines whose token ids are cached, so that a key does not encode the whole prompt again
# The last word is prefilled at every key if so many tokens take at most this time: a third of the time between keys.
CHEAP_PREFILL_TOKENS, CHEAP_PREFILL_S = 8, 0.03

Clock = Callable[[], float]


class LineTokenizer(Vocabulary, Protocol):
    """The methods of a tokenizer that an engine calls."""

    max_token_bytes: int

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """A loaded model; the mask limits its characters, None allows all. `device` is for the log."""

    session: DecoderSession
    tokenizer: LineTokenizer
    mask: TokenMask | None = None
    device: str = ""


class LocalModel:
    """Implements `model.interface.Model` on this machine."""

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
        """Starts loading. `source` is a model's folder, or a function that loads an engine.

        The thread generates until `lookahead_chars` characters are unread; a chunk counts as read when the reader
        requests the next. `wait_ready` and `stream` raise the errors of loading. A model loaded from a folder writes
        only characters that `is_allowed` accepts.
        """

        def load() -> _LoadedEngine:
            with engine_errors():
                engine = _load_engine(source, threads, device, is_allowed) if isinstance(source, Path) else source()
                return _LoadedEngine(engine, clock)

        self.name = name or (store.name_of_folder(source) if isinstance(source, Path) else "model")
        self._lookahead_chars = lookahead_chars
        self._clock = clock
        self._queues: set[PacedQueue] = set()
        self._typed_prompt: str | None = None
        self._is_prefilling = False  # a prefill step runs or is queued
        self._is_closed = False
        self._lock = threading.Lock()  # of the three above
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loading: Future[_LoadedEngine] = Future()
        try:
            with engine_errors():
                self._loading = self._worker.submit(load)
        except ModelError as error:  # no thread starts; `wait_ready` raises it, so that the paper can tell
            self._loading.set_exception(error)

    @property
    def device(self) -> str:
        done = self._loading.done() and self._loading.exception() is None
        return self._loading.result().device if done else ""

    @property
    def context(self) -> int:
        """Waits for the model to be loaded."""
        return self._loading.result().cache.context

    def count_tokens(self, text: str) -> int:
        """Waits for the model to be loaded. Raises ModelError."""
        with engine_errors():
            return len(self._loading.result().encode(text))

    async def wait_ready(self) -> None:
        if self._loading.done():
            self._loading.result()
            return
        # This awaits a second job, because a cancelled wait must not cancel the loading.
        await asyncio.wrap_future(self._worker.submit(self._loading.result))

    def prefill(self, prompt: str) -> None:
        with self._lock:
            self._typed_prompt = prompt
            if not self._is_prefilling and not self._is_closed:
                self._is_prefilling = True
                self._worker.submit(self._prefill_next_chunk)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        """Continues the prompt. Answers are generated one after the other."""
        queue = PacedQueue(asyncio.get_running_loop(), self._lookahead_chars)
        self._queues.add(queue)
        self._typed_prompt = None  # the answer then waits for no more than the prefill chunk that runs now
        work = self._worker.submit(self._generate_into, queue, prompt, sampling)
        work.add_done_callback(lambda _: queue.put(None))
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            work.result()
        finally:
            queue.stop()
            self._queues.discard(queue)

    async def close(self) -> None:
        """Ends the answers, waits for the loading or the step that runs now, and ends the thread."""
        with self._lock:
            self._typed_prompt, self._is_closed = None, True
        for queue in self._queues:
            queue.stop()
        with contextlib.suppress(RuntimeError):  # no thread was started
            await asyncio.wrap_future(self._worker.submit(bool))
        self._worker.shutdown()

    def _prefill_next_chunk(self) -> None:
        """Prefills one chunk of the newest prompt, and queues the next chunk behind any answer.

        Drops errors: the answer will raise them again.
        """
        prompt, has_work = self._typed_prompt, False
        try:
            if prompt is not None:
                has_work = self._loading.result().prefill_chunk(prompt)
        finally:
            with self._lock:
                has_work = has_work or self._typed_prompt is not prompt
                self._is_prefilling = not self._is_closed and self._typed_prompt is not None and has_work
                if self._is_prefilling:
                    self._worker.submit(self._prefill_next_chunk)

    def _generate_into(self, queue: PacedQueue, prompt: str, sampling: Sampling) -> None:
        """Puts each chunk into the queue once there is room for it, until the answer ends or the reader leaves."""
        with engine_errors():
            self._generate_chunks(queue, prompt, sampling)

    def _generate_chunks(self, queue: PacedQueue, prompt: str, sampling: Sampling) -> None:
        engine = self._loading.result()
        unsent: list[GenerationStep] = []
        steps = engine.generate(prompt, sampling)
        while queue.wait_for_room(engine.tokenizer.max_token_bytes) and (step := next(steps, None)) is not None:
            unsent.append(step)
            if step.text or step.finish_reason:
                queue.put_chunk(_join_steps(unsent, self._clock()))
                unsent.clear()


def _join_steps(steps: Sequence[GenerationStep], now: float) -> TextChunk:
    """Returns the chunk of the last step's text, with the tokens of all these steps."""
    return TextChunk(
        text=steps[-1].text,
        tokens=tuple(token for step in steps for token in step.tokens),
        created_at=now,
        finish_reason=steps[-1].finish_reason,
        logprobs=tuple(number for step in steps for number in step.logprobs),
        dropped_chars=sum(step.dropped_chars for step in steps),
        top_logprobs=tuple(tops for step in steps for tops in step.top_logprobs),
    )


class _LoadedEngine:
    """An engine and its prefix cache. Any thread may call `encode`, only the worker thread the other methods."""

    def __init__(self, engine: LocalEngine, clock: Clock) -> None:
        from model.generate import generate  # this imports numpy: the worker thread does it

        self.tokenizer = engine.tokenizer
        self.cache = PrefixCache(engine.session)
        self.device = engine.device
        self._mask = engine.mask
        self._generate = generate.generate
        self._clock, self._is_prefill_cheap = clock, False
        self._encode_line = lru_cache(CACHED_LINES)(self.tokenizer.encode_lines)

    def encode(self, text: str) -> list[int]:
        return [token for line in text.splitlines(keepends=True) for token in self._encode_line(line)]

    def generate(self, prompt: str, sampling: Sampling) -> Iterator[GenerationStep]:
        return self._generate(self.cache, self._prompt_ids(prompt), sampling, self.tokenizer, mask=self._mask)

    def prefill_chunk(self, prompt: str) -> bool:
        """Prefills the next chunk; False if no chunk is left. Raises PromptTooLong.

        The last word changes with the next key; it is prefilled only where a few tokens take little time.
        """
        ids = self._prompt_ids(prompt)
        require_prompt_fits(ids, self.cache.context)
        started_at = self._clock()
        if not self._is_prefill_cheap:
            ids = self._prompt_ids(stable_prefix(prompt))
        token_count = self.cache.prefill_chunk(ids)
        if 0 < token_count <= CHEAP_PREFILL_TOKENS:
            self._is_prefill_cheap = self._clock() - started_at < CHEAP_PREFILL_S
        return token_count > 0

    def _prompt_ids(self, prompt: str) -> list[int]:
        return [self.tokenizer.end_of_text, *self.encode(prompt)]


def _load_engine(
    folder: Path, threads: int, device: DeviceChoice, is_allowed: Callable[[str], bool] | None
) -> LocalEngine:
    prepare_for_libraries()
    from model.generate.token_mask import TokenMask

    session, tokenizer = load_model(folder, threads, device)
    mask = None
    if is_allowed:
        vocabulary = [tokenizer.bytes_of(token) for token in range(session.shape.vocab_size)]
        mask = TokenMask(vocabulary, tokenizer.end_of_text, is_allowed)
    return LocalEngine(session, tokenizer, mask, session.device_label)
