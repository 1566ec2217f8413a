"""What a graph from a stranger may not have: weights elsewhere, sizes without bytes, parts that asr33 does not know."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_hf_graph import build_hf_graph
from fakes_model import TINY, tiny_weights
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from model.build import graph, onnx_io
from model.errors import ModelDamaged
from model.onnx.graph_check import MAX_DEPTH, check_graph
from model.printable import escape_controls
from model.store import manifest

Place = Callable[[onnx.TensorProto], onnx.ModelProto]


def external_tensor(location: str = "/etc/passwd", **entries: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def make_graph(*nodes: onnx.NodeProto, **fields: list[onnx.TensorProto]) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], **fields)


def make_model(*nodes: onnx.NodeProto, **fields: list[onnx.TensorProto]) -> onnx.ModelProto:
    return helper.make_model(make_graph(*nodes, **fields), ir_version=10)


def constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=tensor)


def nested(tensor: onnx.TensorProto, depth: int, op_type: str, attribute: str) -> onnx.NodeProto:
    node = constant(tensor)
    for _ in range(depth):
        node = helper.make_node(op_type, [], ["y"], **{attribute: make_graph(node)})
    return node


def in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = make_model()
    model.functions.append(helper.make_function("d", "F", [], ["y"], [constant(tensor)], []))
    return model


def in_function_default(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = make_model()
    function = helper.make_function("d", "F", [], [], [], [])
    function.attribute_proto.append(helper.make_attribute("value", tensor))
    model.functions.append(function)
    return model


def in_training(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = make_model()
    model.training_info.add().algorithm.CopyFrom(make_graph(initializer=[tensor]))
    return model


PLACES: dict[str, Place] = {
    "initializer": lambda tensor: make_model(initializer=[tensor]),
    "constant": lambda tensor: make_model(constant(tensor)),
    "tensors of an attribute": lambda tensor: make_model(helper.make_node("X", [], [], values=[tensor])),
    "if": lambda tensor: make_model(nested(tensor, 1, "If", "then_branch")),
    "else in if in if": lambda tensor: make_model(nested(tensor, 3, "If", "else_branch")),
    "loop": lambda tensor: make_model(nested(tensor, 1, "Loop", "body")),
    "scan in scan": lambda tensor: make_model(nested(tensor, 2, "Scan", "body")),
    "weight of a branch": lambda tensor: make_model(
        helper.make_node("If", ["c"], [], then_branch=make_graph(initializer=[tensor]), else_branch=make_graph())
    ),
    "graphs of an attribute": lambda tensor: make_model(
        helper.make_node("X", [], [], bodies=[make_graph(), make_graph(initializer=[tensor])])
    ),
    "function": in_function,
    "default of a function": in_function_default,
    "training": in_training,
}


def refusal(data: bytes | Path) -> str:
    """The error of a graph, of one line."""
    with pytest.raises(ModelDamaged) as caught:
        check_graph(data)
    message = str(caught.value)
    assert escape_controls(message) == message
    assert message.endswith("; fetch it again")
    return message


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found_anywhere(place: str, tmp_path: Path) -> None:
    path = tmp_path / manifest.GRAPH_FILE
    (tmp_path / manifest.DATA_FILE).write_bytes(bytes(16))
    for location in (
        "/etc/passwd",
        "../model.data",
        "./model.data",
        "tokenizer.json",
        "",
        "*/_ORT_MEM_ADDR_/*",
        "a\nb",
    ):
        data = PLACES[place](external_tensor(location)).SerializeToString()
        path.write_bytes(data)
        assert f"has weights in {location!r}" in refusal(path)
        assert f"has weights in {location!r}" in refusal(data)
    path.write_bytes(PLACES[place](external_tensor(manifest.DATA_FILE)).SerializeToString())
    check_graph(path)
    assert "has weights in 'model.data'" in refusal(path.read_bytes())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dims", [[2**40], [2**31, 2**31], [2**62, 4], [-1], [-(2**63)], [5], [3, 2**60], [1] * 17])
def test_sizes_without_bytes_are_refused_anywhere(place: str, dims: list[int]) -> None:
    tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, raw_data=bytes(16))
    message = refusal(PLACES[place](tensor).SerializeToString())
    assert "the tensor 'w'" in message or "over 16 dimensions" in message
    refusal(PLACES[place](TensorProto(name="w", dims=dims, data_type=1, float_data=[0.0])).SerializeToString())


@pytest.mark.parametrize("kind", ["initializer", "attribute", "attributes"])
def test_sparse_tensors_are_refused(kind: str) -> None:
    values, indices = (
        numpy_helper.from_array(np.ones(1, np.float32)),
        numpy_helper.from_array(np.zeros((1, 1), np.int64)),
    )
    sparse = helper.make_sparse_tensor(values, indices, [2**40])
    if kind == "initializer":
        model = make_model()
        model.graph.sparse_initializer.append(sparse)
    else:
        model = make_model(
            helper.make_node("Constant", [], ["y"], sparse_value=sparse if kind == "attribute" else [sparse])
        )
    assert "sparse tensor" in refusal(model.SerializeToString())


def varint(number: int) -> bytes:
    data = b""
    while number >= 0x80:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def message_field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


HIDDEN = PLACES["initializer"](external_tensor()).SerializeToString()
HIDDEN_GRAPH = PLACES["initializer"](external_tensor()).graph.SerializeToString()
HIDDEN_TENSOR = external_tensor().SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"\x53\x54" + HIDDEN,  # a group, which protobuf skips
        b"\xbb\x03\xbc\x03" + HIDDEN,
        varint((7 << 3 | 2) | 1 << 32) + varint(len(HIDDEN_GRAPH)) + HIDDEN_GRAPH,  # a tag that C++ cuts to 32 bits
        message_field(99, HIDDEN_GRAPH),
        message_field(7, message_field(99, HIDDEN_TENSOR)),
        message_field(7, message_field(1, message_field(99, HIDDEN_TENSOR))),
        message_field(7, message_field(1, message_field(5, message_field(99, HIDDEN_TENSOR)))),
        message_field(7, message_field(5, message_field(3, HIDDEN_TENSOR))),  # a segment
        message_field(7, b"") + message_field(7, HIDDEN_GRAPH),  # protobuf would merge them
        message_field(7, HIDDEN_GRAPH) + message_field(7, b""),
        b"\x38\x01" + message_field(7, HIDDEN_GRAPH),  # first as a number
        HIDDEN[:-1],
        HIDDEN + b"\x00",
        HIDDEN + b"\xff" * 11,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + HIDDEN_GRAPH,
        b"",
    ],
)
def test_what_protobuf_reads_in_another_way_hides_no_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / manifest.GRAPH_FILE
    path.write_bytes(data)
    for source in (data, path):
        refusal(source) if data or source is path else check_graph(source)


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "-4096"},
        {"offset": "4"},
        {"length": "17"},
        {"length": "15"},
        {"length": "1" * 19},
        {"offset": "0x0"},
        {"offset": "٣"},
        {"offset": ""},
        {"extra": "1"},
        {"length": "9" * 5000},
    ],
)
def test_a_place_outside_of_the_data_file_is_refused(entries: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / manifest.GRAPH_FILE
    (tmp_path / manifest.DATA_FILE).write_bytes(bytes(16))
    path.write_bytes(PLACES["constant"](external_tensor(manifest.DATA_FILE, **entries)).SerializeToString())
    refusal(path)


def test_an_entry_may_not_come_twice(tmp_path: Path) -> None:
    path = tmp_path / manifest.GRAPH_FILE
    (tmp_path / manifest.DATA_FILE).write_bytes(bytes(16))
    tensor = external_tensor(manifest.DATA_FILE)
    tensor.external_data.add(key="location", value="/etc/passwd")
    path.write_bytes(PLACES["initializer"](tensor).SerializeToString())
    assert "'location'" in refusal(path)


@pytest.mark.parametrize("kind", ["link out", "link in", "folder", "fifo", "loop", "device", "gone"])
def test_only_a_regular_file_in_the_folder_holds_weights(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path, data = folder / manifest.GRAPH_FILE, folder / manifest.DATA_FILE
    for target in (tmp_path / "secret", folder / "inside"):
        target.write_bytes(bytes(16))
    match kind:
        case "link out":
            data.symlink_to(tmp_path / "secret")
        case "link in":
            data.symlink_to("inside")
        case "folder":
            data.mkdir()
        case "fifo":
            os.mkfifo(data)
        case "loop":
            data.symlink_to(data)
        case "device":
            data.symlink_to("/dev/zero")
    path.write_bytes(PLACES["initializer"](external_tensor(manifest.DATA_FILE)).SerializeToString())
    if kind == "link in":
        check_graph(path)
    else:
        assert "model.data" in refusal(path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_a_graph_that_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / manifest.GRAPH_FILE
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
    refusal(path)


def test_graphs_nested_without_end_are_refused() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    check_graph(make_model(nested(tensor, MAX_DEPTH - 1, "If", "then_branch")).SerializeToString())
    data = PLACES["constant"](tensor).graph.SerializeToString()
    for _ in range(3000):
        data = message_field(1, message_field(5, message_field(6, data)))
    assert "nested too deeply" in refusal(message_field(7, data))


def test_a_graph_of_countless_parts_is_refused_in_time() -> None:
    dims = b"\x08\x01" * 10
    assert "dimensions" in refusal(message_field(7, message_field(5, dims * 2 + b"\x10\x01")))
    nodes = message_field(1, b"") * 1_000_100
    assert "too many parts" in refusal(message_field(7, nodes))


def test_every_graph_of_asr33_and_of_hugging_face_passes(tmp_path: Path) -> None:
    weights = tiny_weights()
    for store_as in ("float16", "float32"):
        assert len(check_graph(graph.build_gpt2(weights, TINY, store_as)).dims) > 20
        onnx_io.write_graph(tmp_path, weights, TINY, store_as)
        checked = check_graph(tmp_path / manifest.GRAPH_FILE)
        assert checked.dims["wpe.weight"] == (TINY.n_positions, TINY.n_embd)
        assert checked.total_bytes > TINY.parameters
    for merged in (False, True):
        check_graph(build_hf_graph(weights, TINY, merged=merged))
    check_graph(Path(__file__).parents[1] / "model" / "embedded" / manifest.GRAPH_FILE)
    check_graph(tmp_path / "no such file")


@given(st.binary(max_size=200))
@example(b"\x3a\x02\x2a\x00")
def test_random_bytes_give_one_line_or_nothing(noise: bytes) -> None:
    _check(noise)


@given(st.data())
def test_a_truncated_or_flipped_graph_gives_one_line_or_nothing(data: st.DataObject) -> None:
    whole = PLACES["if"](numpy_helper.from_array(np.zeros(3, np.float32), "w")).SerializeToString()
    index = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[index] ^ data.draw(st.integers(1, 255))])
    _check(whole[:index])
    _check(whole[:index] + flipped + whole[index + 1 :])


def _check(data: bytes) -> None:
    message = ""
    try:
        check_graph(data)
    except ModelDamaged as error:
        message = str(error)
    assert escape_controls(message) == message
