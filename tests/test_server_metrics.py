from dataclasses import dataclass

from model.server.engine.counters import EngineCounters
from model.server.metrics import render_metrics


@dataclass
class SomeCounters:
    steps: int = 7
    step_s: float = 1.5
    active: int = 2
    order: str = "paper"


def test_the_page_has_the_format_of_prometheus() -> None:
    requests = {("models", 200): 1, ("completions", 429): 3}
    gauges = {"lines": 4.0, "uptime_seconds": 0.25}
    assert render_metrics(counters=SomeCounters(), requests=requests, gauges=gauges) == (
        "# TYPE asr33_lines gauge\nasr33_lines 4\n"
        "# TYPE asr33_uptime_seconds gauge\nasr33_uptime_seconds 0.25\n"
        "# TYPE asr33_requests_total counter\n"
        'asr33_requests_total{what="completions",status="429"} 3\n'
        'asr33_requests_total{what="models",status="200"} 1\n'
        "# TYPE asr33_batch_steps_total counter\nasr33_batch_steps_total 7\n"
        "# TYPE asr33_batch_step_seconds_total counter\nasr33_batch_step_seconds_total 1.5\n"
        "# TYPE asr33_batch_active gauge\nasr33_batch_active 2\n"
    )


def test_the_page_has_no_engine_counters_while_the_model_loads() -> None:
    assert render_metrics(counters=None, requests={}, gauges={}) == "# TYPE asr33_requests_total counter\n"


def test_every_engine_counter_is_on_the_page() -> None:
    counters = EngineCounters(stalls=3, active=1, waiting=2, caches=3)
    text = render_metrics(counters=counters, requests={}, gauges={})
    assert "asr33_batch_stalls_total 3\n" in text
    assert "asr33_batch_waiting 2\n" in text
    assert "asr33_batch_read_seconds_total 0\n" in text
