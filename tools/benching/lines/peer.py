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

from model import store
from model.base import Ask, Piece, Sampling
from model.context import check
from tools.benching.lines.setting import Setting


class Wanted:
    """One answer; what the engine's thread gives goes to the event loop of whoever waits."""

    def __init__(self, ids: Sequence[int], sampling: Sampling, conversation: str, context: int) -> None:
        self.ids, self.sampling, self.conversation = ids, sampling, conversation
        self.left = min(sampling.max_tokens, context - len(ids))  # there is no room behind it, and nothing rolls
        self.over = False  # it has all that it wanted, or nobody waits any more
        self.given: asyncio.Queue[int | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def give(self, token: int) -> bool:
        """From the thread; whether that was the last."""
        self.left -= 1
        self.over = self.over or not self.left
        self._send(token)
        if not self.left:
            self._send(None)
        return self.over

    def fail(self) -> None:
        self.over = True
        self._send(None)

    def _send(self, token: int | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.given.put_nowait, token)


class Waiting:
    """Who waits for a row, in order of arrival; shared by the event loop and the engine's threads."""

    def __init__(self) -> None:
        self._asked: deque[Wanted] = deque()
        self._changed = threading.Condition()

    def put(self, wanted: Wanted) -> None:
        with self._changed:
            self._asked.append(wanted)
            self._changed.notify()

    def take(self, most: int, *, wait: bool) -> list[Wanted]:
        """The first of them, up to so many; with `wait` at least one."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._asked)
            found = list[Wanted]()
            while self._asked and len(found) < most:
                one = self._asked.popleft()
                if not one.over:
                    found.append(one)
            return found


class Engine(Protocol):
    """A foreign library with its model loaded."""

    version: str

    def run(self, waiting: Waiting) -> None:
        """For ever, in a thread."""
        ...


class Peer:
    """As `model.serving.batch.Batch` to the app."""

    def __init__(self, folder: Path, setting: Setting, make: Callable[[Setting, int], Engine]) -> None:
        from model import tokenizer

        self.name, self.device = store.name_of(folder), ""
        self.context = setting.context
        self._words = tokenizer.from_json((folder / store.TOKENIZER).read_text("utf-8"))
        self._vocabulary = store.read_manifest(folder).shape.vocab_size
        self._setting, self._make = setting, make
        self._waiting = Waiting()

    def count(self, text: str) -> int:
        return len(self._words.encode_lines(text))

    async def ready(self) -> None:
        engine = await asyncio.to_thread(self._make, self._setting, self._vocabulary)
        self.device = engine.version
        threading.Thread(target=_run, args=(engine, self._waiting), name="engine", daemon=True).start()

    async def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]:
        ids = [self._words.end_of_text, *self._words.encode_lines(ask.prompt)]
        check(ids, self.context)
        wanted = Wanted(ids, ask.sampling, ask.conversation, self.context)
        self._waiting.put(wanted)
        made = asyncio.get_running_loop().time()
        try:
            while (token := await wanted.given.get()) is not None:
                yield Piece(self._words.decode([token]), (token,), made)
            yield Piece("", (), made, "length")
        finally:
            wanted.over = True

    async def read(self, ask: Ask) -> int:
        """What is being typed is nothing to it."""
        return 0

    def counters(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        """Its thread goes with the process."""


def _run(engine: Engine, waiting: Waiting) -> None:
    """A library that fails takes the process along: who waits for it would wait for ever."""
    try:
        engine.run(waiting)
    except Exception as error:
        sys.stderr.write(f"{engine.version}: {error or type(error).__name__}\n")
        sys.stderr.flush()
        os._exit(70)
