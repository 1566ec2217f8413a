"""Counts the work of the engine since its start. `/metrics` shows the names of the fields. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _count(help_text: str) -> Any:
    """A field that never decreases."""
    return field(default=0, metadata={"help": help_text})


def _seconds(help_text: str) -> Any:
    return field(default=0.0, metadata={"help": help_text})


def _gauge(help_text: str) -> Any:
    """A field that counts what there is now."""
    return field(default=0, metadata={"help": help_text, "gauge": True})


@dataclass(slots=True)
class EngineCounters:
    """Totals since the start, except the gauges."""

    steps: int = _count("Decode steps.")
    rows: int = _count("Rows in the decode steps, padding included.")
    padding_rows: int = _count("Rows computed only because they lie between two rows of the step.")
    step_s: float = _seconds("Seconds in decode steps.")
    prefill_chunks: int = _count("Prefill passes.")
    read: int = _count("Tokens in the prefill passes.")
    read_s: float = _seconds("Seconds in the prefill passes.")
    reused: int = _count("Prompt tokens found in a cache.")
    copied: int = _count("Caches copied from slot to slot.")
    tokens: int = _count("Tokens sampled.")
    finished: int = _count("Answers that reached their end.")
    cut: int = _count("Answers cancelled by their client.")
    failed: int = _count("Answers ended by an error.")
    stalls: int = _count("Times that a client ran out of text in the middle of an answer.")
    stall_s: float = _seconds("Seconds for which clients had no text.")
    active: int = _gauge("Answers that have a row now.")
    waiting: int = _gauge("Answers that wait for a row now.")
    caches: int = _gauge("Idle caches now.")
    refused: int = _count("Answers refused because the queue was full.")
