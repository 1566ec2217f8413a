"""Loads a session and a matching tokenizer from a model's folder.

It imports neither asyncio nor concurrent.futures, which would delay the first word of `asr33 ask`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from model.engine_errors import engine_errors, prepare_for_libraries
from model.errors import ModelDamaged
from model.interface import DeviceChoice, GPT2Config
from model.store import store

if TYPE_CHECKING:
    from model.onnx.gpt2_session import GPT2Session
    from model.onnx.tokenizer import Tokenizer

T = TypeVar("T")


def load_model(folder: Path, threads: int = 0, device: DeviceChoice = "auto") -> tuple[GPT2Session, Tokenizer]:
    """Verifies a model's files, loads the session and the tokenizer, and checks that they match.

    Raises ModelError; if the computer has too little memory or too few threads, too.
    """
    with engine_errors():
        prepare_for_libraries()
        return _load_model(folder, threads, device)


def _load_model(folder: Path, threads: int, device: DeviceChoice) -> tuple[GPT2Session, Tokenizer]:
    manifest = store.read_manifest(folder)
    # The three parts run at the same time, because a user waits.
    verifying = _BackgroundTask(lambda: store.verify_model(folder))
    opening = _BackgroundTask(lambda: _open_session(folder / store.GRAPH_FILE, threads, device, manifest.shape))
    try:
        tokenizer = _read_tokenizer(folder)
        session = opening.result()
    finally:
        opening.wait()
        verifying.result()  # the error of a damaged file explains the session's error
    if session.shape != manifest.shape:
        raise ModelDamaged(f"{folder}: {store.GRAPH_FILE} is {session.shape}, its manifest says {manifest.shape}")
    if tokenizer.vocab_size > (known := session.shape.vocab_size):
        problem = f"{store.TOKENIZER_FILE} has {tokenizer.vocab_size} tokens, the model knows {known}"
        raise ModelDamaged(f"{folder}: {problem}")
    return session, tokenizer


def _open_session(graph: Path, threads: int, device: DeviceChoice, shape: GPT2Config) -> GPT2Session:
    from model.onnx.session import open_session  # it loads onnxruntime, while the files are verified

    return open_session(graph, threads=threads, device=device, shape=shape)


def _read_tokenizer(folder: Path) -> Tokenizer:
    from model.onnx import tokenizer

    return tokenizer.read_file(folder / store.TOKENIZER_FILE)


class _BackgroundTask(Generic[T]):
    """Runs a function in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="loading")
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> T:
        """Waits for the result. Raises the function's error."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:  # `result` raises it
            self._error = error
