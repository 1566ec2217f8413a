from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights
from hypothesis import given
from hypothesis import strategies as st

from model.build import graph, onnx_io
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


def pointed(folder: Path, place: str) -> Path:
    """The graph, with its weights said to lie elsewhere."""
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
    pages = external_data.ExternalDataWriter(file)
    arrays = [np.full(size, number, np.uint8) for number, size in enumerate(sizes, 1)]
    told = [pages.write_array(array) for array in arrays]
    for array, where in zip(arrays, told, strict=True):
        offset, length = int(where["offset"]), int(where["length"])
        assert offset % PAGE_BYTES == 0
        assert file.getvalue()[offset : offset + length] == array.tobytes()
    assert len(file.getvalue()) - sum(sizes) <= PAGE_BYTES * len(sizes)


def test_what_lies_crosswise_in_memory_lies_straight_in_the_file() -> None:
    file = io.BytesIO()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    external_data.ExternalDataWriter(file).write_array(array.T)
    assert file.getvalue() == np.ascontiguousarray(array.T).tobytes()


def test_where_the_weights_are_is_read_as_onnx_reads_it(folder: Path) -> None:
    path = folder / manifest.GRAPH_FILE
    assert external_data.external_files(path) == external_data.external_files(path.read_bytes()) == {manifest.DATA_FILE}
    assert external_data.external_files(pointed(folder, "somewhere/else")) == {"somewhere/else"}
    assert external_data.external_files(pointed(folder, "")) == {""}
    assert external_data.external_files(graph.build_gpt2(tiny_weights(), TINY)) == set()


@given(st.binary(max_size=200))
def test_noise_has_no_locations_and_no_faults(noise: bytes) -> None:
    external_data.external_files(noise)


@given(st.data())
def test_a_graph_that_is_cut_or_flipped_has_no_faults(data: st.DataObject) -> None:
    whole = _small_graph()
    at = data.draw(st.integers(0, len(whole) - 1))
    external_data.external_files(whole[:at])
    external_data.external_files(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])


@given(st.permutations(["key", "value"]), st.text(max_size=20), st.integers(0, 3))
def test_the_order_of_an_entry_and_what_is_said_twice_hide_nothing(order: list[str], place: str, graphs: int) -> None:
    fields = {"key": onnx.StringStringEntryProto(key="location"), "value": onnx.StringStringEntryProto(value=place)}
    entry = b"".join(fields[name].SerializeToString() for name in order)
    tensor = b"\x6a" + bytes([len(entry)]) + entry  # field 13, with a length
    inside = b"\x2a" + bytes([len(tensor)]) + tensor  # field 5
    message = b"\x3a" + bytes([len(inside)]) + inside  # field 7
    assert external_data.external_files(b"\x3a\x00" * graphs + b"\x08\xff\x01" + message) == {place}


@pytest.mark.parametrize(
    "place", ["../model.data", "/etc/passwd", "tokenizer.json", "./model.data", "", "a\nb", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_anywhere_else_are_refused_before_they_are_opened(folder: Path, place: str) -> None:
    (folder / "tokenizer.json").write_bytes((folder / manifest.DATA_FILE).read_bytes())
    path = pointed(folder, place)
    for refuses in (OnnxSession, open_session):
        with pytest.raises(ModelDamaged, match=r"has weights in .*, not in itself or in model\.data; fetch") as caught:
            refuses(path, threads=1)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelDamaged) as caught:
        onnx_io.read_weights(path)
    assert "\n" not in str(caught.value)


def test_bytes_have_nothing_beside_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # where onnxruntime would look
    with pytest.raises(ModelDamaged, match=r"^the model: has weights in 'model\.data'"):
        OnnxSession((folder / manifest.GRAPH_FILE).read_bytes(), threads=1)


@pytest.mark.parametrize("change", ["short", "gone", "offset", "length", "dims"])
def test_what_does_not_fit_beside_the_graph_is_one_line(folder: Path, change: str) -> None:
    path, data = folder / manifest.GRAPH_FILE, folder / manifest.DATA_FILE
    model = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    told = {entry.key: entry for entry in tensor.external_data}
    match change:
        case "short":
            data.write_bytes(data.read_bytes()[:-PAGE_BYTES])
        case "gone":
            data.unlink()
        case "offset":
            told["offset"].value = "-4096"
        case "length":
            told["length"].value = "12"
        case "dims":
            tensor.dims[0] = 2**40
    path.write_bytes(model.SerializeToString())
    for refused in (lambda: onnx_io.read_weights(path), lambda: OnnxSession(path, threads=1)):
        with pytest.raises(ModelDamaged, match=r"model\.onnx: ") as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_weights_that_are_mapped_may_be_changed_and_the_file_stays(folder: Path) -> None:
    before = (folder / manifest.DATA_FILE).read_bytes()
    weights, _ = onnx_io.read_weights(folder / manifest.GRAPH_FILE)
    weights["wte.weight"][:] = 7
    assert (folder / manifest.DATA_FILE).read_bytes() == before


def _small_graph() -> bytes:
    weight = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    return bytes(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight])).SerializeToString())
