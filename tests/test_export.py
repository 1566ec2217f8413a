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

from model.build import export, fidelity, graph, import_weights, numpy_gpt2, onnx_io
from model.build.export import ExportOptions
from model.build.fidelity import ModelFidelity
from model.build.import_weights import SourceModel
from model.build.quantise import quantise_model
from model.build.quantise.quantise_model import QuantConfig
from model.errors import ExportRefused, ModelDamaged, TextDamaged
from model.onnx.session import OnnxSession
from model.store import store

LIVELY = tuple(TEXT * 3 for _ in range(2))
WINDOWS = np.random.default_rng(2).integers(0, TINY.vocab_size, (6, 40))


def tiny() -> SourceModel:
    return SourceModel("tiny", tiny_weights(), TINY, tiny_tokenizer().to_json(), {"licence": "none to speak of"})


@cache
def embedded() -> SourceModel:
    return import_weights.read_source(store.EMBEDDED)


def test_the_judge_is_gpt2() -> None:
    seen = numpy_gpt2.hidden_states(tiny_weights(), TINY, WINDOWS, numpy_gpt2.plain_linear(tiny_weights()))
    found_in_all = numpy_gpt2.logits(tiny_weights(), seen).reshape(*WINDOWS.shape, -1)
    for window, found in zip(WINDOWS, found_in_all, strict=True):
        wanted = reference_gpt2.logits(tiny_weights(), list(window), TINY.n_head)
        np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())


def measure_fidelity(how: QuantConfig, weights: dict[str, NDArray[np.float32]] | None = None) -> ModelFidelity:
    """A tiny model rounded so, and judged on other windows."""
    weights = weights or tiny_weights()
    near = quantise_model.quantise_model(weights, TINY, how, WINDOWS)
    session = OnnxSession(graph.build_gpt2(near.weights, TINY, "float32", near.quantised), threads=1)
    return fidelity.compare_to_float32(session, weights, TINY, WINDOWS[::-1, ::-1])


@pytest.mark.parametrize(
    ("how", "most"),
    [
        (QuantConfig(8, 0, head_block=32), 0.02),
        (QuantConfig(8, 0, head_block=32, smooth=0, feed=False), 0.04),
        (QuantConfig(8, 16, head_block=16), 0.02),
        (QuantConfig(4, 16, asymmetric=True, head_block=16), 1.5),
        (QuantConfig(4, 32, head_bits=4, head_block=32, embedding_bits=4, embedding_block=32), 4.0),
    ],
)
def test_every_kind_of_rounding_runs_and_is_near(how: QuantConfig, most: float) -> None:
    quality = measure_fidelity(how)
    assert 0 < quality.kl < most
    assert quality.tokens == WINDOWS.shape[0] * (WINDOWS.shape[1] - 1)


def test_one_loud_channel_does_not_drown_the_others() -> None:
    weights = tiny_weights()
    for part in ("weight", "bias"):
        weights[f"h.0.ln_2.{part}"][3] *= 100
    weights["h.0.mlp.c_fc.weight"][3] /= 100
    how = QuantConfig(8, 0, head_block=32)
    assert measure_fidelity(how, weights).kl < 0.3 * measure_fidelity(replace(how, smooth=0), weights).kl


def test_rows_of_a_prompt_do_not_change_each_other() -> None:
    near = quantise_model.quantise_model(tiny_weights(), TINY, QuantConfig(8, 0, head_block=32), WINDOWS)
    session = OnnxSession(graph.build_gpt2(near.weights, TINY, "float32", near.quantised), threads=1)
    ids = [int(token) for token in WINDOWS[0]]
    whole = session.forward_from(ids, 0).copy()
    session.rewind(0)
    step = np.concatenate([session.forward([token]).copy()[None] for token in ids])
    np.testing.assert_allclose(whole, step, atol=0.05 * np.abs(whole).max())


def test_a_width_that_no_block_divides_is_refused() -> None:
    shape = replace(TINY, n_embd=24)
    with pytest.raises(ExportRefused, match="width of 24"):
        quantise_model.quantise_model(tiny_weights(shape), shape, QuantConfig(8, 0), WINDOWS)


def test_the_judge_sees_a_model_that_is_not_the_same() -> None:
    session = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)
    same = fidelity.compare_to_float32(session, tiny_weights(), TINY, WINDOWS)
    assert same.logits < 1e-3
    assert same.agree == 1
    assert same.ratio == pytest.approx(1, abs=1e-5)
    other = fidelity.compare_to_float32(session, tiny_weights(seed=34), TINY, WINDOWS)
    assert other.kl > 0.5
    assert other.logits > 0.5


def test_windows_begin_with_an_end_of_text_and_a_text_too_short_is_refused() -> None:
    rows = fidelity.cut_windows(tiny_tokenizer(), [TEXT, TEXT], 20, 100)
    assert rows.shape == (5, 20)
    assert (rows[:, 0] == tiny_tokenizer().end_of_text).all()
    assert len({tuple(row) for row in rows.tolist()}) > 1
    with pytest.raises(TextDamaged, match="at least 19"):
        fidelity.cut_windows(tiny_tokenizer(), ["Short."], 20, 100)


@pytest.mark.parametrize("store_as", ["float16", "float32"])
def test_a_folder_is_written_with_what_was_found(tmp_path: Path, store_as: export.StoreFormat) -> None:
    heard: list[tuple[str, int, int]] = []
    manifest = export.export_model(
        tiny(), tmp_path / "mine", ExportOptions("mine", store_as, documents=LIVELY), lambda *told: heard.append(told)
    )
    assert store.verify_model(tmp_path / "mine") == manifest
    quality = manifest.training["quality"]
    assert quality["ratio"] == pytest.approx(1, abs=1e-3)
    assert manifest.training["as"] == store_as
    assert manifest.training["licence"] == "none to speak of"
    assert json.loads((tmp_path / "mine" / store.MANIFEST_FILE).read_text())["training"]["quality"] == quality
    assert heard[-1][1] == heard[-1][2]
    weights, _ = onnx_io.read_weights(tmp_path / "mine" / store.GRAPH_FILE)
    np.testing.assert_allclose(weights["wpe.weight"], tiny_weights()["wpe.weight"], atol=1e-3)


def test_a_refused_export_leaves_nothing_and_names_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int4", 0.5)
    with pytest.raises(
        ExportRefused, match=r"perplexity \d+\.\d{4} times that of float32.* may have 0\.5 and .*; try --as int8"
    ) as caught:
        export.export_model(tiny(), tmp_path / "mine", ExportOptions("mine", "int4", documents=LIVELY))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_leaves_the_model_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.MAX_PERPLEXITY_RATIO, "int4", 0.5)
    folder = tiny_folder(tmp_path)
    before = store.verify_model(folder)
    with pytest.raises(ExportRefused):
        export.export_model(tiny(), folder, ExportOptions("tiny", "int4", documents=LIVELY))
    assert store.verify_model(folder) == before


def good_fidelity() -> ModelFidelity:
    return ModelFidelity(tokens=9, logits=1e-5, kl=0.0, agree=1.0, perplexity=9.0, ratio=1.0)


@pytest.mark.parametrize("store_as", export.STORE_FORMATS)
def test_each_width_has_its_bound_and_a_nan_passes_none(store_as: export.StoreFormat) -> None:
    asked = ExportOptions("mine", store_as)
    export.check_quality(good_fidelity(), asked)
    export.check_quality(replace(good_fidelity(), ratio=export.MAX_PERPLEXITY_RATIO[store_as]), asked)
    for ratio in (export.MAX_PERPLEXITY_RATIO[store_as] + 1e-4, float("nan")):
        with pytest.raises(ExportRefused, match="perplexity"):
            export.check_quality(replace(good_fidelity(), ratio=ratio), asked)


@pytest.mark.parametrize("store_as", export.STORE_FORMATS)
def test_a_perplexity_that_came_out_well_by_chance_does_not_pass(store_as: export.StoreFormat) -> None:
    asked, bound = ExportOptions("mine", store_as), export.MAX_KL[store_as]
    export.check_quality(replace(good_fidelity(), ratio=0.9, kl=bound), asked)
    for kl in (bound * 1.01, float("nan")):
        with pytest.raises(ExportRefused, match="KL"):
            export.check_quality(replace(good_fidelity(), ratio=0.9, kl=kl), asked)


def test_float32_is_held_to_its_logits() -> None:
    with pytest.raises(ExportRefused, match=r"0\.0?1.* off"):
        export.check_quality(replace(good_fidelity(), logits=0.01), ExportOptions("mine", "float32"))


def test_a_rounded_file_is_no_base_for_another(tmp_path: Path) -> None:
    near = quantise_model.quantise_model(tiny_weights(), TINY, QuantConfig(8, 16, head_block=16, feed=False), WINDOWS)
    (tmp_path / "m.onnx").write_bytes(graph.build_gpt2(near.weights, TINY, quantised=near.quantised))
    with pytest.raises(ModelDamaged, match="few bits"):
        onnx_io.read_weights(tmp_path / "m.onnx")


@pytest.mark.soak
@pytest.mark.parametrize(("store_as", "kl"), [("int8", 0.001), ("int4", 0.02)])
def test_the_embedded_model_passes_in_full(tmp_path: Path, store_as: export.StoreFormat, kl: float) -> None:
    quality = export.export_model(embedded(), tmp_path / "mine", ExportOptions("mine", store_as)).training["quality"]
    assert quality["tokens"] > 8000
    assert quality["ratio"] <= {"int8": 1.002, "int4": 1.03}[store_as]
    assert quality["kl"] <= kl


@pytest.mark.parametrize(("how", "ratio"), [(QuantConfig(8, 0), 1.01), (QuantConfig(4, 32, asymmetric=True), 1.06)])
def test_the_embedded_model_passes_its_bounds_even_when_rounded_to_the_nearest(how: QuantConfig, ratio: float) -> None:
    source, rows = (
        embedded(),
        fidelity.cut_windows(_encoder(), export.read_documents([export.TEXT_FOLDER / "judge.txt"]), 257, 2100),
    )
    packed = quantise_model.quantise_to_nearest(source.weights, source.shape, how)
    session = OnnxSession(graph.build_gpt2(source.weights, source.shape, quantised=packed))
    assert fidelity.compare_to_float32(session, source.weights, source.shape, rows).ratio <= ratio


def _encoder() -> fidelity.LineEncoder:
    from model.onnx import tokenizer

    return tokenizer.from_json(embedded().tokenizer_json)
