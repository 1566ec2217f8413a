"""Renders `/metrics` in version 0.0.4 of Prometheus' text format: only numbers, no text, key or address. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HELP = {
    "up": "1 while the server takes requests, 0 while it loads, drains or has failed.",
    "lines": "Answers that are open now.",
    "uptime_seconds": "Seconds since the start of the server.",
    "connections": "Connections that are open now.",
    "connections_turned_away_total": "Connections refused because all were taken.",
    "connections_cut_total": "Connections closed because they were idle at the limit, or did not read their answer.",
    "connections_refused_total": "Connections that got an error before they had sent a whole request.",
    "requests_total": "Requests by endpoint and status.",
}


def render_metrics(
    *, counters: object | None, requests: Mapping[tuple[str, int], int], gauges: Mapping[str, float]
) -> str:
    """`counters` is a dataclass, None while the model loads. `requests` counts by endpoint and status.

    A name in `gauges` that ends with _total is a counter. The fields of `counters` are counters, unless their metadata
    has "gauge"; "help" in the metadata explains a field.
    """
    lines = []
    for name, value in gauges.items():
        lines += _format_metric(name, HELP.get(name, ""), [("", value)])
    counts = sorted(requests.items())
    labelled = [(f'{{what="{endpoint}",status="{status}"}}', count) for (endpoint, status), count in counts]
    lines += _format_metric("requests_total", HELP["requests_total"], labelled)
    for field in fields(cast(Any, counters)) if counters is not None else ():
        value = getattr(counters, field.name)
        if isinstance(value, int | float):
            seconds = field.name.endswith("_s")
            name = f"batch_{field.name.removesuffix('_s')}_seconds" if seconds else f"batch_{field.name}"
            name += "" if field.metadata.get("gauge") else "_total"
            lines += _format_metric(name, field.metadata.get("help", ""), [("", value)])
    return "\n".join(lines) + "\n"


def _format_metric(name: str, help_text: str, values: Iterable[tuple[str, float]]) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    explanation = (help_text or name.replace("_", " ")).replace("\\", r"\\").replace("\n", r"\n")
    samples = [f"asr33_{name}{labels} {_format_number(value)}" for labels, value in values]
    return [f"# HELP asr33_{name} {explanation}", f"# TYPE asr33_{name} {kind}", *samples]


def _format_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
