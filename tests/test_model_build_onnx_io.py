from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights

from model.build import export, formats, graph, onnx_io
from model.build.quantise.quantise_model import quantise_to_nearest
from model.errors import ModelDamaged
from model.onnx.external_data import PAGE_BYTES
from model.onnx.session import OnnxSession
from model.store import manifest

IDS = [1, 2, 3, 250]


@pytest.mark.parametrize("store_as", formats.STORE_FORMATS)
def test_two_files_give_the_same_bits_as_one(tmp_path: Path, store_as: formats.StoreFormat) -> None:
    weights, config = tiny_weights(), export.quant_config_for(export.ExportOptions("", store_as))
    quantised = None if config is None else quantise_to_nearest(weights, TINY, config)
    precision: graph.Precision = "float32" if store_as == "float32" else "float16"
    onnx_io.write_graph(tmp_path, weights, TINY, precision, quantised)
    one_file = OnnxSession(graph.build_gpt2(weights, TINY, precision, quantised), threads=1)
    two_files = OnnxSession(tmp_path / manifest.GRAPH_FILE, threads=1)
    for ids in (IDS, [5]):
        assert np.array_equal(one_file.forward(ids), two_files.forward(ids))


@pytest.mark.parametrize("store_as", ["float16", "float32"])
def test_one_file_and_two_files_are_read_alike(tmp_path: Path, store_as: graph.Precision) -> None:
    (tmp_path / "one.onnx").write_bytes(graph.build_gpt2(tiny_weights(), TINY, store_as))
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, store_as)
    one_file, shape = onnx_io.read_weights(tmp_path / "one.onnx")
    two_files, second_shape = onnx_io.read_weights(tmp_path / manifest.GRAPH_FILE)
    assert shape == second_shape == TINY
    assert one_file.keys() == two_files.keys() == tiny_weights().keys()
    for name, value in one_file.items():
        assert two_files[name].dtype == np.float32
        assert np.array_equal(value, two_files[name])
        assert value.flags.writeable
        assert two_files[name].flags.writeable


def test_tensors_of_a_page_are_external_and_smaller_ones_internal(tmp_path: Path) -> None:
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, "float32")
    model = onnx.load(tmp_path / manifest.GRAPH_FILE, load_external_data=False)
    for tensor in model.graph.initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = int(np.prod(tensor.dims)) * dtype.itemsize
        location = {entry.key: entry.value for entry in tensor.external_data}
        assert bool(location) == (size >= PAGE_BYTES), tensor.name
        assert not location or (location["location"], int(location["offset"]) % PAGE_BYTES) == ("model.data", 0)
    assert {"wte.weight", "h.0.mlp.c_fc.weight"} <= {t.name for t in model.graph.initializer if t.external_data}
    onnx.checker.check_model(tmp_path / manifest.GRAPH_FILE)


def test_writing_needs_memory_for_the_largest_matrix_only(tmp_path: Path) -> None:
    shape = replace(TINY, n_embd=128, n_layer=12)
    weights = tiny_weights(shape)
    largest = max(value.nbytes for value in weights.values())
    tracemalloc.start()
    onnx_io.write_graph(tmp_path, weights, shape, "float32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / manifest.DATA_FILE).stat().st_size > 20 * largest
    assert peak < 3 * largest + (tmp_path / manifest.GRAPH_FILE).stat().st_size


def test_writing_refuses_numbers_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["h.1.mlp.c_fc.weight"][3, 4] = 1e6
    with pytest.raises(ModelDamaged, match=r"h\.1\.mlp\.c_fc\.weight has numbers"):
        onnx_io.write_graph(tmp_path, weights, TINY)


@pytest.mark.parametrize("store_as", ["int8", "int4"])
def test_quantised_files_are_not_read_as_a_base(tmp_path: Path, store_as: formats.StoreFormat) -> None:
    config = export.quant_config_for(export.ExportOptions("", store_as))
    assert config is not None
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, quantised=quantise_to_nearest(tiny_weights(), TINY, config))
    with pytest.raises(ModelDamaged, match="its weights are quantised; take the model that it was made from"):
        onnx_io.read_weights(tmp_path / manifest.GRAPH_FILE)
