import math
import re
from dataclasses import dataclass, field, fields

import pytest
from fakes_completion_server import FakeBatchModel, get, post, running_server, send_request
from hypothesis import given
from hypothesis import strategies as st

from model.server.engine.counters import EngineCounters
from model.server.http.connections import ConnectionLimiter
from model.server.metrics import CONTENT_TYPE, HELP, render_metrics

# The text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(\{{{NAME}="[^"\\]*"(?:,{NAME}="[^"\\]*")*\}})? (\S+)')


def parse_page(page: str) -> dict[str, tuple[str, str, dict[str, float]]]:
    """Parses a page strictly: each metric once, as HELP, TYPE and samples. Returns (kind, help, samples by labels)."""
    assert page.endswith("\n")
    metrics: dict[str, tuple[str, str, dict[str, float]]] = {}
    lines = iter(page[:-1].split("\n"))
    line = next(lines, None)
    while line is not None:
        help_line = re.fullmatch(rf"# HELP ({NAME}) (.+)", line)
        assert help_line, line
        name = help_line[1]
        type_line = re.fullmatch(rf"# TYPE {name} (counter|gauge)", next(lines))
        assert type_line, line
        samples: dict[str, float] = {}
        while (line := next(lines, None)) is not None and not line.startswith("#"):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == name
            assert (sample[2] or "") not in samples
            samples[sample[2] or ""] = float(sample[3])
        assert name not in metrics
        assert (type_line[1] == "counter") == name.endswith("_total"), name
        metrics[name] = (type_line[1], help_line[2], samples)
    return metrics


@dataclass
class SomeCounters:
    steps: int = 7
    step_s: float = 1.5
    active: int = field(default=2, metadata={"gauge": True, "help": "Rows\\or\nanswers."})
    order: str = "paper"


def test_the_page_has_the_format_of_prometheus() -> None:
    requests = {("models", 200): 1, ("completions", 429): 3}
    gauges = {"lines": 4.0, "uptime_seconds": 0.25, "connections_cut_total": 9.0}
    page = render_metrics(counters=SomeCounters(), requests=requests, gauges=gauges)
    assert page == (
        "# HELP asr33_lines Answers that are open now.\n# TYPE asr33_lines gauge\nasr33_lines 4\n"
        "# HELP asr33_uptime_seconds Seconds since the start of the server.\n"
        "# TYPE asr33_uptime_seconds gauge\nasr33_uptime_seconds 0.25\n"
        f"# HELP asr33_connections_cut_total {HELP['connections_cut_total']}\n"
        "# TYPE asr33_connections_cut_total counter\nasr33_connections_cut_total 9\n"
        "# HELP asr33_requests_total Requests by endpoint and status.\n# TYPE asr33_requests_total counter\n"
        'asr33_requests_total{what="completions",status="429"} 3\n'
        'asr33_requests_total{what="models",status="200"} 1\n'
        "# HELP asr33_batch_steps_total batch steps total\n"
        "# TYPE asr33_batch_steps_total counter\nasr33_batch_steps_total 7\n"
        "# HELP asr33_batch_step_seconds_total batch step seconds total\n"
        "# TYPE asr33_batch_step_seconds_total counter\nasr33_batch_step_seconds_total 1.5\n"
        "# HELP asr33_batch_active Rows\\\\or\\nanswers.\n# TYPE asr33_batch_active gauge\nasr33_batch_active 2\n"
    )
    assert len(parse_page(page)) == 7


def test_the_page_has_no_engine_counters_while_the_model_loads() -> None:
    assert list(parse_page(render_metrics(counters=None, requests={}, gauges={}))) == ["asr33_requests_total"]


def test_every_engine_counter_is_on_the_page_and_explained() -> None:
    counters = EngineCounters(**{item.name: at + 1 for at, item in enumerate(fields(EngineCounters))})
    metrics = parse_page(render_metrics(counters=counters, requests={}, gauges={}))
    assert len(metrics) == 1 + len(fields(EngineCounters))
    for name in ("stalls_total", "waiting", "read_seconds_total", "caches", "active", "stall_seconds_total"):
        assert f"asr33_batch_{name}" in metrics
    assert all(help_text.endswith(".") for _, help_text, _ in metrics.values())
    assert {name for name, (kind, _, _) in metrics.items() if kind == "gauge"} == {
        f"asr33_batch_{name}" for name in ("active", "waiting", "caches")
    }


@given(st.floats(min_value=0, allow_infinity=False), st.integers(0, 10**18))
def test_every_number_comes_back(seconds: float, count: int) -> None:
    page = render_metrics(counters=EngineCounters(steps=count, step_s=seconds), requests={}, gauges={})
    metrics = parse_page(page)
    assert metrics["asr33_batch_step_seconds_total"][2][""] == seconds
    assert metrics["asr33_batch_steps_total"][2][""] == float(count)


@pytest.mark.parametrize("loaded", [True, False])
async def test_the_page_of_a_running_server_is_valid_and_its_counters_never_decrease(loaded: bool) -> None:
    limiter = ConnectionLimiter()
    async with running_server(FakeBatchModel("Yes."), limiter, loaded=loaded) as (_, port):
        before = parse_page((await send_request(port, get("/metrics"))).body.decode())
        await send_request(port, post({"prompt": "Hello"}))
        await send_request(port, get('/no"where\\'))
        assert (await send_request(port, b"nonsense\r\n\r\n")).status == 400
        page = await send_request(port, get("/metrics"))
        after = parse_page(page.body.decode())
    assert page.headers["content-type"] == CONTENT_TYPE
    assert after["asr33_connections_refused_total"][2] == {"": 1.0}
    for name, (kind, help_text, samples) in before.items():
        assert help_text.endswith(".") or name.startswith("asr33_batch_")  # the counters of the fake have no help
        assert all(math.isfinite(value) for value in samples.values())
        if kind == "counter":
            assert all(after[name][2][labels] >= value for labels, value in samples.items())
