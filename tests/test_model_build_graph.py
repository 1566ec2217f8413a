from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights
from safetensors.numpy import save_file

from model.build import graph, import_weights, onnx_io
from model.errors import ModelDamaged


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_float32_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    weights = tiny_weights()
    loaded, shape = onnx_io.read_weights(write_bytes(tmp_path / "m.onnx", graph.build_gpt2(weights, TINY, "float32")))
    assert shape == TINY
    assert loaded.keys() == weights.keys()
    assert all(np.array_equal(loaded[name], weights[name]) for name in weights)


def test_float16_weights_come_back_as_float32_within_half_precision(tmp_path: Path) -> None:
    weights = tiny_weights()
    loaded, _ = onnx_io.read_weights(write_bytes(tmp_path / "m.onnx", graph.build_gpt2(weights, TINY, "float16")))
    for name, value in weights.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_allclose(loaded[name], value, rtol=2**-11, atol=2**-25)


def test_rebuilding_from_read_weights_gives_the_same_file(tmp_path: Path) -> None:
    first = graph.build_gpt2(tiny_weights(), TINY)
    assert graph.build_gpt2(*onnx_io.read_weights(write_bytes(tmp_path / "m.onnx", first))) == first


def test_the_embedding_is_stored_once_and_matrices_in_half_precision() -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY))
    onnx.checker.check_model(model)
    assert (model.ir_version, model.opset_import[0].version) == (10, 21)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    large = [name for name, tensor in stored.items() if np.prod(tensor.dims) >= TINY.vocab_size * TINY.n_embd]
    assert large == ["wte.weight"]
    dtypes = {name: tensor.data_type for name, tensor in stored.items() if name.startswith(("h.", "w", "ln"))}
    assert dtypes.keys() == graph.weight_shapes(TINY).keys()
    assert {dtypes[name] for name in dtypes if len(stored[name].dims) == 2} == {onnx.TensorProto.FLOAT16}
    assert {dtypes[name] for name in dtypes if len(stored[name].dims) == 1} == {onnx.TensorProto.FLOAT}


def test_the_shape_counts_its_parameters() -> None:
    assert TINY.parameters == sum(weight.size for weight in tiny_weights().values())


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_safetensors_of_the_hub_are_read_with_and_without_the_prefix(tmp_path: Path, prefix: str) -> None:
    weights = tiny_weights()
    tensors = {prefix + name: value for name, value in weights.items()}
    tensors["lm_head.weight"] = weights["wte.weight"].copy()
    tensors[prefix + "h.0.attn.bias"] = np.ones((1, 1, 64, 64), np.float32)  # a causal mask, not a weight
    save_file(tensors, tmp_path / "model.safetensors")
    loaded = import_weights.read_safetensors([tmp_path / "model.safetensors"])
    assert loaded.keys() == weights.keys()
    assert graph.build_gpt2(loaded, TINY) == graph.build_gpt2(weights, TINY)


def test_a_head_that_is_not_the_embedding_is_refused(tmp_path: Path) -> None:
    weights = tiny_weights()
    save_file(weights | {"lm_head.weight": weights["wte.weight"] + 1}, tmp_path / "m.safetensors")
    with pytest.raises(ModelDamaged, match="head is not its embedding"):
        import_weights.read_safetensors([tmp_path / "m.safetensors"])


def test_each_file_that_is_no_model_gives_a_one_line_error(tmp_path: Path) -> None:
    onnx_file = graph.build_gpt2(tiny_weights(), TINY)
    unmarked = onnx.load_from_string(onnx_file)
    del unmarked.metadata_props[:]
    cases = {"empty": b"", "noise": bytes(range(256)) * 9, "cut": onnx_file[:5000]}
    for name, data in (cases | {"unmarked": unmarked.SerializeToString()}).items():
        with pytest.raises(ModelDamaged, match=name) as caught:
            onnx_io.read_weights(write_bytes(tmp_path / name, data))
        assert "\n" not in str(caught.value)
        with pytest.raises(ModelDamaged, match=name):
            import_weights.read_safetensors([tmp_path / name])
    with pytest.raises(ModelDamaged, match="nowhere"):
        onnx_io.read_weights(tmp_path / "nowhere")


def test_weights_that_do_not_fit_are_named() -> None:
    weights = tiny_weights()
    with pytest.raises(ModelDamaged, match=r"wpe.weight is \[64, 32\], not \[65, 32\]"):
        graph.build_gpt2(weights, replace(TINY, n_positions=65))
    with pytest.raises(ModelDamaged, match=r"h.2.* is missing"):
        graph.build_gpt2(weights, replace(TINY, n_layer=3))


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        ({"n_head": 3}, "3 heads do not divide the width 32"),
        ({"n_layer": 0}, "n_layer is 0, not a whole number above zero"),
        ({"n_embd": "x"}, "n_embd is 'x', not"),
        ({"n_embd": 32.0}, "n_embd is 32.0, not"),
        ({"n_head": True}, "n_head is True, not"),
    ],
)
def test_an_impossible_shape_is_refused(size: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(TINY, **size)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e6])
def test_numbers_that_half_precision_cannot_hold_are_refused(number: float) -> None:
    weights = tiny_weights()
    weights["h.1.mlp.c_fc.weight"][3, 4] = number
    with pytest.raises(ModelDamaged, match=r"h\.1\.mlp\.c_fc\.weight has numbers"):
        graph.build_gpt2(weights, TINY, "float16")
