"""A foreign engine behind the app of `asr33 serve`: first come, first served, as fast as the engine can.

This module knows text and threads; the engine knows how a batch is computed. Neither knows the speed of a printer,
because no other server does.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.generate.context_window import require_prompt_fits
from model.interface import CompletionRequest, Sampling, TextChunk
from model.store import store


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings that all engines share; zeros leave the choice to the engine."""

    batch_size: int
    cache_bytes: int
    context: int
    threads: int = 0
    weights: str = ""  # the folder of shared weights that a peer makes its own model of


class PeerRequest:
    """One answer: the engine's thread adds its tokens to a queue of the event loop."""

    def __init__(self, ids: Sequence[int], sampling: Sampling, conversation: str, context: int) -> None:
        self.ids, self.sampling, self.conversation = ids, sampling, conversation
        self.tokens_left = min(sampling.max_tokens, context - len(ids))  # the context window does not roll
        self.is_finished = False  # all tokens are made, or the client has left
        self.tokens: asyncio.Queue[int | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def add_token(self, token: int) -> bool:
        """Called in the engine's thread; returns whether the answer is finished."""
        self.tokens_left -= 1
        self.is_finished = self.is_finished or not self.tokens_left
        self._post(token)
        if not self.tokens_left:
            self._post(None)
        return self.is_finished

    def fail(self) -> None:
        self.is_finished = True
        self._post(None)

    def _post(self, token: int | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.tokens.put_nowait, token)


class RequestQueue:
    """The requests that wait for a row, in order of arrival; the event loop and the engine's thread share it."""

    def __init__(self) -> None:
        self._requests: deque[PeerRequest] = deque()
        self._changed = threading.Condition()

    def put(self, request: PeerRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify()

    def take_waiting(self, limit: int, *, wait: bool) -> list[PeerRequest]:
        """Removes and returns the first unfinished requests, up to the limit. `wait`: blocks until one is there."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._requests)
            taken = list[PeerRequest]()
            while self._requests and len(taken) < limit:
                request = self._requests.popleft()
                if not request.is_finished:
                    taken.append(request)
            return taken


class PeerEngine(Protocol):
    """A foreign library with its model loaded."""

    version: str

    def run(self, queue: RequestQueue) -> None:
        """Serves the queue for ever, in a thread of its own."""
        ...


class PeerBackend:
    """Has the methods of `model.server.engine.engine_thread.BatchModel` that the app uses."""

    def __init__(
        self, folder: Path, settings: EngineSettings, open_engine: Callable[[EngineSettings, int], PeerEngine]
    ) -> None:
        from model.onnx import tokenizer

        self.name, self.device = store.name_of_folder(folder), ""
        self.context = settings.context
        self._tokenizer = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
        self._vocab_size = store.read_manifest(folder).shape.vocab_size
        self._settings, self._open_engine = settings, open_engine
        self._queue = RequestQueue()

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode_lines(text))

    def token_bytes(self, token: int) -> bytes:
        return self._tokenizer.bytes_of(token)

    async def wait_until_loaded(self) -> None:
        engine = await asyncio.to_thread(self._open_engine, self._settings, self._vocab_size)
        self.device = engine.version
        threading.Thread(target=_run_engine, args=(engine, self._queue), name="engine", daemon=True).start()

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        ids = [self._tokenizer.end_of_text, *self._tokenizer.encode_lines(request.prompt)]
        require_prompt_fits(ids, self.context)
        answer = PeerRequest(ids, request.sampling, request.conversation, self.context)
        self._queue.put(answer)
        created_at = asyncio.get_running_loop().time()
        try:
            while (token := await answer.tokens.get()) is not None:
                yield TextChunk(self._tokenizer.decode([token]), (token,), created_at)
            yield TextChunk("", (), created_at, "length")
        finally:
            answer.is_finished = True

    async def prefill(self, request: CompletionRequest) -> int:
        """Does nothing: no peer prefills a prompt that is still being typed."""
        return 0

    def counters(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        """Does nothing: the thread ends with the process."""


def _run_engine(engine: PeerEngine, queue: RequestQueue) -> None:
    """Runs the engine; its failure ends the process, because the clients would wait for ever."""
    try:
        engine.run(queue)
    except Exception as error:
        sys.stderr.write(f"{engine.version}: {error or type(error).__name__}\n")
        sys.stderr.flush()
        os._exit(70)
