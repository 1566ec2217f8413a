"""What every engine that is measured has in common. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How many rows one step may have, bytes for caches, tokens of a context; zeros leave it to the engine."""

    batch_size: int
    cache_bytes: int
    context: int
    threads: int = 0
    weights: str = ""  # the folder of what a peer makes its own model of
