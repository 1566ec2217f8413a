"""What an engine takes for its passes: tables that were measured, bounds that were reckoned, or somebody's own. Pure.

A table says where it is from. Between two sizes a straight line is drawn, and on from the last. Knows no lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from tools.bench.errors import NotComparable

SHORT_TOKENS, LONG_TOKENS = 32, 200  # tokens of past at which steps are measured
LAYERS, WIDTH = 12, 768  # of GPT-2 124M
PARAMETERS = 124_439_808


@dataclass(frozen=True, slots=True)
class EngineCostTable:
    """One replica's. `steps`: rows, and milliseconds behind 32 and behind 200 tokens; `piece`: fixed, and a token.

    `draw_ms` and `front_ms` are Python's, for each token: the next one drawn, and the event sent. They hold one lock,
    so they add up, whatever the engine is.
    """

    name: str
    source: str
    steps: tuple[tuple[int, float, float], ...]
    piece: tuple[float, float]
    a_token: int  # bytes of cache
    weights: int  # bytes
    cores: int = 2
    draw_ms: float = 0.15
    front_ms: float = 0.1

    def step_s(self, rows: int, past: float) -> float:
        """A step of so many rows, each behind so many tokens on average."""
        short, long = (self._interpolate_ms(rows, column) for column in (1, 2))
        return max(short / 2, short + (long - short) * (past - SHORT_TOKENS) / (LONG_TOKENS - SHORT_TOKENS)) / 1000

    def prefill_s(self, tokens: int) -> float:
        fixed, each = self.piece
        return (fixed + each * tokens) / 1000

    def _interpolate_ms(self, rows: int, column: int) -> float:
        if len(self.steps) == 1:
            return self.steps[0][column] * rows / self.steps[0][0]
        above = min(max(1, bisect_left(self.steps, (rows,))), len(self.steps) - 1)
        (n, *low), (m, *high) = self.steps[above - 1], self.steps[above]
        return low[column - 1] + (high[column - 1] - low[column - 1]) * (rows - n) / (m - n)


def cache_bytes_per_token(value_bytes: int) -> int:
    """Bytes that a token takes, of numbers of so many bytes: a key and a value in each layer."""
    return 2 * LAYERS * WIDTH * value_bytes


def data_sheet_bound(name: str, source: str, gigabytes_s: float, teraflops: float) -> EngineCostTable:
    """No GPU does better: weights once and caches once over its bus, all sums at its best; Python's share is ours."""

    def least_ms(rows: int, past: int) -> float:
        moved = 2 * PARAMETERS + rows * past * cache_bytes_per_token(2)
        return 1000 * max(moved / (gigabytes_s * 1e9), 2 * PARAMETERS * rows / (teraflops * 1e12))

    steps = tuple((n, least_ms(n, SHORT_TOKENS), least_ms(n, LONG_TOKENS)) for n in (1, 16, 64, 256, 1024, 4096))
    each = 2 * PARAMETERS / (teraflops * 1e9)
    return EngineCostTable(
        name, source, steps, (least_ms(1, 0), each), cache_bytes_per_token(2), 2 * PARAMETERS, cores=4
    )


MEASURED_SOURCE = "measured on two cores of a shared x86-64 machine, GPT-2 124M in 8 bits, nothing else running"
DATA_SHEET_SOURCE = (
    "no GPU was measured: a bound by its data sheet ({0:,} GB/s, {1} TFLOPS in fp16), which no GPU reaches"
)
SHORT_STEP_MS = {1: 3.5, 8: 8.7, 32: 20.9, 64: 33.5, 128: 63.6, 200: 97.4}
LONG_STEP_MS_INT8 = {1: 4.1, 8: 11.7, 32: 29.7, 64: 50.8, 128: 95.0, 200: 152.0}
LONG_STEP_MS_FLOAT32 = {1: 4.4, 8: 16.1, 32: 47.4, 64: 83.8, 128: 164.0, 200: 267.0}
PREFILL_MS = (4.0, 0.38)  # 512 tokens in four pieces: 211 ms
INT8_WEIGHT_BYTES = PARAMETERS  # a byte each; the scales of their blocks, some in a hundred more, are left out


def _measured_costs(name: str, what: str, long_step_ms: Mapping[int, float], value_bytes: int) -> EngineCostTable:
    # With float32 caches short texts were not measured apart: what is behind each token costs four times as much.
    short = {
        n: SHORT_STEP_MS[n]
        if value_bytes == 1
        else SHORT_STEP_MS[n] + (long_step_ms[n] - SHORT_STEP_MS[n]) * SHORT_TOKENS / LONG_TOKENS
        for n in SHORT_STEP_MS
    }
    steps = tuple((n, short[n], long_step_ms[n]) for n in sorted(short))
    return EngineCostTable(
        name, f"{MEASURED_SOURCE}, {what}", steps, PREFILL_MS, cache_bytes_per_token(value_bytes), INT8_WEIGHT_BYTES
    )


COST_TABLES = {
    made.name: made
    for made in (
        _measured_costs("two-cores", "caches in 8 bits", LONG_STEP_MS_INT8, 1),
        _measured_costs("two-cores-float32", "caches in float32", LONG_STEP_MS_FLOAT32, 4),
        data_sheet_bound("l4-bound", DATA_SHEET_SOURCE.format(300, 121), 300, 121),
        data_sheet_bound("h200-bound", DATA_SHEET_SOURCE.format(4800, 989), 4800, 989),
    )
}


def parse_engine_costs(data: object) -> EngineCostTable:
    """From JSON: the fields of Engine. Raises NotComparable."""
    known = {one.name for one in fields(EngineCostTable)}
    if not isinstance(data, Mapping) or set(data) - known:
        raise NotComparable(f"engine costs are an object with {', '.join(sorted(known))}, and nothing else")
    try:
        given: dict[str, Any] = {**data, "piece": tuple(map(float, data["piece"]))}
        steps = sorted((int(rows), float(short), float(long)) for rows, short, long in data["steps"])
        made = EngineCostTable(**{**given, "steps": tuple(steps)})
        sound = len(made.piece) == 2 and len({rows for rows, _, _ in steps}) == len(steps) > 0
        others = (made.a_token, made.weights, made.cores, made.draw_ms, made.front_ms, *made.piece)
        sound = sound and all(0 < cost < inf for step in steps for cost in step)
        sound = sound and all(0 <= cost < inf for cost in others)
    except (KeyError, TypeError, ValueError) as error:
        raise NotComparable(f"engine costs lack something, or it is no number: {error}") from None
    if not sound:
        raise NotComparable("engine costs: steps are [rows, ms, ms] above zero, each number of rows once")
    return made
