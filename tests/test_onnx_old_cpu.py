"""On x86 without VNNI, int8 sums saturate unless an option forbids it: tested on an emulated CPU of 2013."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.build import graph, onnx_io
from model.build.quantise.quantise_model import QuantConfig, quantise_to_nearest
from model.interface import GPT2Config
from model.onnx.session import OnnxSession
from model.store import store

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[1]
SHAPE = GPT2Config(vocab_size=512, n_positions=64, n_embd=256, n_layer=2, n_head=4)
IDS = list(range(5, 45))
LOGITS = """
import sys, numpy
from pathlib import Path
from model.onnx import cpu
from model.onnx.session import OnnxSession
cpu.int8_saturates = lambda: True  # the emulator shows the /proc/cpuinfo of its host
numpy.save(sys.argv[2], OnnxSession(Path(sys.argv[1]), threads=1, device="cpu").forward_from(range(5, 45), 0))
"""


def test_an_int8_model_gives_the_same_logits_on_a_cpu_without_vnni(tmp_path: Path) -> None:
    if (emulator := shutil.which("qemu-x86_64")) is None or os.uname().machine != "x86_64":
        pytest.skip("no qemu-x86_64 here: apt-get install qemu-user")
    rng = np.random.default_rng(3)
    weights = {
        name: np.ones(size, np.float32)
        if len(size) == 1 and name.endswith(".weight")
        else rng.normal(0, 0.14, size).astype(np.float32)
        for name, size in graph.weight_shapes(SHAPE).items()
    }
    packed = quantise_to_nearest(weights, SHAPE, QuantConfig(8, 0, head_block=32))
    onnx_io.write_graph(tmp_path, weights, SHAPE, "float16", packed)
    onnx, logits_path = tmp_path / store.GRAPH_FILE, tmp_path / "logits.npy"
    subprocess.run(
        [emulator, "-cpu", "Haswell", os.path.realpath(sys.executable), "-c", LOGITS, str(onnx), str(logits_path)],
        check=True,
        capture_output=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    expected = OnnxSession(onnx, threads=1, device="cpu").forward_from(IDS, 0)
    # Another order of the sums changes the rounding; saturation would change a hundred times as much.
    assert float(np.abs(np.load(logits_path) - expected).mean()) < 0.01 * float(expected.std())
