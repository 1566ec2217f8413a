"""`asr33 bench` as a program, with workers that run, die, or are not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_gpt2
from fakes_model import tiny_folder

from model.interface import GPT2Config
from tools.bench import shared_weights
from tools.bench.candidates import REFERENCE, SIZES, Candidate
from tools.bench.errors import PeerNotInstalled, WorkerFailed
from tools.bench.run import BenchSettings, make_weights, prepare_models
from tools.bench.worker_client import open_worker

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "tools.main", "bench"]
# Where ctranslate2 and llama-cpp-python live, if not here: they are large, and no part of the tests' own environment.
PYTHON = Path(os.environ["PEER_PYTHON"]) if "PEER_PYTHON" in os.environ else None
SHAPE = GPT2Config(512, 64, 64, 2, 2)
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35]

Done = subprocess.CompletedProcess[str]


def run_bench(*words: str | Path, tmp: Path) -> Done:
    settings = os.environ | {"TMPDIR": str(tmp)}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=ROOT, env=settings, timeout=120)


def processes_with_tmpdir(tmp: Path) -> list[int]:
    """The processes that were given this place for their temporary files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={tmp}\0" in path.read_text("utf-8", "replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def files_left(tmp: Path) -> list[Path]:
    """Files of ours; onnxruntime leaves a small one of its own, `.ses`."""
    return [path for path in tmp.iterdir() if path.name != ".ses"]


def has_exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Any) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "weights"
    make_weights(SHAPE, 33, folder)
    return folder


def test_the_whole_of_it_gives_every_number_as_json_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_bench("--size", "tiny", "--rounds", "1", "--only", "b64,float32", "--json", "-", tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert {one["name"] for one in data["candidates"]} == {"ours int8 b64", "ours float32"}
    for one in data["candidates"]:
        (visit,) = one["visits"]
        assert set(visit["first_s"]) == {"32", "128"}  # longer ones do not fit its context
        assert min(visit["load_s"], visit["decode_per_s"], *visit["first_s"].values()) > 0
        assert 10e6 < visit["resident_bytes"] <= visit["peak_bytes"]
        assert one["fault"] == ""
    eight, judge = sorted(data["candidates"], key=lambda one: one["name"], reverse=True)
    assert eight["step_bytes"] < judge["step_bytes"] / 3
    assert judge["quality"]["divergence"] == 0 < eight["quality"]["divergence"] < 0.05
    assert not files_left(tmp_path)
    assert not processes_with_tmpdir(tmp_path)


def test_a_model_on_disk_is_measured_as_it_lies_there(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "models")
    place = tmp_path / "out.json"
    words = ("--model", folder, "--rounds", "1", "--prompts", "16,32", "--tokens", "8", "--json", place)
    done = run_bench(*words, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: ")
    assert "characters a token, on the model's own tokenizer" in done.stdout
    (one,) = json.loads(place.read_text())["candidates"]
    assert (one["name"], set(one["visits"][0]["first_s"])) == ("ours tiny", {"16", "32"})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_files_and_no_workers(tmp_path: Path, signum: signal.Signals) -> None:
    settings = os.environ | {"TMPDIR": str(tmp_path)}
    command = [*COMMAND, "--size", "124M"]
    # In a group of its own, all of which gets the signal, as a terminal's foreground does.
    apart: dict[str, Any] = {"start_new_session": True, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=settings, **apart) as process:
        wait_until(lambda: list(tmp_path.glob("*/weights/*.npy")))
        assert len(processes_with_tmpdir(tmp_path)) > 1
        os.killpg(process.pid, signum)
        assert process.wait(30) == 128 + signum
        assert process.stderr is not None
        assert [line for line in process.stderr.read().splitlines() if "making weights" not in line] == []
    wait_until(lambda: all(map(has_exited, processes_with_tmpdir(tmp_path))))
    assert not files_left(tmp_path)


def test_a_worker_ends_with_its_asker() -> None:
    code = "import sys, time\nfrom tools.bench.worker_client import worker\n"
    code += "with worker('x') as one: one.ask('memory'); print(one.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        assert not has_exited(pid)
        asker.kill()
    wait_until(lambda: has_exited(pid))


def test_a_worker_that_dies_is_one_clear_line() -> None:
    with open_worker("ours int8") as one:
        one.ask("memory")
        os.kill(one.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed) as caught:
            one.ask("load", engine_name="ours", folder="/nowhere", form="int8", threads=1)
    assert str(caught.value) == (
        "ours int8: its process was killed by SIGKILL while it loaded its model; "
        "it may want more memory: try a smaller --size"
    )


def test_a_worker_that_cannot_says_why_and_lives() -> None:
    with open_worker("ours int8") as one:
        with pytest.raises(WorkerFailed, match=r"^ours int8: .*nowhere.*model\.onnx: no such file; [^\n]*$"):
            one.ask("load", engine_name="ours", folder="/nowhere", form="int8", threads=1)
        assert one.ask("memory")["resident"] > 0


def test_what_a_library_prints_is_no_answer() -> None:
    code = "import os\nfrom tools.bench import worker\n"
    code += "worker.Worker.memory = lambda self: {'resident': os.write(1, b'a word of its own')}\nworker.main()"
    asked = subprocess.run(
        [sys.executable, "-c", code], input='{"do": "memory"}\n', capture_output=True, text=True, cwd=ROOT, timeout=30
    )
    assert (asked.stdout, asked.stderr) == ('{"resident": 17}\n', "a word of its own")


def test_a_library_that_is_not_there_is_named() -> None:
    code = "import sys\nsys.modules['ctranslate2'] = None\nfrom tools.bench.worker import main\nmain()"
    question = {"do": "load", "engine_name": "ctranslate2", "folder": "/nowhere", "form": "int8", "threads": 1}
    asked = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(question) + "\n", capture_output=True, text=True, cwd=ROOT
    )
    assert json.loads(asked.stdout) == {"absent": "ctranslate2"}


def test_a_peer_whose_python_dies_is_left_out_and_the_rest_is_prepared(weights: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nkill -9 $$\n")
    python.chmod(0o755)
    setting = BenchSettings(threads=1, prompts=(8,), decode_tokens=8, prompt_ids=tuple(IDS), peer_pythons=(python,))
    peer = Candidate("llama.cpp", "f16", "float")
    prepared = prepare_models([peer, REFERENCE], SHAPE, weights, setting, lambda what, parts=0: None)
    left_out, judge = prepared.results
    assert left_out.fault == (
        "llama.cpp f16: its process was killed by SIGKILL while it wrote its model (out of luck); "
        "it may want more memory: try a smaller --size"
    )
    assert (judge.fault, prepared.folders[REFERENCE.name].name) == ("", "ours-float32")


def test_a_python_that_is_none_is_one_line(tmp_path: Path) -> None:
    nowhere = pytest.raises(WorkerFailed, match=r"/nowhere/python: No such file .*--peer-python")
    with nowhere, open_worker("x", Path("/nowhere/python")):
        pass


def test_a_text_that_fills_no_window_is_read_as_often_as_it_takes(tmp_path: Path) -> None:
    folder, text = tiny_folder(tmp_path / "models"), tmp_path / "short.txt"
    text.write_text("Hello.\n")
    args = ("--model", folder, "--text", text, "--rounds", "1", "--prompts", "64", "--tokens", "4")
    done = run_bench(*args, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    text.write_text(" \n")
    done = run_bench(*args, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr == f"asr33: {text}: there is no text in it; name one that has words\n"


def test_what_stands_beside_must_be_of_the_same_shape(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "models")
    done = run_bench("--size", "tiny", "--also", folder, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"asr33: {folder}: its shape is not that of the others")


def test_nothing_to_measure_is_one_line(tmp_path: Path) -> None:
    done = run_bench("--size", "tiny", "--only", "nobody", tmp=tmp_path)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.splitlines()[-1] == "asr33: nothing to measure: --only fits no name"


@pytest.mark.parametrize(
    ("engine", "form", "off"),
    [
        ("ours", "float32", 1e-4),
        ("ctranslate2", "float32", 1e-4),
        ("llama.cpp", "f16", 0.05),
        pytest.param("transformers", "float32", 1e-4, marks=[pytest.mark.train, pytest.mark.soak]),
    ],
)
def test_each_engine_runs_the_same_model(weights: Path, tmp_path: Path, engine: str, form: str, off: float) -> None:
    python = None if engine in ("ours", "transformers") else PYTHON
    try:
        with open_worker(engine, python) as one:
            one.ask("prepare", engine_name=engine, weights=str(weights), form=form, block=0, to=str(tmp_path))
            one.ask("load", engine_name=engine, folder=str(tmp_path), form=form, threads=1)
            one.ask("logits", ids=IDS, to=str(tmp_path / "logits.npy"))
            assert one.ask("first", ids=IDS)["seconds"] > 0
            assert one.ask("decode", ids=IDS, tokens=5)["seconds"] > 0
            # And once more: a cache that is not emptied shows itself here.
            one.ask("logits", ids=IDS, to=str(tmp_path / "again.npy"))
    except PeerNotInstalled as error:
        pytest.skip(f"{error}; name the Python of an environment that has it: PEER_PYTHON=...")
    values, shape = shared_weights.load_weights(weights)
    wanted = reference_gpt2.logits(values, IDS, shape.n_head)
    for name in ("logits", "again"):
        assert np.abs(np.load(tmp_path / f"{name}.npy") - wanted).max() < off * np.abs(wanted).max()


def test_random_weights_are_those_of_their_seed(weights: Path, tmp_path: Path) -> None:
    tensors_again = tmp_path / "again"
    make_weights(SHAPE, 33, tensors_again)
    other = tmp_path / "other"
    make_weights(SHAPE, 34, other)
    names = [path.name for path in weights.glob("*.npy")]
    assert all((weights / name).read_bytes() == (tensors_again / name).read_bytes() for name in names)
    assert (weights / "wte.weight.npy").read_bytes() != (other / "wte.weight.npy").read_bytes()
    assert SIZES["124M"].parameters == 124_439_808
