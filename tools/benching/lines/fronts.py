"""What can stand behind the app of `asr33 serve`: our batcher, and others to hold it against, all of one shape."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from drivers.profile import Wheel
from model.base import Ask, Piece
from tools.benching.lines.peer import Peer
from tools.benching.lines.setting import Setting

Engine = Literal["ours", "arrival", "ctranslate2", "llama"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
WHEELS: tuple[Wheel, ...] = ("1963", "1968")
PEERS: tuple[Engine, ...] = ("ctranslate2", "llama")


class Front(Protocol):
    """What the app asks of whoever makes the answers."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def context(self) -> int: ...

    def count(self, text: str) -> int: ...

    async def ready(self) -> None: ...

    def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]: ...

    async def read(self, ask: Ask) -> int: ...

    def counters(self) -> Any: ...

    async def close(self) -> None: ...


def front(engine: str, folder: Path, setting: Setting) -> Front:
    """Raises ModuleNotFoundError where a peer is not installed, ModelError where the model is none."""
    match engine:
        case "ours" | "arrival":
            return _ours(engine, folder, setting)
        case "llama":
            from tools.benching.lines.llama_rows import Rows

            return Peer(folder, setting, Rows)
        case "ctranslate2":
            from tools.benching.lines.ctranslate_rows import Groups

            return Peer(folder, setting, Groups)
        case _:
            raise ValueError(f"no engine {engine!r}: one of {', '.join(ENGINES)}")


def _ours(order: str, folder: Path, setting: Setting) -> Front:
    from drivers.charset import prints
    from model.serving.batch import Batch

    alphabets: dict[str, Callable[[str], bool]] = {wheel: partial(_printed, prints, wheel) for wheel in WHEELS}
    how: Literal["paper", "arrival"] = "arrival" if order == "arrival" else "paper"
    return Batch(
        folder,
        rows=setting.rows,
        memory=setting.memory,
        context=setting.context,
        alphabets=alphabets,
        threads=setting.threads,
        device="cpu",
        order=how,
    )


def _printed(prints: Callable[[str, Wheel], bool], wheel: Wheel, character: str) -> bool:
    return prints(character, wheel)
