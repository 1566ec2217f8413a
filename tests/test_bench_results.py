"""`asr33 bench` without processes: its report of recorded rounds, its figures, and its GGUF files."""

from __future__ import annotations

import argparse
import io
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes_model import TINY, tiny_weights
from hypothesis import given
from hypothesis import strategies as st
from test_layering import modules_after

from model.interface import GPT2Config
from tools.bench import candidates, command, fidelity, print_results, target
from tools.bench.candidates import SIZES, Candidate, EngineName, Width
from tools.bench.peers import gguf
from tools.bench.results import (
    CandidateQuality,
    CandidateResult,
    Measurement,
    SpeedReport,
    compare_candidates,
    compute_ratio,
    relative_trend,
)

GPT2_SMALL = SIZES["124M"]
OURS = Candidate("ours", "int8", "8 bit", 32)
CT2 = Candidate("ctranslate2", "int8", "8 bit")
FLOAT = Candidate("llama.cpp", "f16", "float")
PROMPTS = (32, 512)

positive = st.floats(1e-6, 1e9)


def make_measurement(decode: float, first: float = 0.5) -> Measurement:
    return Measurement(0.75, 300_000_000, 324_000_000, {32: first / 10, 512: first}, decode, 20e9)


def make_report() -> SpeedReport:
    """Makes a report of three invented rounds."""
    visits = [make_measurement(80), make_measurement(100), make_measurement(90)]
    ours = CandidateResult(OURS, "onnxruntime 1.31.1", 139_000_000, 180_000_000, visits)
    ours.quality = CandidateQuality(0.0115, 0.89, 4096, 1.002)
    visits = [make_measurement(75, 0.3), make_measurement(80, 0.2), make_measurement(100, 0.2)]
    theirs = CandidateResult(CT2, "ctranslate2 4.8.5", 123_500_000, 130_000_000, visits)
    theirs.quality = CandidateQuality(0.0291, 0.85, 4096, 1.004)
    broken = CandidateResult(FLOAT, fault="llama.cpp f16: its process was killed by SIGKILL")
    metadata = {"model": "gpt2", "rounds": 3, "threads": 2, "seed": 33}
    metadata |= {"machine": {"processor": "a slow one", "cores": 2, "system": "Linux", "python": "3.11", "load": 1.5}}
    absent: dict[EngineName, str] = {"transformers": "torch is not installed: pip install torch transformers"}
    names = [OURS.name, CT2.name]
    return SpeedReport(metadata, PROMPTS, 4.0, True, [ours, theirs, broken], absent, [names, names[::-1], names])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def print_to_text(report: SpeedReport) -> str:
    file = io.StringIO()
    print_results.print_report(report, file)
    return file.getvalue()


def test_ratio_has_median_and_worst_of_rounds() -> None:
    result = compute_ratio([80, 100, 90], [75, 80, 100])
    assert result.of_medians == pytest.approx(90 / 80)
    assert result.median == pytest.approx(80 / 75)
    assert result.worst == pytest.approx(0.9)


@given(st.lists(st.tuples(positive, positive), min_size=1))
def test_worst_ratio_is_below_the_median(pairs: list[tuple[float, float]]) -> None:
    better, worse = zip(*pairs, strict=True)
    result = compute_ratio(better, worse)
    assert result.worst <= result.median
    assert compute_ratio(better, better).median == 1


def test_only_equal_precisions_that_did_not_fail_are_compared() -> None:
    float_result = CandidateResult(FLOAT, visits=[make_measurement(50)] * 3)
    (pair,) = compare_candidates([*make_report().results, float_result], PROMPTS)
    assert (pair.ours, pair.theirs) == ("ours int8 b32", "ctranslate2 int8")
    # A shorter time is better, so the ratio is theirs to ours.
    assert pair.ratios["first token after 512"].median == pytest.approx(0.4)
    assert pair.ratios["peak memory"].worst == 1


@pytest.mark.parametrize(
    ("form", "block", "megabytes"),
    [("float32", 0, 494), ("int4", 0, 66), ("int8", 32, 139), ("int8", 128, 127), ("int4", 32, 79)],
)
def test_weight_bytes_per_step_match_hand_counts(form: str, block: int, megabytes: int) -> None:
    widths: dict[str, Width] = {"int8": "8 bit", "int4": "4 bit", "float32": "float"}
    candidate = Candidate("ours", form, widths[form], block)
    assert candidates.weight_bytes_per_step(candidate, GPT2_SMALL, 0) / 1e6 == pytest.approx(megabytes, abs=0.6)


def test_file_size_gives_the_precision() -> None:
    sizes = {494e6: "float", 249e6: "float", 170e6: "8 bit", 95e6: "4 bit"}
    stored = {size: candidates.stored_candidate("gpt2", GPT2_SMALL, int(size), {}) for size in sizes}
    assert {size: candidate.width for size, candidate in stored.items()} == sizes
    assert candidates.weight_bytes_per_step(stored[170e6], GPT2_SMALL, 176_000_000) / 1e6 == pytest.approx(132, abs=5)
    float_bytes = 4 * candidates.weights_per_step(GPT2_SMALL)
    assert candidates.weight_bytes_per_step(stored[249e6], GPT2_SMALL, 249_000_000) == float_bytes


def test_manifest_gives_the_precision_before_the_file_size() -> None:
    candidate = candidates.stored_candidate("gpt2", GPT2_SMALL, 170_000_000, {"rounding": {"bits": 4, "block": 32}})
    assert (candidate.name, candidate.width) == ("ours gpt2 b32", "4 bit")
    assert candidates.weight_bytes_per_step(candidate, GPT2_SMALL, 170_000_000) / 1e6 == pytest.approx(79, abs=0.6)
    assert candidates.stored_candidate("gpt2", GPT2_SMALL, 170_000_000, {"rounding": ["?"]}).width == "8 bit"


def test_quality_is_read_from_the_manifest() -> None:
    manifest = {"tokens": 8176, "logits": 1.2, "kl": 0.0012, "agree": 0.97, "perplexity": 53.8, "ratio": 1.001}
    assert target.quality_from_manifest(manifest) == CandidateQuality(0.0012, 0.97, 8176, 1.001)
    invalid: list[object] = [None, [], {"kl": 1}, manifest | {"agree": "much"}]
    assert [target.quality_from_manifest(quality) for quality in invalid] == [None] * 4


def test_no_candidate_has_a_block_that_does_not_divide_the_width() -> None:
    assert [each.name for each in candidates.asr33_candidates(GPT2Config(300, n_embd=80, n_head=4))] == ["ours float32"]
    assert "llama.cpp q4_k_m" not in [each.name for each in candidates.peer_candidates(GPT2Config(300, n_embd=320))]
    assert "llama.cpp q4_k_m" in [each.name for each in candidates.peer_candidates(GPT2_SMALL)]


def test_table_is_plain_ascii_without_a_terminal() -> None:
    lines = print_to_text(make_report()).splitlines()
    assert all(line.isascii() for line in lines)
    ours = next(line for line in lines if line.startswith("ours int8 b32"))
    assert ours.split() == ["ours", "int8", "b32", "90.0", "[80.0-100]", "63%", "36", "50.0", "500"]
    at = next(number for number, line in enumerate(lines) if line.startswith("int8 b32 / ctranslate2 int8"))
    assert lines[at].split()[5] == "1.07"
    assert lines[at].rstrip().endswith("yes")
    assert lines[at + 1].split()[0] == "0.90"


def test_no_figure_is_cut_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report()
    for result in report.results[:2]:
        result.visits = [replace(visit, decode_per_s=1234.4) for visit in result.visits]
    monkeypatch.setenv("COLUMNS", "80")
    file = Terminal()
    print_results.print_report(report, file)
    assert "[1234-1234]" in file.getvalue()
    assert "0.01150" in file.getvalue()
    assert "…" not in file.getvalue()


def test_report_warns_of_a_busy_machine() -> None:
    report = make_report()
    assert "Other programs used this machine (load 1.5, 2 cores)" in print_to_text(report)
    report.metadata["machine"]["load"] = 0.2
    assert "Other programs" not in print_to_text(report)


def test_report_names_omitted_candidates_and_the_cure() -> None:
    text = print_to_text(make_report())
    assert "Left out: llama.cpp f16: its process was killed by SIGKILL" in text
    assert "Left out: torch is not installed: pip install torch transformers" in text


def test_json_has_the_figures_of_every_round() -> None:
    data = json.loads(json.dumps(make_report().to_json()))
    ours = data["candidates"][0]
    assert [visit["decode_per_s"] for visit in ours["visits"]] == [80, 100, 90]
    assert ours["visits"][0]["first_s"] == {"32": 0.05, "512": 0.5}
    assert ours["median"]["lines"] == pytest.approx(36)
    assert ours["median"]["share_of_bandwidth"] == pytest.approx(90 * 139e6 / 20e9)
    assert data["candidates"][2]["fault"].startswith("llama.cpp f16")
    assert "median" not in data["candidates"][2]
    assert data["comparisons"][0]["ratios"]["decode"]["worst"] == pytest.approx(0.9)
    assert [len(names) for names in data["order"]] == [2, 2, 2]


def test_trend_is_detected_and_one_slow_round_ignored() -> None:
    flat = [1.0, 1.1, 0.9] * 100
    assert abs(relative_trend(flat)) < 0.01
    flat[7] = 50.0
    assert abs(relative_trend(flat)) < 0.01
    assert relative_trend([time * (1 + 0.1 * n / 299) for n, time in enumerate(flat)]) == pytest.approx(0.1, abs=0.03)


def random_logits(rows: int, seed: int) -> fidelity.Logits:
    return np.random.default_rng(seed).standard_normal((rows, 7), np.float32) * 3


def test_equal_probabilities_have_no_divergence() -> None:
    x = random_logits(100, 1)
    # Adding a constant does not change probabilities.
    quality = fidelity.compute_quality([(x, x + 5, [0] * 100)], is_text=True)
    assert (quality.agreement, quality.positions) == (1, 100)
    assert quality.divergence == pytest.approx(0, abs=1e-6)
    assert quality.perplexity == pytest.approx(1, abs=1e-6)


def test_divergence_and_perplexity_follow_their_definitions() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    pair = (np.log(p)[None].astype(np.float32), np.log(q)[None].astype(np.float32), [0])
    quality = fidelity.compute_quality([pair], is_text=True)
    assert quality.divergence == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert quality.perplexity == pytest.approx(2, abs=1e-5)  # half the probability is twice the perplexity
    assert fidelity.compute_quality([pair], is_text=False).perplexity is None


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_divergence_is_not_negative(seed: int, other_seed: int) -> None:
    pair = (random_logits(9, seed), random_logits(9, other_seed), [0] * 9)
    assert fidelity.compute_quality([pair], is_text=False).divergence >= -1e-9


def test_logits_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of \[5, 7\] where \[4, 7\] should be"):
        fidelity.compute_quality([(random_logits(4, 1), random_logits(5, 1), [0] * 4)], is_text=False)


@given(st.integers(0, 300), st.integers(1, 50))
def test_windows_are_adjacent_and_end_with_the_next_id(count: int, length: int) -> None:
    windows = fidelity.split_windows(range(count), length)
    assert len(windows) == max(0, (count - 1) // length)
    assert all(window == list(range(window[0], window[0] + length + 1)) for window in windows)
    assert [window[0] for window in windows] == [n * length for n in range(len(windows))]


class GgufReader:
    """Reads as much of the GGUF format as we write."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.offset = raw, 0

    def unpack(self, form: str) -> tuple[int | float, ...]:
        values = struct.unpack_from(f"<{form}", self.raw, self.offset)
        self.offset += struct.calcsize(f"<{form}")
        return values

    def read_string(self) -> str:
        (length,) = self.unpack("Q")
        self.offset += int(length)
        return self.raw[self.offset - int(length) : self.offset].decode()


def test_gguf_file_has_metadata_and_transposed_weights(tmp_path: Path) -> None:
    weights = tiny_weights()
    gguf.write_gguf(weights, TINY, tmp_path / "model.gguf")
    reader = GgufReader((tmp_path / "model.gguf").read_bytes())
    assert (reader.raw[:4], reader.unpack("4x")) == (b"GGUF", ())
    version, tensors, count = reader.unpack("IQQ")
    assert (version, tensors) == (3, len(weights))
    metadata: dict[str, object] = {}
    for _ in range(int(count)):
        key, (kind,) = reader.read_string(), reader.unpack("I")
        metadata[key] = reader.read_string() if kind == 8 else reader.unpack("I" if kind == 4 else "f")[0]
    assert metadata["gpt2.attention.head_count"] == TINY.n_head
    assert metadata["tokenizer.ggml.model"] == "no_vocab"
    entries = {}
    for _ in range(int(tensors)):
        name, (count,) = reader.read_string(), reader.unpack("I")
        entries[name] = (reader.unpack(f"{count}Q"), reader.unpack("IQ"))
    start = -(-reader.offset // 32) * 32
    (rows, columns), (kind, offset) = entries["blk.1.ffn_up.weight"]
    assert (rows, columns, kind, int(offset) % 32) == (TINY.n_embd, 4 * TINY.n_embd, 0, 0)
    data = np.frombuffer(reader.raw, np.float32, int(rows * columns), start + int(offset))
    np.testing.assert_array_equal(data.reshape(int(columns), int(rows)).T, weights["h.1.mlp.c_fc.weight"])


def parse_arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", ["0", "32,x", "", "-1,4", "32,,64"])
def test_invalid_prompt_lengths_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(f"--prompts={words}")
    assert "is not a list of lengths such as 32,128,512" in capsys.readouterr().err


def test_lists_are_split_at_commas() -> None:
    args = parse_arguments("--prompts", "8,16", "--only", "int8,f16", "--peer-python", "/a", "--peer-python", "/b")
    assert args.prompts == (8, 16)
    assert args.only == ["int8", "f16"]
    assert args.peer_python == [Path("/a"), Path("/b")]


def test_help_imports_no_heavy_module() -> None:
    heavy = {"numpy", "onnxruntime", "onnx", "rich", "torch", "tokenizers"}
    assert not modules_after("import tools.bench.command") & heavy
