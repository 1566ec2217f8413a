from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import reference_gpt2
from fakes_model import TINY, tiny_weights
from numpy.typing import NDArray
from onnxruntime import get_available_providers

from model.build import graph
from model.errors import EngineFailed, EngineMissing, ModelDamaged, ModelNotFound, PromptTooLong
from model.interface import SHAPE_KEY, GPT2Config
from model.onnx.runtime import DeviceChoice, OnnxModel
from model.onnx.session import OnnxSession

Floats = NDArray[np.float32]
CLOSE = 1e-4

IDS = [int(token) for token in np.random.default_rng(1).integers(0, TINY.vocab_size, TINY.n_positions)]


@pytest.fixture(scope="module")
def session() -> OnnxSession:
    return OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float64]:
    """The logits of IDS at every position, from NumPy in float64."""
    return reference_gpt2.logits(tiny_weights(), IDS, TINY.n_head)


def max_difference(actual: Floats, expected: NDArray[np.floating]) -> float:
    return float(np.abs(actual - expected).max())


def test_one_prefill_gives_the_reference_logits(session: OnnxSession, reference: NDArray[np.float64]) -> None:
    assert reference.std() > 1, "the reference logits are too even to show an error"
    for length in (1, 2, 17, TINY.n_positions):
        session.rewind(0)
        assert max_difference(session.forward(IDS[:length]), reference[length - 1]) < CLOSE
        assert session.length == length


def test_single_steps_give_the_reference_logits(session: OnnxSession, reference: NDArray[np.float64]) -> None:
    session.rewind(0)
    for position, token in enumerate(IDS):
        assert max_difference(session.forward([token]), reference[position]) < CLOSE


@pytest.mark.parametrize("cuts", [[1], [63], [5, 6, 40], [32, 33, 34], list(range(7, 64, 7))])
def test_prefill_in_chunks_gives_the_reference_logits(
    session: OnnxSession, reference: NDArray[np.float64], cuts: Sequence[int]
) -> None:
    session.rewind(0)
    for start, stop in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        assert max_difference(session.forward(IDS[start:stop]), reference[stop - 1]) < CLOSE


def test_a_rewind_leaves_no_trace_of_the_dropped_tokens(session: OnnxSession, reference: NDArray[np.float64]) -> None:
    session.rewind(0)
    session.forward(IDS[:20])
    session.forward([7] * 30)
    session.rewind(20)
    assert session.length == 20
    assert max_difference(session.forward([IDS[20]]), reference[20]) < CLOSE
    session.rewind(10)
    assert max_difference(session.forward(IDS[10:50]), reference[49]) < CLOSE


def test_logits_of_many_positions_equal_those_of_single_positions(
    session: OnnxSession, reference: NDArray[np.float64]
) -> None:
    session.rewind(0)
    assert max_difference(session.forward_from(IDS[:40], 0), reference[:40]) < CLOSE
    assert max_difference(session.forward_from(IDS[40:], 9), reference[49:]) < CLOSE


def test_float16_weights_change_the_logits_little(reference: NDArray[np.float64]) -> None:
    half = {1: np.float32, 2: np.float16}
    rounded = {name: value.astype(half[value.ndim]).astype(np.float32) for name, value in tiny_weights().items()}
    logits = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float16"), threads=1).forward(IDS)
    assert max_difference(logits, reference_gpt2.logits(rounded, IDS, TINY.n_head)[-1]) < CLOSE
    assert max_difference(logits, reference[-1]) > CLOSE, "the weights were not rounded"


def convert_to_float16(data: bytes) -> bytes:
    """The graph with weights, cache and logits in float16, as a GPU needs it."""
    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    for entry in (*model.graph.input, *model.graph.output):
        if entry.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    serialised: bytes = model.SerializeToString()
    return serialised


def test_a_half_precision_graph_has_a_float16_cache(reference: NDArray[np.float64]) -> None:
    session = OnnxSession(convert_to_float16(graph.build_gpt2(tiny_weights(), TINY, "float32")), threads=1)
    assert {array.dtype for array, _ in session._cache if array is not None} == {np.dtype(np.float16)}
    for start, stop in ((0, 30), (30, 31), (31, 40)):
        logits = session.forward(IDS[start:stop])
        assert logits.dtype == np.float32
        assert max_difference(logits, reference[stop - 1]) < 0.05 * reference.std()
    session.rewind(10)
    assert max_difference(session.forward_from(IDS[10:40], 3), reference[13:40]) < 0.05 * reference.std()


GPU = "CUDAExecutionProvider" in get_available_providers()


@pytest.mark.skipif(not GPU, reason="this onnxruntime is for the CPU: pip install '.[gpu]'")
def test_a_gpu_gives_the_reference_logits_and_float32_runs_on_the_cpu(reference: NDArray[np.float64]) -> None:
    data = graph.build_gpt2(tiny_weights(), TINY, "float32")
    try:
        session = OnnxSession(convert_to_float16(data), device="cuda")
    except EngineMissing as error:
        pytest.skip(str(error))
    assert session.device_label == "CUDA"
    for start, stop in ((0, 30), (30, 31), (31, 40)):
        assert max_difference(session.forward(IDS[start:stop]), reference[stop - 1]) < 0.05 * reference.std()
    session.rewind(10)
    assert max_difference(session.forward_from(IDS[10:40], 3), reference[13:40]) < 0.05 * reference.std()
    with pytest.raises(EngineFailed, match="its attention is float32, CUDA has float16 alone"):
        OnnxSession(data, device="cuda")
    assert OnnxSession(data).device_label.startswith("CPU, ")


@pytest.mark.skipif(GPU, reason="this onnxruntime is for a GPU: pip install '.[cpu]'")
def test_an_absent_gpu_is_a_one_line_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = graph.build_gpt2(tiny_weights(), TINY)
    with pytest.raises(EngineMissing, match=r"asked for CUDA, but .* CPU alone: .*pip install '\.\[gpu\]'$") as caught:
        OnnxSession(data, device="cuda")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_device_label_names_device_and_threads(device: DeviceChoice) -> None:
    data = graph.build_gpt2(tiny_weights(), TINY)
    assert re.match(r"CPU, 1 thread\b", OnnxSession(data, threads=1, device=device).device_label)
    assert re.match(r"CPU, 2 threads\b", OnnxSession(data, threads=2, device=device).device_label)


@pytest.mark.train
def test_the_graph_gives_the_logits_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    shape = GPT2Config(vocab_size=500, n_positions=128, n_embd=64, n_layer=3, n_head=4)
    config = transformers.GPT2Config(**asdict(shape), bos_token_id=0, eos_token_id=0)
    weights = tiny_weights(shape, seed=5)
    # In float64: on a CPU with AVX-512 FP16, torch's float32 once differed from both by 7e-4.
    torch_model = transformers.GPT2LMHeadModel(config).eval().double()
    tensors = {f"transformer.{name}": torch.from_numpy(value) for name, value in weights.items()}
    torch_model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    ids = [int(token) for token in np.random.default_rng(2).integers(0, 500, 128)]
    with torch.no_grad():
        expected = torch_model(torch.tensor([ids])).logits[0].numpy()
    session = OnnxSession(graph.build_gpt2(weights, shape, "float32"), threads=1)
    assert max_difference(session.forward_from(ids, 0), expected) < CLOSE
    session.rewind(60)
    for position in range(60, 128):
        assert max_difference(session.forward([ids[position]]), expected[position]) < CLOSE


def test_a_text_beyond_the_context_is_refused_and_the_cache_stays(
    session: OnnxSession, reference: NDArray[np.float64]
) -> None:
    session.rewind(0)
    session.forward(IDS[:60])
    with pytest.raises(PromptTooLong, match="65 tokens do not fit the context of 64"):
        session.forward([1] * 5)
    assert session.length == 60
    assert max_difference(session.forward(IDS[60:61]), reference[60]) < CLOSE


def test_an_id_beyond_the_vocabulary_is_a_model_error(session: OnnxSession) -> None:
    session.rewind(0)
    with pytest.raises(ModelDamaged, match="cannot be run"):
        session.forward([TINY.vocab_size])
    assert session.length == 0


def test_a_rewind_beyond_the_length_is_refused(session: OnnxSession) -> None:
    session.rewind(0)
    with pytest.raises(ValueError, match="cannot rewind to 3 of 0"):
        session.rewind(3)


def test_each_file_that_is_no_model_is_a_one_line_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = graph.build_gpt2(tiny_weights(), TINY)
    without_shape, wrong_shape, deeper = (onnx.load_from_string(good) for _ in range(3))
    del without_shape.metadata_props[:]
    for model, shape in ((wrong_shape, {"vocab_size": "x", "layers": 2}), (deeper, asdict(replace(TINY, n_layer=3)))):
        onnx.helper.set_model_props(model, {SHAPE_KEY: json.dumps(shape)})
    cases = {"empty": b"", "noise": b"\x08\x99 not a model" * 99, "cut": good[: len(good) // 2]}
    cases |= {"without_shape": without_shape.SerializeToString(), "wrong_shape": wrong_shape.SerializeToString()}
    cases |= {"deeper": deeper.SerializeToString()}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelDamaged, match=name) as caught:
            OnnxSession(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelNotFound, match="nowhere"):
        OnnxSession(tmp_path / "nowhere")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("newer", ["opset", "version", "operator"])
def test_a_graph_for_a_newer_onnxruntime_is_a_one_line_error(newer: str) -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY))
    if newer == "opset":
        model.opset_import[0].version = 999
    elif newer == "version":
        model.ir_version = 999
    else:
        next(node for node in model.graph.node if node.op_type == "FastGelu").op_type = "FasterGelu"
    with pytest.raises(ModelDamaged, match=r"^the model: made for a newer onnxruntime than \d") as caught:
        OnnxSession(model.SerializeToString(), threads=1)
    assert "\n" not in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)


def test_external_weights_are_loaded_and_missed(tmp_path: Path, reference: NDArray[np.float64]) -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY, "float32"))
    path, data_path = tmp_path / "model.onnx", tmp_path / "model.data"
    onnx.save_model(model, path, save_as_external_data=True, location=data_path.name, size_threshold=64)
    assert max_difference(OnnxSession(path, threads=1).forward(IDS[:9]), reference[8]) < CLOSE
    weights = data_path.read_bytes()
    for remaining in (weights[: len(weights) // 2], None):
        data_path.unlink()
        if remaining is not None:
            data_path.write_bytes(remaining)
        with pytest.raises(ModelDamaged, match=r"beyond the \d+,\d+ bytes of model\.data|No such file") as caught:
            OnnxSession(path, threads=1)
        assert "\n" not in str(caught.value)


def test_inputs_and_outputs_of_any_graph_are_listed() -> None:
    onnx_model = OnnxModel(graph.build_gpt2(tiny_weights(), TINY), threads=1)
    assert onnx_model.inputs["past_key_0"].dims == ("B", TINY.n_head, "T", TINY.head_size)
    dtypes = [onnx_model.inputs[name].dtype for name in ("past_key_0", "input_ids", "total_seq")]
    assert dtypes == [np.float32, np.int64, np.int32]
    assert onnx_model.outputs["logits"].dims == (1, "N", TINY.vocab_size)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_positions": 2**52},
        {"n_positions": 2**31 - 1},
        {"n_positions": TINY.n_positions + 1},
        {"n_positions": TINY.n_positions - 1},
        {"n_head": TINY.n_head * 2},
        {"n_embd": TINY.n_embd * 2},
        {"vocab_size": TINY.vocab_size + 1},
        {"n_layer": 100_000_000},
        {"n_layer": 10**4000},
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_a_cache_is_made(sizes: dict[str, int]) -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {SHAPE_KEY: json.dumps(asdict(TINY) | sizes)})
    with pytest.raises(ModelDamaged, match="fetch it again") as caught:
        OnnxSession(model.SerializeToString(), threads=1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_too_little_memory_for_a_cache_is_a_one_line_error() -> None:
    model = OnnxModel(graph.build_gpt2(tiny_weights(), TINY), threads=1)
    with pytest.raises(EngineFailed, match="too little memory for the model: free some") as caught:
        model.allocate_zeros((2**40, 2**10), np.dtype(np.float32))
    assert "\n" not in str(caught.value)


def test_the_session_keeps_the_memory_of_its_cache_alive() -> None:
    """Some versions of onnxruntime do not keep bound memory alive."""
    session = OnnxSession(graph.build_gpt2(tiny_weights(), TINY, "float32"), threads=1)
    session.forward(IDS[:5])
    assert len(session._cache) == 2 * TINY.n_layer
    for memory, value in session._cache:
        assert value.data_ptr() == memory.ctypes.data
        assert memory[:, :, :5].all()
        assert not memory[:, :, 5:].any()


def test_the_session_has_the_shape_and_the_context_of_its_graph(session: OnnxSession) -> None:
    assert session.shape == TINY
    assert session.context == TINY.n_positions


def test_one_layer_and_one_head_are_enough() -> None:
    shape = replace(TINY, n_layer=1, n_head=1, n_embd=16)
    weights = tiny_weights(shape)
    session = OnnxSession(graph.build_gpt2(weights, shape, "float32"), threads=2)
    assert max_difference(session.forward(IDS), reference_gpt2.logits(weights, IDS, 1)[-1]) < CLOSE


def test_running_a_model_loads_neither_onnx_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(graph.build_gpt2(tiny_weights(), TINY))
    program = f"""
import sys, pathlib
from model.onnx.session import OnnxSession
OnnxSession(pathlib.Path({str(tmp_path / "m.onnx")!r})).forward([1, 2])
print(*sorted({{"onnx", "torch", "safetensors", "transformers", "google.protobuf"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")
