"""A model's folder -> a session and a tokenizer that belong together; no thread and no event loop stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from model import store
from model.base import Provider
from model.errors import ModelDamaged

if TYPE_CHECKING:
    from model.foreign import Foreign
    from model.session import Session
    from model.tokenizer import Tokenizer

T = TypeVar("T")


def load(folder: Path, threads: int = 0, provider: Provider = "auto") -> tuple[Session | Foreign, Tokenizer]:
    """Verify a model's files, load them, and see that they belong together. Raises ModelError."""
    manifest = store.read_manifest(folder)
    # At once, since each of the three is waited for by a person who has typed a command.
    whole = _Aside(lambda: store.verify(folder))
    session = _Aside(lambda: _session(folder, manifest, threads, provider))
    try:
        words = _tokenizer(folder)
        return _matched(folder, manifest, session.result(), words), words
    finally:
        session.wait()
        whole.result()  # what is damaged may not load either: then this is the better word for it


def _session(folder: Path, manifest: store.Manifest, threads: int, provider: Provider) -> Session | Foreign:
    from model.session import open_session

    return open_session(folder / store.GRAPH, threads=threads, provider=provider, shape=manifest.shape)


def _tokenizer(folder: Path) -> Tokenizer:
    from model import tokenizer

    try:
        text = (folder / store.TOKENIZER).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{folder / store.TOKENIZER}: not a tokenizer ({error})") from None
    return tokenizer.from_json(text)


def _matched(folder: Path, manifest: store.Manifest, session: Session | Foreign, words: Tokenizer) -> Session | Foreign:
    if session.shape != manifest.shape:
        raise ModelDamaged(f"{folder}: {store.GRAPH} is {session.shape}, its manifest says {manifest.shape}")
    if words.size > session.shape.vocab_size:
        known = session.shape.vocab_size
        raise ModelDamaged(f"{folder}: {store.TOKENIZER} has {words.size} tokens, the model knows {known}")
    return session


class _Aside(Generic[T]):
    """What is done in a thread of its own from now on."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._found: list[T] = []
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loading")
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> T:
        """Wait for it; raises what it raised."""
        self._thread.join()
        if self._fault:
            raise self._fault
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._work())
        except BaseException as error:  # whoever waits is told
            self._fault = error
