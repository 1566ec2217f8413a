"""On x86 without VNNI sums of bytes overflow, unless onnxruntime is told: seen on an emulated processor of 2013."""

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
from model import cores
from model.onnx.session import Session
cores.overflows = lambda: True  # the emulator shows the /proc/cpuinfo of its host
numpy.save(sys.argv[2], Session(Path(sys.argv[1]), threads=1, provider="cpu").forward_from(range(5, 45), 0))
"""


def test_a_model_in_8_bit_says_the_same_on_a_processor_without_vnni(tmp_path: Path) -> None:
    if (emulator := shutil.which("qemu-x86_64")) is None or os.uname().machine != "x86_64":
        pytest.skip("no qemu-x86_64 here: apt-get install qemu-user")
    chance = np.random.default_rng(3)
    weights = {
        name: np.ones(size, np.float32)
        if len(size) == 1 and name.endswith(".weight")
        else chance.normal(0, 0.14, size).astype(np.float32)
        for name, size in graph.weight_shapes(SHAPE).items()
    }
    packed = quantise_to_nearest(weights, SHAPE, QuantConfig(8, 0, head_block=32))
    onnx_io.write_graph(tmp_path, weights, SHAPE, "float16", packed)
    onnx, found = tmp_path / store.GRAPH_FILE, tmp_path / "logits.npy"
    subprocess.run(
        [emulator, "-cpu", "Haswell", os.path.realpath(sys.executable), "-c", LOGITS, str(onnx), str(found)],
        check=True,
        capture_output=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    here = OnnxSession(onnx, threads=1, device="cpu").forward_from(IDS, 0)
    # Rounding may fall otherwise where the order of a sum differs; an overflow is a hundred times as much.
    assert float(np.abs(np.load(found) - here).mean()) < 0.01 * float(here.std())
