"""A model in this process: the generation loop in one worker thread, its pieces in the event loop.

The thread is made at once and loads the model first, while the caller does something else (types a greeting, say).
It is the only one that ever touches the session. What heavy libraries a model needs are imported there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model import store
from model.base import Piece, Sampling
from model.errors import ModelDamaged

if TYPE_CHECKING:
    from model.loop import Forward
    from model.session import Session
    from model.tokenizer import Tokenizer

AHEAD = 144  # characters: two lines of paper, so that a BREAK wastes little

Clock = Callable[[], float]


class Words(Protocol):
    """What is asked of the tokenizer."""

    end_of_text: int
    longest: int

    def bytes_of(self, token: int) -> bytes: ...

    def encode_lines(self, text: str) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that is loaded."""

    session: Forward
    tokenizer: Words


def load(folder: Path, threads: int = 0) -> tuple[Session, Tokenizer]:
    """Verify a model's files, load them, and see that they belong together. Raises ModelError."""
    from model import tokenizer
    from model.session import Session

    manifest = store.verify(folder)
    try:
        text = (folder / store.TOKENIZER).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{folder / store.TOKENIZER}: not a tokenizer ({error})") from None
    words = tokenizer.from_json(text)
    session = Session(folder / store.GRAPH, threads=threads)
    if session.shape != manifest.shape:
        raise ModelDamaged(f"{folder}: {store.GRAPH} is {session.shape}, its manifest says {manifest.shape}")
    if words.size > session.shape.vocab_size:
        known = session.shape.vocab_size
        raise ModelDamaged(f"{folder}: {store.TOKENIZER} has {words.size} tokens, the model knows {known}")
    return session, words


class Local:
    """A model on this machine, as `model.base.Model` has it."""

    def __init__(
        self,
        source: Path | Callable[[], Engine],
        *,
        name: str = "",
        threads: int = 0,
        ahead: int = AHEAD,
        clock: Clock = time.monotonic,
    ) -> None:
        """`source` is a model's folder, or a function that loads an engine; it is loaded at once, in the thread.

        The thread makes pieces until `ahead` characters wait that no one has taken; a piece is taken when the next is
        asked for. What goes wrong while loading is raised by `ready` and by `stream`.
        """
        self._name = name or (store.name_of(source) if isinstance(source, Path) else "model")
        self._ahead = ahead
        self._clock = clock
        self._belts: set[_Belt] = set()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._loading: Future[Engine] = self._worker.submit(
            (lambda: Engine(*load(source, threads))) if isinstance(source, Path) else source
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer may have together; waits for the model to be loaded."""
        return self._loading.result().session.context

    def count(self, text: str) -> int:
        """Tokens of a text; waits for the model to be loaded."""
        return len(self._loading.result().tokenizer.encode_lines(text))

    async def ready(self) -> None:
        """Return when the model is loaded. Raises ModelError if it cannot be."""
        # Not the loading itself: to cancel the wait would cancel that.
        await asyncio.wrap_future(self._worker.submit(self._loading.result))

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The continuation of the prompt; closing the generator ends the work within one step.

        Answers are made one after the other. Raises ModelError before the first piece.
        """
        belt = _Belt(asyncio.get_running_loop(), self._ahead)
        self._belts.add(belt)
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
        for belt in self._belts:
            belt.stop()
        await asyncio.wrap_future(self._worker.submit(bool))
        self._worker.shutdown()

    def _work(self, belt: _Belt, prompt: str, sampling: Sampling) -> None:
        for piece in self._pieces(prompt, sampling, belt.room):
            belt.put(piece)

    def _pieces(self, prompt: str, sampling: Sampling, room: Callable[[int], bool]) -> Iterator[Piece]:
        """The pieces, each as soon as there is room for it, until there is none to be had."""
        from model.loop import generate

        engine = self._loading.result()
        words = engine.tokenizer
        ids = [words.end_of_text, *words.encode_lines(prompt)]
        tokens: tuple[int, ...] = ()
        steps = generate(engine.session, ids, sampling, words)
        while room(words.longest) and (step := next(steps, None)) is not None:
            tokens += step.tokens
            if step.text or step.finish:
                yield Piece(step.text, tokens, self._clock(), step.finish)
                tokens = ()


class _Belt:
    """What carries the pieces of one answer from the thread to the event loop, and says when it is full."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int) -> None:
        self._loop = loop
        self._ahead = ahead
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._changed = threading.Condition()
        self._waiting = 0  # characters put and not yet taken
        self._stopped = False
        self._in_hand = 0

    # In the thread:

    def room(self, longest: int) -> bool:
        """Wait until a token of `longest` bytes fits; False if no one wants it any more."""
        reserve = min(longest, self._ahead // 2)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._waiting or self._waiting + reserve <= self._ahead)
            return not self._stopped

    def put(self, piece: Piece) -> None:
        with self._changed:
            self._waiting += len(piece.text)
        self._send(piece)

    def end(self, _: Future[None]) -> None:
        self._send(None)

    def _send(self, piece: Piece | None) -> None:
        with suppress(RuntimeError):  # the event loop is closed, so no one is there to take it
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    # In the event loop:

    async def take(self) -> Piece | None:
        """The next piece, None after the last; the one before it is now done with."""
        self._free(self._in_hand)
        piece = await self._pieces.get()
        self._in_hand = len(piece.text) if piece else 0
        return piece

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _free(self, characters: int) -> None:
        with self._changed:
            self._waiting -= characters
            self._changed.notify()
        self._in_hand = 0
