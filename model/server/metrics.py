"""Renders `/metrics` in version 0.0.4 of Prometheus' text format: only numbers, no text, key or address. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = frozenset({"active", "waiting", "caches"})  # the engine's counters that can decrease


def render_metrics(
    *, counters: object | None, requests: Mapping[tuple[str, int], int], gauges: Mapping[str, float]
) -> str:
    """`counters` is a dataclass, None while the model loads. `requests` counts by endpoint and status."""
    lines = []
    for name, value in gauges.items():
        lines += _format_metric(name, "gauge", [("", value)])
    counts = sorted(requests.items())
    labelled = [(f'{{what="{endpoint}",status="{status}"}}', count) for (endpoint, status), count in counts]
    lines += _format_metric("requests_total", "counter", labelled)
    for name, value in asdict(cast(Any, counters)).items() if counters is not None else ():
        if not isinstance(value, int | float):
            continue
        metric = f"batch_{name.removesuffix('_s')}_seconds" if name.endswith("_s") else f"batch_{name}"
        if name in GAUGES:
            lines += _format_metric(metric, "gauge", [("", value)])
        else:
            lines += _format_metric(f"{metric}_total", "counter", [("", value)])
    return "\n".join(lines) + "\n"


def _format_metric(name: str, kind: str, values: Iterable[tuple[str, float]]) -> list[str]:
    samples = [f"asr33_{name}{labels} {_format_number(value)}" for labels, value in values]
    return [f"# TYPE asr33_{name} {kind}", *samples]


def _format_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
