"""Tables of how long an engine's passes take: measured, bounds from data sheets, or given by the operator. Pure.

Each table names its source. Between two sizes the time is interpolated; beyond the last it is extrapolated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from tools.cli.errors import ToolError

SHORT_TOKENS, LONG_TOKENS = 32, 200  # lengths of the past at which decode steps are measured
LAYERS, WIDTH = 12, 768  # of GPT-2 124M
PARAMETERS = 124_439_808


@dataclass(frozen=True, slots=True)
class EngineCostTable:
    """The costs of one replica. The fields are the keys of a file for `--engine-costs`.

    `steps`: (rows, ms behind 32 tokens, ms behind 200 tokens). `piece`: ms of a prefill pass, and of each token in it.
    `draw_ms` and `front_ms` are Python's time per token, for sampling and for the event. Both need the GIL, so they add
    up with any engine.
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
        """Returns the seconds of a decode step; `past` is the mean number of tokens before each row."""
        short, long = (self._interpolate_ms(rows, column) for column in (1, 2))
        return max(short / 2, short + (long - short) * (past - SHORT_TOKENS) / (LONG_TOKENS - SHORT_TOKENS)) / 1000

    def prefill_s(self, tokens: int) -> float:
        fixed, per_token = self.piece
        return (fixed + per_token * tokens) / 1000

    def _interpolate_ms(self, rows: int, column: int) -> float:
        if len(self.steps) == 1:
            return self.steps[0][column] * rows / self.steps[0][0]
        above = min(max(1, bisect_left(self.steps, (rows,))), len(self.steps) - 1)
        (n, *low), (m, *high) = self.steps[above - 1], self.steps[above]
        return low[column - 1] + (high[column - 1] - low[column - 1]) * (rows - n) / (m - n)


def cache_bytes_per_token(value_bytes: int) -> int:
    """Returns the bytes of a key and a value in each layer; each number in them has `value_bytes`."""
    return 2 * LAYERS * WIDTH * value_bytes


def data_sheet_bound(name: str, gigabytes_s: int, teraflops: int) -> EngineCostTable:
    """Returns costs below those of the real GPU: weights and caches read once, arithmetic at its peak, our Python."""

    def bound_ms(rows: int, past: int) -> float:
        read = 2 * PARAMETERS + rows * past * cache_bytes_per_token(2)
        return 1000 * max(read / (gigabytes_s * 1e9), 2 * PARAMETERS * rows / (teraflops * 1e12))

    figures = f"{gigabytes_s:,} GB/s, {teraflops} TFLOPS in fp16"
    source = f"no GPU was measured: a bound by its data sheet ({figures}), which no GPU reaches"
    steps = tuple((n, bound_ms(n, SHORT_TOKENS), bound_ms(n, LONG_TOKENS)) for n in (1, 16, 64, 256, 1024, 4096))
    prefill = (bound_ms(1, 0), 2 * PARAMETERS / (teraflops * 1e9))
    return EngineCostTable(name, source, steps, prefill, cache_bytes_per_token(2), 2 * PARAMETERS, cores=4)


MEASURED_SOURCE = "measured on two cores of a shared x86-64 machine, GPT-2 124M in 8 bits, nothing else running"
SHORT_STEP_MS = {1: 3.5, 8: 8.7, 32: 20.9, 64: 33.5, 128: 63.6, 200: 97.4}
LONG_STEP_MS_INT8 = {1: 4.1, 8: 11.7, 32: 29.7, 64: 50.8, 128: 95.0, 200: 152.0}
LONG_STEP_MS_FLOAT32 = {1: 4.4, 8: 16.1, 32: 47.4, 64: 83.8, 128: 164.0, 200: 267.0}
PREFILL_MS = (4.0, 0.38)  # 512 tokens in four chunks: 211 ms
INT8_WEIGHT_BYTES = PARAMETERS  # the scales of the blocks, a few percent more, are left out


def _measured_costs(name: str, cache: str, long_ms: Mapping[int, float], value_bytes: int) -> EngineCostTable:
    short_ms = SHORT_STEP_MS
    if value_bytes != 1:  # not measured with float32 caches: the past costs four times as much
        short_ms = {n: short + (long_ms[n] - short) * SHORT_TOKENS / LONG_TOKENS for n, short in short_ms.items()}
    steps = tuple((n, short_ms[n], long_ms[n]) for n in sorted(short_ms))
    token_bytes = cache_bytes_per_token(value_bytes)
    return EngineCostTable(name, f"{MEASURED_SOURCE}, {cache}", steps, PREFILL_MS, token_bytes, INT8_WEIGHT_BYTES)


COST_TABLES = {
    table.name: table
    for table in (
        _measured_costs("two-cores", "caches in 8 bits", LONG_STEP_MS_INT8, 1),
        _measured_costs("two-cores-float32", "caches in float32", LONG_STEP_MS_FLOAT32, 4),
        data_sheet_bound("l4-bound", 300, 121),
        data_sheet_bound("h200-bound", 4800, 989),
    )
}


def parse_engine_costs(data: object) -> EngineCostTable:
    """Makes a table from JSON with the fields of EngineCostTable. Raises ToolError."""
    names = {item.name for item in fields(EngineCostTable)}
    if not isinstance(data, Mapping) or set(data) - names:
        raise ToolError(f"engine costs are an object with {', '.join(sorted(names))}, and nothing else", "damaged")
    try:
        values: dict[str, Any] = {**data, "piece": tuple(map(float, data["piece"]))}
        steps = sorted((int(rows), float(short), float(long)) for rows, short, long in data["steps"])
        table = EngineCostTable(**{**values, "steps": tuple(steps)})
        numbers = (table.a_token, table.weights, table.cores, table.draw_ms, table.front_ms, *table.piece)
        is_valid = len(table.piece) == 2 and len({rows for rows, _, _ in steps}) == len(steps) > 0
        is_valid = is_valid and all(0 < cost < inf for step in steps for cost in step)
        is_valid = is_valid and all(0 <= number < inf for number in numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError(f"engine costs lack something, or it is no number: {error}", "damaged") from None
    if not is_valid:
        raise ToolError("engine costs: steps are [rows, ms, ms] above zero, each number of rows once", "damaged")
    return table
