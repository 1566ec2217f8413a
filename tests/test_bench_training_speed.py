"""`asr33 bench --train`: real processes with a tiny net, and the arithmetic of its report."""

# ruff: noqa: E402  torch may be missing

from __future__ import annotations

import io
import json
from importlib.util import find_spec

import pytest

pytest.importorskip("torch")
pytestmark = [pytest.mark.train]

from model.interface import GPT2Config
from tools.bench import training_speed
from tools.bench.training_speed import TrainingResult, TrainingSpeedReport, print_training_speed
from tools.main import main

SHAPE = GPT2Config(300, 64, 32, 2, 4)


def test_ratios_are_computed_for_each_round() -> None:
    own, peer = (
        TrainingResult("ours auto", [200.0, 300.0], 10**6),
        TrainingResult("transformers float32", [100.0, 200.0]),
    )
    report = TrainingSpeedReport(SHAPE, 4, 2, [own, peer], ["transformers bfloat16"])
    assert report.ratios(peer) == [2.0, 1.5]
    assert report.to_json()["ratios"] == {"ours auto / transformers float32": 1.75}
    file = io.StringIO()
    print_training_speed(report, file)
    assert "1.75 [1.50-2.00]" in file.getvalue()
    assert "transformers bfloat16: not installed" in file.getvalue()


@pytest.mark.parametrize("kinds", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_each_candidate_is_measured_in_each_round(
    kinds: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one precision of each library, or with both: each process imports torch and its library anew."""
    own, peers = ["ours auto", "ours float32"], ["transformers bfloat16", "transformers float32"]
    assert [" ".join(each) for each in (*training_speed.OWN, *training_speed.PEERS)] == own + peers
    monkeypatch.setattr(training_speed, "OWN", training_speed.OWN[:kinds])
    monkeypatch.setattr(training_speed, "PEERS", training_speed.PEERS[:kinds])
    monkeypatch.setattr(training_speed, "CONTEXT", 16)
    words = ["bench", "--train", "--size", "tiny", "--batch", "1", "--rounds", "2", "--threads", "1", "--json", "-"]
    assert main(words + ["--peers"] * (find_spec("transformers") is not None)) == 0
    report = json.loads(capsys.readouterr().out)
    names = [result["name"] for result in report["results"]]
    assert names == own[:kinds] + (peers[:kinds] if find_spec("transformers") else [])
    for result in report["results"]:
        assert len(result["tokens_per_s"]) == 2
        assert min(result["tokens_per_s"]) > 0
        assert result["peak_bytes"] > 1 << 20
