"""What can stand behind the app of `asr33 serve`: our batcher, and others to hold it against, all of one shape."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from drivers.profile import TypeWheel
from model.interface import CompletionRequest, TextChunk
from tools.bench.load.backends.peer import PeerBackend
from tools.bench.load.settings import EngineSettings

BackendName = Literal["ours", "arrival", "ctranslate2", "llama"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)
TYPE_WHEELS: tuple[TypeWheel, ...] = ("1963", "1968")
PEER_NAMES: tuple[BackendName, ...] = ("ctranslate2", "llama")


class Backend(Protocol):
    """What the app asks of whoever makes the answers."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def context(self) -> int: ...

    def count_tokens(self, text: str) -> int: ...

    async def wait_until_loaded(self) -> None: ...

    def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]: ...

    async def prefill(self, request: CompletionRequest) -> int: ...

    def counters(self) -> Any: ...

    async def close(self) -> None: ...


def open_backend(name: str, folder: Path, settings: EngineSettings) -> Backend:
    """Raises ModuleNotFoundError where a peer is not installed, ModelError where the model is none."""
    match name:
        case "ours" | "arrival":
            return _open_asr33_backend(name, folder, settings)
        case "llama":
            from tools.bench.load.backends.llama_rows import LlamaCppEngine

            return PeerBackend(folder, settings, LlamaCppEngine)
        case "ctranslate2":
            from tools.bench.load.backends.ctranslate2_rows import CTranslate2Engine

            return PeerBackend(folder, settings, CTranslate2Engine)
        case _:
            raise ValueError(f"no engine {name!r}: one of {', '.join(BACKEND_NAMES)}")


def _open_asr33_backend(policy: str, folder: Path, settings: EngineSettings) -> Backend:
    from drivers.text.charset import is_printable
    from model.server.engine.engine_thread import BatchModel

    alphabets: dict[str, Callable[[str], bool]] = {
        wheel: partial(_is_printable, is_printable, wheel) for wheel in TYPE_WHEELS
    }
    how: Literal["paper", "arrival"] = "arrival" if policy == "arrival" else "paper"
    return BatchModel(
        folder,
        batch_size=settings.batch_size,
        memory=settings.cache_bytes,
        context=settings.context,
        alphabets=alphabets,
        threads=settings.threads,
        device="cpu",
        order=how,
    )


def _is_printable(prints: Callable[[str, TypeWheel], bool], wheel: TypeWheel, character: str) -> bool:
    return prints(character, wheel)
