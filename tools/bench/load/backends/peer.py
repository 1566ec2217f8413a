"""A foreign engine behind the front of our own: who asks first is served first, as fast as it comes.

Knows words and threads; how rows are computed the engine knows. It has no idea of a wheel, as no other server has.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from model.generate.context_window import require_prompt_fits
from model.interface import CompletionRequest, Sampling, TextChunk
from model.store import store
from tools.bench.load.settings import EngineSettings


class PeerRequest:
    """One answer; what the engine's thread gives goes to the event loop of whoever waits."""

    def __init__(self, ids: Sequence[int], sampling: Sampling, conversation: str, context: int) -> None:
        self.ids, self.sampling, self.conversation = ids, sampling, conversation
        self.tokens_left = min(sampling.max_tokens, context - len(ids))  # there is no room behind it, and nothing rolls
        self.is_finished = False  # it has all that it wanted, or nobody waits any more
        self.tokens: asyncio.Queue[int | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def add_token(self, token: int) -> bool:
        """From the thread; whether that was the last."""
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
    """Who waits for a row, in order of arrival; shared by the event loop and the engine's threads."""

    def __init__(self) -> None:
        self._requests: deque[PeerRequest] = deque()
        self._changed = threading.Condition()

    def put(self, request: PeerRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify()

    def take_waiting(self, limit: int, *, wait: bool) -> list[PeerRequest]:
        """The first of them, up to so many; with `wait` at least one."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._requests)
            found = list[PeerRequest]()
            while self._requests and len(found) < limit:
                one = self._requests.popleft()
                if not one.is_finished:
                    found.append(one)
            return found


class PeerEngine(Protocol):
    """A foreign library with its model loaded."""

    version: str

    def run(self, queue: RequestQueue) -> None:
        """For ever, in a thread."""
        ...


class PeerBackend:
    """As `model.server.engine.engine_thread.Batch` to the app."""

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

    async def wait_until_loaded(self) -> None:
        engine = await asyncio.to_thread(self._open_engine, self._settings, self._vocab_size)
        self.device = engine.version
        threading.Thread(target=_run_engine, args=(engine, self._queue), name="engine", daemon=True).start()

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        ids = [self._tokenizer.end_of_text, *self._tokenizer.encode_lines(request.prompt)]
        require_prompt_fits(ids, self.context)
        wanted = PeerRequest(ids, request.sampling, request.conversation, self.context)
        self._queue.put(wanted)
        made = asyncio.get_running_loop().time()
        try:
            while (token := await wanted.tokens.get()) is not None:
                yield TextChunk(self._tokenizer.decode([token]), (token,), made)
            yield TextChunk("", (), made, "length")
        finally:
            wanted.is_finished = True

    async def prefill(self, request: CompletionRequest) -> int:
        """What is being typed is nothing to it."""
        return 0

    def counters(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        """Its thread goes with the process."""


def _run_engine(engine: PeerEngine, queue: RequestQueue) -> None:
    """A library that fails takes the process along: who waits for it would wait for ever."""
    try:
        engine.run(queue)
    except Exception as error:
        sys.stderr.write(f"{engine.version}: {error or type(error).__name__}\n")
        sys.stderr.flush()
        os._exit(70)
