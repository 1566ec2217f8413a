"""What the batch has done since it began, for whoever watches it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class EngineTotals:
    """What only grows."""

    steps: int = 0  # passes that gave a token to each of many
    rows: int = 0  # rows in them
    padding_rows: int = 0  # rows of these that were there only because they lay between others
    step_s: float = 0.0
    prefill_chunks: int = 0  # passes that read a prompt, or part of it
    read: int = 0  # tokens in them
    read_s: float = 0.0
    reused: int = 0  # tokens of prompts that were found in a cache
    copied: int = 0  # caches that were copied from slot to slot
    tokens: int = 0  # drawn
    finished: int = 0  # answers that came to their end
    cut: int = 0  # answers whose reader was gone before
    failed: int = 0
    stalls: int = 0  # times that a wheel is known to have stood still in mid-answer
    stall_s: float = 0.0

    def counters(self, *, active: int, waiting: int, caches: int) -> EngineCounters:
        return EngineCounters(**asdict(self), active=active, waiting=waiting, caches=caches)


@dataclass(frozen=True, slots=True)
class EngineCounters:
    """All that, and how it stands: answers that have a row and that wait for one, and caches at rest."""

    steps: int
    rows: int
    padding_rows: int
    step_s: float
    prefill_chunks: int
    read: int
    read_s: float
    reused: int
    copied: int
    tokens: int
    finished: int
    cut: int
    failed: int
    stalls: int
    stall_s: float
    active: int = 0
    waiting: int = 0
    caches: int = 0
    refused: int = 0
