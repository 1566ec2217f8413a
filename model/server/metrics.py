"""What a server has done, as Prometheus reads it: version 0.0.4 of its text format, by hand. Pure.

Numbers alone: no text, no key, no address. The words of the labels are few, and none of them is a client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = frozenset({"active", "waiting", "caches"})  # of a batch's counters, those that go down again


def render_metrics(
    *,
    counters: object | None,
    requests: Mapping[tuple[str, int], int],
    gauges: Mapping[str, float],
) -> str:
    """The page. `counters` is any dataclass of numbers; `requests` counts by what was asked for, and the status."""
    lines = []
    for name, value in gauges.items():
        lines += _format_metric(name, "gauge", [("", value)])
    told = [(f'{{what="{what}",status="{status}"}}', count) for (what, status), count in sorted(requests.items())]
    lines += _format_metric("requests_total", "counter", told)
    for name, value in _numeric_fields(counters):
        spelled = f"batch_{name.removesuffix('_s')}_seconds" if name.endswith("_s") else f"batch_{name}"
        if name in GAUGES:
            lines += _format_metric(spelled, "gauge", [("", value)])
        else:
            lines += _format_metric(f"{spelled}_total", "counter", [("", value)])
    return "\n".join(lines) + "\n"


def _numeric_fields(counters: object | None) -> Iterable[tuple[str, float]]:
    for field in fields(cast(Any, counters)) if counters is not None else ():
        value = getattr(counters, field.name)
        if isinstance(value, int | float):
            yield field.name, value


def _format_metric(name: str, kind: str, values: Iterable[tuple[str, float]]) -> list[str]:
    return [
        f"# TYPE asr33_{name} {kind}",
        *(f"asr33_{name}{labels} {_format_number(value)}" for labels, value in values),
    ]


def _format_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
