from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_gpt2
from fakes_model import TEXT, TINY, tiny_folder, tiny_tokenizer, tiny_weights
from numpy.typing import NDArray

from model.build import export, fidelity, formats, graph, import_weights, numpy_gpt2, onnx_io
from model.build.export import ExportOptions
from model.build.fidelity import ModelFidelity
from model.build.formats import QualityLimits
from model.build.import_weights import SourceModel
from model.build.quantise import quantise_model
from model.build.quantise.quantise_model import QuantConfig
from model.errors import ModelDamaged, ModelError
from model.onnx import tokenizer
from model.onnx.session import OnnxSession
from model.store import store

DOCUMENTS = tuple(TEXT * 3 for _ in range(2))
WINDOWS = np.random.default_rng(2).integers(0, TINY.vocab_size, (6, 40))


def tiny() -> SourceModel:
    return SourceModel("tiny", tiny_weights(), TINY, tiny_tokenizer().to_json(), {"licence": "none to speak of"})


@cache
def embedded() -> SourceModel:
    return import_weights.read_source(store.EMBEDDED)


def test_numpy_gpt2_matches_the_reference() -> None:
    hidden = numpy_gpt2.hidden_states(tiny_weights(), TINY, WINDOWS, numpy_gpt2.plain_linear(tiny_weights()))
    logits = numpy_gpt2.logits(tiny_weights(), hidden).reshape(*WINDOWS.shape, -1)
    for window, actual in zip(WINDOWS, logits, strict=True):
        expected = reference_gpt2.logits(tiny_weights(), list(window), TINY.n_head)
        np.testing.assert_allclose(actual, expected, atol=2e-3 * np.abs(expected).max())


def measure_fidelity(config: QuantConfig, weights: dict[str, NDArray[np.float32]] | None = None) -> ModelFidelity:
    """Quantises a tiny model, and compares it with float32 on other windows."""
    weights = weights or tiny_weights()
    model = quantise_model.quantise_model(weights, TINY, config, WINDOWS)
    session = OnnxSession(graph.build_gpt2(model.weights, TINY, "float32", model.quantised), threads=1)
    return fidelity.compare_to_float32(session, weights, TINY, WINDOWS[::-1, ::-1])


@pytest.mark.parametrize(
    ("config", "max_kl"),
    [
        (QuantConfig(8, 0, head_block=32), 0.02),
        (QuantConfig(8, 0, head_block=32, smooth=0, feed=False), 0.04),
        (QuantConfig(8, 16, head_block=16), 0.02),
        (QuantConfig(4, 16, asymmetric=True, head_block=16), 1.5),
        (QuantConfig(4, 32, head_bits=4, head_block=32, embedding_bits=4, embedding_block=32), 4.0),
    ],
)
def test_every_quantisation_is_close_to_float32(config: QuantConfig, max_kl: float) -> None:
    quality = measure_fidelity(config)
    assert 0 < quality.kl < max_kl
    assert quality.tokens == WINDOWS.shape[0] * (WINDOWS.shape[1] - 1)


def test_smoothing_protects_the_other_channels_from_a_loud_one() -> None:
    weights = tiny_weights()
    for part in ("weight", "bias"):
        weights[f"h.0.ln_2.{part}"][3] *= 100
    weights["h.0.mlp.c_fc.weight"][3] /= 100
    config = QuantConfig(8, 0, head_block=32)
    assert measure_fidelity(config, weights).kl < 0.3 * measure_fidelity(replace(config, smooth=0), weights).kl


def test_a_prompt_gives_the_same_logits_as_single_steps() -> None:
    model = quantise_model.quantise_model(tiny_weights(), TINY, QuantConfig(8, 0, head_block=32), WINDOWS)
    session = OnnxSession(graph.build_gpt2(model.weights, TINY, "float32", model.quantised), threads=1)
    ids = [int(token) for token in WINDOWS[0]]
    whole = session.forward_from(ids, 0).copy()
    session.rewind(0)
    steps = np.concatenate([session.forward([token]).copy()[None] for token in ids])
    np.testing.assert_allclose(whole, steps, atol=0.05 * np.abs(whole).max())


def test_a_width_that_no_block_divides_is_refused() -> None:
    shape = replace(TINY, n_embd=24)
    with pytest.raises(ModelError, match="width of 24") as caught:
        quantise_model.quantise_model(tiny_weights(shape), shape, QuantConfig(8, 0), WINDOWS)
    assert caught.value.kind == "damaged"


def test_the_comparison_detects_another_model() -> None:
    session = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)
    same = fidelity.compare_to_float32(session, tiny_weights(), TINY, WINDOWS)
    assert same.logits < 1e-3
    assert same.agree == 1
    assert same.ratio == pytest.approx(1, abs=1e-5)
    different = fidelity.compare_to_float32(session, tiny_weights(seed=34), TINY, WINDOWS)
    assert different.kl > 0.5
    assert different.logits > 0.5


def test_windows_begin_with_an_end_of_text_and_a_short_text_is_refused() -> None:
    windows = fidelity.cut_windows(tiny_tokenizer(), [TEXT, TEXT], 20, 100)
    assert windows.shape == (5, 20)
    assert (windows[:, 0] == tiny_tokenizer().end_of_text).all()
    assert len({tuple(row) for row in windows.tolist()}) > 1
    with pytest.raises(ModelError, match="at least 19") as caught:
        fidelity.cut_windows(tiny_tokenizer(), ["Short."], 20, 100)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("store_as", ["float16", "float32"])
def test_an_exported_folder_records_its_quality(tmp_path: Path, store_as: formats.StoreFormat) -> None:
    progress: list[tuple[str, int, int]] = []
    options = ExportOptions("mine", store_as, documents=DOCUMENTS)
    manifest = export.export_model(tiny(), tmp_path / "mine", options, lambda *args: progress.append(args))
    assert store.verify_model(tmp_path / "mine") == manifest
    quality = manifest.training["quality"]
    assert quality["ratio"] == pytest.approx(1, abs=1e-3)
    assert manifest.training["as"] == store_as
    assert manifest.training["licence"] == "none to speak of"
    assert json.loads((tmp_path / "mine" / store.MANIFEST_FILE).read_text())["training"]["quality"] == quality
    assert progress[-1][1] == progress[-1][2]
    weights, _ = onnx_io.read_weights(tmp_path / "mine" / store.GRAPH_FILE)
    np.testing.assert_allclose(weights["wpe.weight"], tiny_weights()["wpe.weight"], atol=1e-3)


def test_a_refused_export_leaves_nothing_and_names_the_perplexity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.LIMITS, "int4", QualityLimits(0.5, 0.2))
    with pytest.raises(
        ModelError, match=r"perplexity \d+\.\d{4} times that of float32.* may have 0\.5 and .*; try --as int8"
    ) as caught:
        export.export_model(tiny(), tmp_path / "mine", ExportOptions("mine", "int4", documents=DOCUMENTS))
    assert caught.value.kind == "damaged"
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_keeps_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.LIMITS, "int4", QualityLimits(0.5, 0.2))
    folder = tiny_folder(tmp_path)
    before = store.verify_model(folder)
    with pytest.raises(ModelError):
        export.export_model(tiny(), folder, ExportOptions("tiny", "int4", documents=DOCUMENTS))
    assert store.verify_model(folder) == before


def good_fidelity() -> ModelFidelity:
    return ModelFidelity(tokens=9, logits=1e-5, kl=0.0, agree=1.0, perplexity=9.0, ratio=1.0)


@pytest.mark.parametrize("store_as", formats.STORE_FORMATS)
def test_each_format_has_a_perplexity_limit_and_a_nan_fails(store_as: formats.StoreFormat) -> None:
    options, limit = ExportOptions("mine", store_as), formats.LIMITS[store_as].ratio
    export.check_quality(good_fidelity(), options)
    export.check_quality(replace(good_fidelity(), ratio=limit), options)
    for ratio in (limit + 1e-4, float("nan")):
        with pytest.raises(ModelError, match="perplexity"):
            export.check_quality(replace(good_fidelity(), ratio=ratio), options)


@pytest.mark.parametrize("store_as", formats.STORE_FORMATS)
def test_each_format_has_a_kl_limit_and_a_nan_fails(store_as: formats.StoreFormat) -> None:
    options, limit = ExportOptions("mine", store_as), formats.LIMITS[store_as].kl
    export.check_quality(replace(good_fidelity(), ratio=0.9, kl=limit), options)
    for kl in (limit * 1.01, float("nan")):
        with pytest.raises(ModelError, match="KL"):
            export.check_quality(replace(good_fidelity(), ratio=0.9, kl=kl), options)


def test_float32_has_a_limit_for_its_logits() -> None:
    with pytest.raises(ModelError, match=r"0\.0?1.* off"):
        export.check_quality(replace(good_fidelity(), logits=0.01), ExportOptions("mine", "float32"))


def test_a_quantised_file_is_not_a_base(tmp_path: Path) -> None:
    model = quantise_model.quantise_model(tiny_weights(), TINY, QuantConfig(8, 16, head_block=16, feed=False), WINDOWS)
    (tmp_path / "m.onnx").write_bytes(graph.build_gpt2(model.weights, TINY, quantised=model.quantised))
    with pytest.raises(ModelDamaged, match="its weights are quantised"):
        onnx_io.read_weights(tmp_path / "m.onnx")


@pytest.mark.soak
@pytest.mark.parametrize(("store_as", "kl"), [("int8", 0.001), ("int4", 0.02)])
def test_the_embedded_model_passes_with_all_windows(tmp_path: Path, store_as: formats.StoreFormat, kl: float) -> None:
    quality = export.export_model(embedded(), tmp_path / "mine", ExportOptions("mine", store_as)).training["quality"]
    assert quality["tokens"] > 8000
    assert quality["ratio"] <= {"int8": 1.002, "int4": 1.03}[store_as]
    assert quality["kl"] <= kl


@pytest.mark.parametrize(("config", "ratio"), [(QuantConfig(8, 0), 1.01), (QuantConfig(4, 32, asymmetric=True), 1.06)])
def test_the_embedded_model_passes_when_rounded_to_the_nearest(config: QuantConfig, ratio: float) -> None:
    source, encoder = embedded(), tokenizer.from_json(embedded().tokenizer_json)
    windows = fidelity.cut_windows(encoder, export.read_documents([export.TEXT_FOLDER / "judge.txt"]), 257, 2100)
    quantised = quantise_model.quantise_to_nearest(source.weights, source.shape, config)
    session = OnnxSession(graph.build_gpt2(source.weights, source.shape, quantised=quantised))
    assert fidelity.compare_to_float32(session, source.weights, source.shape, windows).ratio <= ratio
