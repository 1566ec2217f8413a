"""Counts the work of the engine since its start. `/metrics` shows the names of the fields. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EngineCounters:
    """Totals since the start, except the fields marked "now"."""

    steps: int = 0  # decode steps
    rows: int = 0  # rows in the decode steps, padding included
    padding_rows: int = 0  # rows computed only because they lie between two rows of the step
    step_s: float = 0.0  # seconds in decode steps
    prefill_chunks: int = 0  # prefill passes
    read: int = 0  # tokens in the prefill passes
    read_s: float = 0.0  # seconds in the prefill passes
    reused: int = 0  # prompt tokens found in a cache
    copied: int = 0  # caches copied from slot to slot
    tokens: int = 0  # tokens sampled
    finished: int = 0  # answers that reached their end
    cut: int = 0  # answers cancelled by their client
    failed: int = 0  # answers ended by an error
    stalls: int = 0  # times that a client ran out of text in the middle of an answer
    stall_s: float = 0.0  # seconds of these stalls
    active: int = 0  # answers that have a row now
    waiting: int = 0  # answers that wait for a row now
    caches: int = 0  # idle caches now
    refused: int = 0  # answers refused because the queue was full
