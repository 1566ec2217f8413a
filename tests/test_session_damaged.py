"""What a session says of a file in which something is not as it was, and of a machine that is too small for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_model import TINY, tiny_weights

from model.build import graph, onnx_io
from model.errors import ModelDamaged
from model.onnx.session import OnnxSession


@pytest.mark.parametrize("damaged", [b"wpe.weight", b"GroupQueryAttention", b"input_ids", b"vocab_size"])
def test_a_name_in_the_file_that_is_no_text_any_more_is_one_line(
    damaged: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    flipped = graph.build_gpt2(tiny_weights(), TINY).replace(damaged, damaged[:2] + b"\xef" + damaged[3:], 1)
    with pytest.raises(ModelDamaged, match=r"cannot load it|newer onnxruntime") as caught:
        OnnxSession(flipped, threads=1)
    assert str(caught.value).isprintable()
    assert capfd.readouterr() == ("", "")


def test_no_name_in_a_file_says_a_word_to_the_terminal() -> None:
    flipped = graph.build_gpt2(tiny_weights(), TINY).replace(b"GroupQueryAttention", b"Group\x1b[2J\rAttention")
    with pytest.raises(ModelDamaged) as caught:
        OnnxSession(flipped, threads=1)
    assert str(caught.value).isprintable()


def test_where_onnxruntime_has_it_in_its_own_source_is_told_to_nobody(tmp_path: Path) -> None:
    onnx_io.write_graph(tmp_path, tiny_weights(), TINY)
    path = tmp_path / "model.data"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelDamaged, match=r"during initialization: External initializer: wpe\.weight") as caught:
        OnnxSession(tmp_path / "model.onnx", threads=1)
    assert not [word for word in ("onnxruntime_src", ".cc", "::", "ONNXRuntimeError") if word in str(caught.value)]


def test_too_little_memory_for_a_long_text_is_no_fault_of_the_file() -> None:
    program = """
import resource
from fakes_model import tiny_weights
from model import graph
from model.interface import Shape
from model.errors import EngineFailed
from model.onnx.session import Session
shape = Shape(30_000, 1024, 16, 1, 1)
session = Session(graph.build(tiny_weights(shape), shape), threads=1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (130 << 20),) * 2)  # its logits fit, but not twice
try:
    session.forward_from([1] * 1000, 0)
except EngineFailed as error:
    print(error, session.length)
"""
    folders = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
    environment = os.environ | {"PYTHONPATH": folders, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "the model: too little memory to run it; free some, or ask for less 0\n"
