"""Error messages of a session for a damaged file, and for a machine with too little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes_model import TINY, tiny_weights

from model.build import graph
from model.errors import ModelDamaged
from model.onnx.session import OnnxSession


@pytest.mark.parametrize("damaged", [b"wpe.weight", b"GroupQueryAttention", b"input_ids", b"vocab_size"])
def test_a_damaged_name_in_the_graph_is_a_one_line_error(damaged: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    flipped = graph.build_gpt2(tiny_weights(), TINY).replace(damaged, damaged[:2] + b"\xef" + damaged[3:], 1)
    with pytest.raises(ModelDamaged, match=r"cannot load it|newer onnxruntime") as caught:
        OnnxSession(flipped, threads=1)
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")


def test_no_name_in_a_graph_reaches_the_terminal_as_control_characters() -> None:
    flipped = graph.build_gpt2(tiny_weights(), TINY).replace(b"GroupQueryAttention", b"Group\x1b[2J\rAttention")
    with pytest.raises(ModelDamaged) as caught:
        OnnxSession(flipped, threads=1)
    assert str(caught.value).isprintable()


def test_error_messages_hide_places_in_onnxruntimes_source() -> None:
    model = onnx.load_from_string(graph.build_gpt2(tiny_weights(), TINY))
    reshape = next(node for node in model.graph.node if node.op_type == "Reshape")
    sizes = next(tensor for tensor in model.graph.initializer if tensor.name == "head.rows")
    sizes.CopyFrom(onnx.numpy_helper.from_array(np.array([[-1, 5], [-1, 5]]), sizes.name))
    reshape.input[1] = sizes.name
    with pytest.raises(ModelDamaged, match="onnxruntime cannot load it") as caught:
        OnnxSession(model.SerializeToString(), threads=1)
    assert not [word for word in ("onnxruntime_src", ".cc", "::", "ONNXRuntimeError") if word in str(caught.value)]


def test_too_little_memory_for_a_long_text_is_not_reported_as_damage() -> None:
    program = """
import resource
from fakes_model import tiny_weights
from model.build import graph
from model.interface import GPT2Config
from model.errors import EngineFailed
from model.onnx.session import OnnxSession
shape = GPT2Config(30_000, 1024, 16, 1, 1)
session = OnnxSession(graph.build_gpt2(tiny_weights(shape), shape), threads=1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (130 << 20),) * 2)  # enough for its logits, but not for two copies
try:
    session.forward_from([1] * 1000, 0)
except EngineFailed as error:
    print(error, session.length)
"""
    folders = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
    environment = os.environ | {"PYTHONPATH": folders, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "the model: too little memory to run it; free some, or ask for less 0\n"
