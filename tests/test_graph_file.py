from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights

from model.build import export, graph, onnx_io
from model.build.quantise.quantise_model import quantise_to_nearest
from model.errors import ModelDamaged
from model.onnx.external_data import PAGE_BYTES
from model.onnx.session import OnnxSession
from model.store import manifest

IDS = [1, 2, 3, 250]


@pytest.mark.parametrize("store_as", export.STORE_FORMATS)
def test_two_files_say_to_the_bit_what_one_says(tmp_path: Path, store_as: export.StoreFormat) -> None:
    weights, how = tiny_weights(), export.quant_config_for(export.ExportOptions("", store_as))
    packed = None if how is None else quantise_to_nearest(weights, TINY, how)
    kind: graph.Precision = "float32" if store_as == "float32" else "float16"
    onnx_io.write_graph(tmp_path, weights, TINY, kind, packed)
    one = OnnxSession(graph.build_gpt2(weights, TINY, kind, packed), threads=1)
    two = OnnxSession(tmp_path / manifest.GRAPH_FILE, threads=1)
    assert np.array_equal(one.forward(IDS), two.forward(IDS))
    assert np.array_equal(one.forward([5]), two.forward([5]))


@pytest.mark.parametrize("store_as", ["float16", "float32"])
def test_both_kinds_of_file_are_read_and_read_alike(tmp_path: Path, store_as: graph.Precision) -> None:
    (tmp_path / "one.onnx").write_bytes(graph.build_gpt2(tiny_weights(), TINY, store_as))
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, store_as)
    (one, shape), (two, other) = (onnx_io.read_weights(tmp_path / name) for name in ("one.onnx", manifest.GRAPH_FILE))
    assert shape == other == TINY
    assert one.keys() == two.keys() == tiny_weights().keys()
    for name, value in one.items():
        assert two[name].dtype == np.float32
        assert np.array_equal(value, two[name])
        assert value.flags.writeable
        assert two[name].flags.writeable


def test_what_fills_a_page_lies_beside_and_the_rest_inside(tmp_path: Path) -> None:
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, "float32")
    model = onnx.load(tmp_path / manifest.GRAPH_FILE, load_external_data=False)
    for tensor in model.graph.initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = int(np.prod(tensor.dims)) * dtype.itemsize
        told = {entry.key: entry.value for entry in tensor.external_data}
        assert bool(told) == (size >= PAGE_BYTES), tensor.name
        assert not told or (told["location"], int(told["offset"]) % PAGE_BYTES) == ("model.data", 0)
    assert {"wte.weight", "h.0.mlp.c_fc.weight"} <= {t.name for t in model.graph.initializer if t.external_data}
    onnx.checker.check_model(tmp_path / manifest.GRAPH_FILE)


def test_writing_takes_no_more_memory_than_the_largest_matrix(tmp_path: Path) -> None:
    shape = replace(TINY, n_embd=128, n_layer=12)
    weights = tiny_weights(shape)
    largest = max(value.nbytes for value in weights.values())
    tracemalloc.start()
    onnx_io.write_graph(tmp_path, weights, shape, "float32")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / manifest.DATA_FILE).stat().st_size > 20 * largest
    assert peak < 3 * largest + (tmp_path / manifest.GRAPH_FILE).stat().st_size


def test_numbers_that_half_precision_cannot_hold_are_refused_here_too(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["h.1.mlp.c_fc.weight"][3, 4] = 1e6
    with pytest.raises(ModelDamaged, match=r"h\.1\.mlp\.c_fc\.weight has numbers"):
        onnx_io.write_graph(tmp_path, weights, TINY)


@pytest.mark.parametrize("store_as", ["int8", "int4"])
def test_what_was_rounded_is_no_base_for_more(tmp_path: Path, store_as: export.StoreFormat) -> None:
    how = export.quant_config_for(export.ExportOptions("", store_as))
    assert how is not None
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, quantised=quantise_to_nearest(tiny_weights(), TINY, how))
    with pytest.raises(ModelDamaged, match="rounded to few bits; take the model that it was made from"):
        onnx_io.read_weights(tmp_path / manifest.GRAPH_FILE)
