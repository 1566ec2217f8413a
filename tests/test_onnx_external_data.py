from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights
from hypothesis import given
from hypothesis import strategies as st

from model.build import onnx_io
from model.errors import ModelDamaged
from model.onnx import external_data
from model.onnx.external_data import PAGE_BYTES
from model.onnx.session import OnnxSession, open_session
from model.store import manifest

IDS = [1, 2, 3, 250]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY, "float32")
    return tmp_path


def point_to(folder: Path, place: str) -> Path:
    """Changes the location of the weights in the graph."""
    path = folder / manifest.GRAPH_FILE
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    path.write_bytes(model.SerializeToString())
    return path


@given(st.lists(st.integers(1, 3 * PAGE_BYTES), max_size=6))
def test_each_array_begins_on_a_page_and_comes_back(sizes: list[int]) -> None:
    file = io.BytesIO()
    writer = external_data.ExternalDataWriter(file)
    arrays = [np.full(size, number, np.uint8) for number, size in enumerate(sizes, 1)]
    entries = [writer.write_array(array) for array in arrays]
    for array, entry in zip(arrays, entries, strict=True):
        offset, length = int(entry["offset"]), int(entry["length"])
        assert offset % PAGE_BYTES == 0
        assert file.getvalue()[offset : offset + length] == array.tobytes()
    assert len(file.getvalue()) - sum(sizes) <= PAGE_BYTES * len(sizes)


def test_a_transposed_array_is_written_in_row_order() -> None:
    file = io.BytesIO()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    external_data.ExternalDataWriter(file).write_array(array.T)
    assert file.getvalue() == np.ascontiguousarray(array.T).tobytes()


@pytest.mark.parametrize(
    "place", ["../model.data", "/etc/passwd", "tokenizer.json", "./model.data", "", "a\nb", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_in_other_files_are_refused_before_they_are_opened(folder: Path, place: str) -> None:
    (folder / "tokenizer.json").write_bytes((folder / manifest.DATA_FILE).read_bytes())
    path = point_to(folder, place)
    for open_graph in (OnnxSession, open_session):
        with pytest.raises(ModelDamaged, match=r"has weights in .*, not in itself or in model\.data; fetch") as caught:
            open_graph(path, threads=1)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelDamaged) as caught:
        onnx_io.read_weights(path)
    assert "\n" not in str(caught.value)


def test_a_graph_in_memory_may_refer_to_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # onnxruntime would look here
    with pytest.raises(ModelDamaged, match=r"^the model: has weights in 'model\.data'"):
        OnnxSession((folder / manifest.GRAPH_FILE).read_bytes(), threads=1)


@pytest.mark.parametrize("change", ["short", "gone", "offset", "length", "dims"])
def test_external_data_of_a_wrong_size_is_a_one_line_error(folder: Path, change: str) -> None:
    path, data = folder / manifest.GRAPH_FILE, folder / manifest.DATA_FILE
    model = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    entries = {entry.key: entry for entry in tensor.external_data}
    match change:
        case "short":
            data.write_bytes(data.read_bytes()[:-PAGE_BYTES])
        case "gone":
            data.unlink()
        case "offset":
            entries["offset"].value = "-4096"
        case "length":
            entries["length"].value = "12"
        case "dims":
            tensor.dims[0] = 2**40
    path.write_bytes(model.SerializeToString())
    for read_or_load in (lambda: onnx_io.read_weights(path), lambda: OnnxSession(path, threads=1)):
        with pytest.raises(ModelDamaged, match=r"model\.onnx: ") as caught:
            read_or_load()
        assert "\n" not in str(caught.value)


def test_changing_mapped_weights_leaves_the_file_unchanged(folder: Path) -> None:
    before = (folder / manifest.DATA_FILE).read_bytes()
    weights, _ = onnx_io.read_weights(folder / manifest.GRAPH_FILE)
    weights["wte.weight"][:] = 7
    assert (folder / manifest.DATA_FILE).read_bytes() == before
