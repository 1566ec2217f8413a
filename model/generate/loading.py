"""A model's folder -> a session and a tokenizer that belong together; no thread and no event loop stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from model.errors import ModelDamaged
from model.interface import DeviceChoice
from model.store import store

if TYPE_CHECKING:
    from model.onnx.hf_session import HfOnnxSession
    from model.onnx.session import OnnxSession
    from model.onnx.tokenizer import Tokenizer

T = TypeVar("T")


def load_model(
    folder: Path, threads: int = 0, device: DeviceChoice = "auto"
) -> tuple[OnnxSession | HfOnnxSession, Tokenizer]:
    """Verify a model's files, load them, and see that they belong together. Raises ModelError."""
    manifest = store.read_manifest(folder)
    # At once, since each of the three is waited for by a person who has typed a command.
    whole = _BackgroundTask(lambda: store.verify_model(folder))
    session = _BackgroundTask(lambda: _open_session(folder, manifest, threads, device))
    try:
        words = _read_tokenizer(folder)
        return _require_match(folder, manifest, session.result(), words), words
    finally:
        session.wait()
        whole.result()  # what is damaged may not load either: then this is the better word for it


def _open_session(
    folder: Path, manifest: store.Manifest, threads: int, device: DeviceChoice
) -> OnnxSession | HfOnnxSession:
    from model.onnx.session import open_session

    return open_session(folder / store.GRAPH_FILE, threads=threads, device=device, shape=manifest.shape)


def _read_tokenizer(folder: Path) -> Tokenizer:
    from model.onnx import tokenizer

    try:
        text = (folder / store.TOKENIZER_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{folder / store.TOKENIZER_FILE}: not a tokenizer ({error})") from None
    return tokenizer.from_json(text)


def _require_match(
    folder: Path, manifest: store.Manifest, session: OnnxSession | HfOnnxSession, tokenizer: Tokenizer
) -> OnnxSession | HfOnnxSession:
    if session.shape != manifest.shape:
        raise ModelDamaged(f"{folder}: {store.GRAPH_FILE} is {session.shape}, its manifest says {manifest.shape}")
    if tokenizer.vocab_size > session.shape.vocab_size:
        known = session.shape.vocab_size
        raise ModelDamaged(
            f"{folder}: {store.TOKENIZER_FILE} has {tokenizer.vocab_size} tokens, the model knows {known}"
        )
    return session


class _BackgroundTask(Generic[T]):
    """What is done in a thread of its own from now on."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loading")
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> T:
        """Wait for it; raises what it raised."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # whoever waits is told
            self._error = error
