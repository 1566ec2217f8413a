"""What an engine takes for its passes: tables that were measured, bounds that were reckoned, or somebody's own. Pure.

A table says where it is from. Between two sizes a straight line is drawn, and on from the last. Knows no lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from tools.benching.errors import NotComparable

SHORT, LONG = 32, 200  # tokens of past at which steps are measured
LAYERS, WIDTH = 12, 768  # of GPT-2 124M
PARAMETERS = 124_439_808


@dataclass(frozen=True, slots=True)
class Engine:
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
        short, long = (self._at(rows, column) for column in (1, 2))
        return max(short / 2, short + (long - short) * (past - SHORT) / (LONG - SHORT)) / 1000

    def piece_s(self, tokens: int) -> float:
        fixed, each = self.piece
        return (fixed + each * tokens) / 1000

    def _at(self, rows: int, column: int) -> float:
        if len(self.steps) == 1:
            return self.steps[0][column] * rows / self.steps[0][0]
        above = min(max(1, bisect_left(self.steps, (rows,))), len(self.steps) - 1)
        (n, *low), (m, *high) = self.steps[above - 1], self.steps[above]
        return low[column - 1] + (high[column - 1] - low[column - 1]) * (rows - n) / (m - n)


def cache(number: int) -> int:
    """Bytes that a token takes, of numbers of so many bytes: a key and a value in each layer."""
    return 2 * LAYERS * WIDTH * number


def bound(name: str, source: str, gigabytes_s: float, teraflops: float) -> Engine:
    """No GPU does better: weights once and caches once over its bus, all sums at its best; Python's share is ours."""

    def least_ms(rows: int, past: int) -> float:
        moved = 2 * PARAMETERS + rows * past * cache(2)
        return 1000 * max(moved / (gigabytes_s * 1e9), 2 * PARAMETERS * rows / (teraflops * 1e12))

    steps = tuple((n, least_ms(n, SHORT), least_ms(n, LONG)) for n in (1, 16, 64, 256, 1024, 4096))
    each = 2 * PARAMETERS / (teraflops * 1e9)
    return Engine(name, source, steps, (least_ms(1, 0), each), cache(2), 2 * PARAMETERS, cores=4)


HERE = "measured on two cores of a shared x86-64 machine, GPT-2 124M in 8 bits, nothing else running"
SHEET = "no GPU was measured: a bound by its data sheet ({0:,} GB/s, {1} TFLOPS in fp16), which no GPU reaches"
SHORTS = {1: 3.5, 8: 8.7, 32: 20.9, 64: 33.5, 128: 63.6, 200: 97.4}
INT8 = {1: 4.1, 8: 11.7, 32: 29.7, 64: 50.8, 128: 95.0, 200: 152.0}
FLOAT32 = {1: 4.4, 8: 16.1, 32: 47.4, 64: 83.8, 128: 164.0, 200: 267.0}
PIECE = (4.0, 0.38)  # 512 tokens in four pieces: 211 ms
WEIGHTS_8 = PARAMETERS  # a byte each; the scales of their blocks, some in a hundred more, are left out


def _measured(name: str, what: str, long: Mapping[int, float], number: int) -> Engine:
    # With float32 caches short texts were not measured apart: what is behind each token costs four times as much.
    short = {n: SHORTS[n] if number == 1 else SHORTS[n] + (long[n] - SHORTS[n]) * SHORT / LONG for n in SHORTS}
    steps = tuple((n, short[n], long[n]) for n in sorted(short))
    return Engine(name, f"{HERE}, {what}", steps, PIECE, cache(number), WEIGHTS_8)


KNOWN = {
    made.name: made
    for made in (
        _measured("two-cores", "caches in 8 bits", INT8, 1),
        _measured("two-cores-float32", "caches in float32", FLOAT32, 4),
        bound("l4-bound", SHEET.format(300, 121), 300, 121),
        bound("h200-bound", SHEET.format(4800, 989), 4800, 989),
    )
}


def of(data: object) -> Engine:
    """From JSON: the fields of Engine. Raises NotComparable."""
    known = {one.name for one in fields(Engine)}
    if not isinstance(data, Mapping) or set(data) - known:
        raise NotComparable(f"engine costs are an object with {', '.join(sorted(known))}, and nothing else")
    try:
        given: dict[str, Any] = {**data, "piece": tuple(map(float, data["piece"]))}
        steps = sorted((int(rows), float(short), float(long)) for rows, short, long in data["steps"])
        made = Engine(**{**given, "steps": tuple(steps)})
        sound = len(made.piece) == 2 and len({rows for rows, _, _ in steps}) == len(steps) > 0
        others = (made.a_token, made.weights, made.cores, made.draw_ms, made.front_ms, *made.piece)
        sound = sound and all(0 < cost < inf for step in steps for cost in step)
        sound = sound and all(0 <= cost < inf for cost in others)
    except (KeyError, TypeError, ValueError) as error:
        raise NotComparable(f"engine costs lack something, or it is no number: {error}") from None
    if not sound:
        raise NotComparable("engine costs: steps are [rows, ms, ms] above zero, each number of rows once")
    return made
