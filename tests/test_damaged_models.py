"""Models from elsewhere: whatever is in their files, they work or give one line, in little memory and time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes_hf_graph import build_hf_graph
from fakes_model import TINY, tiny_folder, tiny_folder_with_data, tiny_tokenizer, tiny_weights, write_model
from safetensors.numpy import save_file

MEMORY_MIB = 300  # beyond what a whole model needs


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A model of each kind: one file, two files, of Hugging Face; weights of the hub in one file, and in two."""
    parent = tmp_path_factory.mktemp("models")
    write_model(parent / "hf", build_hf_graph(tiny_weights(), TINY, merged=True))
    return [
        tiny_folder(parent),
        tiny_folder_with_data(parent, "data"),
        parent / "hf",
        write_hub_folder(parent / "hub"),
        write_split_hub_folder(parent / "split"),
    ]


def write_hub_folder(folder: Path) -> Path:
    folder.mkdir()
    sizes = {"vocab_size": 300, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    (folder / "tokenizer.json").write_text(tiny_tokenizer().to_json())
    save_file(tiny_weights(), folder / "model.safetensors")
    return folder


def write_split_hub_folder(folder: Path) -> Path:
    write_hub_folder(folder)
    (folder / "model.safetensors").unlink()
    weights = tiny_weights()
    index = {name: "ab"[number % 2] + ".safetensors" for number, name in enumerate(weights)}
    for file in set(index.values()):
        save_file({name: weights[name] for name in weights if index[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def load_damaged(models: list[Path], first: int, count: int) -> list[str]:
    """Runs a process with little memory that loads `count` damaged models. Returns its lines."""
    folder = Path(__file__).parent
    program = [sys.executable, "-X", "faulthandler", str(folder / "fakes_damaged_models.py")]
    environment = os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, *map(str, models), str(first), str(count), str(MEMORY_MIB)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60 + count,
    )
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, (last, done.stderr[-3000:])
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == count
    return lines


def test_five_hundred_damaged_models_work_or_give_one_line(models: list[Path]) -> None:
    lines = load_damaged(models, 0, 500)
    assert sum(line.endswith(": ") for line in lines) > 5  # a damage that harms nothing
    assert sum("; fetch it again" in line for line in lines) > 100


@pytest.mark.soak
def test_twenty_thousand_damaged_models_work_or_give_one_line(models: list[Path]) -> None:
    load_damaged(models, 1_000_000, 20_000)


PROGRAM = """
import contextlib, io, json, os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2)
from tools.main import main
for folder in map(json.loads, sys.stdin):
    os.environ["ASR33_MODELS"] = os.path.dirname(folder)
    messages = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(messages):
        code = main(["model", "make", folder, "--name", "made"])
    print(json.dumps([code, messages.getvalue()]), flush=True)
"""
MakeCommand = Callable[[Path], str]


@pytest.fixture(scope="module")
def make_from() -> Iterator[MakeCommand]:
    """Runs `asr33 model make` on models, one after the other, in a process with little memory.

    The function returns the one line of the command; the exit code is 65.
    """
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def make(folder: Path) -> str:
            limit = threading.Timer(60, process.kill)
            limit.start()
            process.stdin.write(json.dumps(str(folder)) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
            limit.cancel()
            assert reply, f"the process ended: {process.wait()}"
            code, messages = json.loads(reply)
            assert code == 65, messages
            lines = [line for line in messages.splitlines() if line.startswith("asr33: ")]
            assert len(lines) == 1, messages
            assert "Traceback" not in messages
            return lines[0]

        yield make
        process.stdin.close()
        assert process.wait(60) == 0


HOSTILE_SIZES = {
    "n_layer": 100_000_000,
    "n_positions": 2**31 - 1,
    "vocab_size": 2**40,
    "n_embd": 2**20,
    "n_head": 10**12,
}


@pytest.mark.parametrize("name", [*HOSTILE_SIZES, "all"])
@pytest.mark.parametrize("kind", ["hub", "tiny"])
def test_sizes_without_weights_take_no_memory(
    name: str, kind: str, models: list[Path], tmp_path: Path, make_from: MakeCommand
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(next(model for model in models if model.name == kind), folder)
    path = folder / ("config.json" if kind == "hub" else "manifest.json")
    data = json.loads(path.read_text())
    (data if kind == "hub" else data["shape"]).update(HOSTILE_SIZES if name == "all" else {name: HOSTILE_SIZES[name]})
    path.write_text(json.dumps(data))
    assert "fetch it again" in make_from(folder)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.safetensors.index.json", b'{"weight_map": {}}'),
        ("model.safetensors.index.json", b"{}"),
        ("model.safetensors.index.json", b""),
        ("model.safetensors.index.json", b'{"weight_map": {"wte.weight": "../model.safetensors"}}'),
        ("model.safetensors.index.json", b'{"weight_map": {"wte.weight": ".."}}'),
        ("model.safetensors.index.json", b'{"weight_map": {"wte.weight": ""}}'),
        ("model.safetensors.index.json", b'{"weight_map": {"wte.weight": {"a": 1}}}'),
        ("config.json", b"{}"),
        ("config.json", b""),
        ("config.json", b"[" * 100_000),
        ("config.json", b" " * (5 << 20)),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b" " * (65 << 20)),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 8 + b"{}"),
        ("model.safetensors", (100 << 20).to_bytes(8, "little") + b"{}"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"{}"),
    ],
)
def test_an_empty_or_enormous_file_of_the_hub_is_one_line(
    name: str, data: bytes, models: list[Path], tmp_path: Path, make_from: MakeCommand
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(next(model for model in models if model.name == "hub"), folder)
    (folder / name).write_bytes(data)
    assert name in make_from(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_fifo_among_the_files_of_the_hub_stalls_nothing(name: str, models: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(next(model for model in models if model.name == ("split" if "index" in name else "hub")), folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", "model", "make", str(folder), "--name", "made"],
        capture_output=True,
        text=True,
        env=os.environ | {"ASR33_MODELS": str(tmp_path)},
        timeout=60,
        cwd=root,
    )
    assert done.returncode in (65, 66)
    assert "Traceback" not in done.stderr


def test_a_header_of_numbers_that_are_not_there_is_refused(tmp_path: Path, make_from: MakeCommand) -> None:
    folder = write_hub_folder(tmp_path / "hub")
    header = {"wte.weight": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert "model.safetensors" in make_from(folder)
    save_file({"wte.weight": np.zeros((300, 32), np.float32)}, folder / "model.safetensors")
    assert "the weight wpe.weight is missing" in make_from(folder)
