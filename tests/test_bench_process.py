"""`asr33 bench` as a process, with workers that run, die, or are missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
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
from tools.bench.measure import BenchSettings, make_weights, prepare_models
from tools.bench.worker_client import open_worker

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "tools.main", "bench"]
# The Python of an environment with ctranslate2 and llama-cpp-python, which are too large for the tests' own.
PYTHON = Path(os.environ["PEER_PYTHON"]) if "PEER_PYTHON" in os.environ else None
SHAPE = GPT2Config(512, 64, 64, 2, 2)
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35]


def run_bench(*words: str | Path, tmp: Path) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"TMPDIR": str(tmp)}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=ROOT, env=settings, timeout=120)


def processes_with_tmpdir(tmp: Path) -> list[int]:
    """Returns the processes with this folder for temporary files."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"TMPDIR={tmp}\0" in path.read_text("utf-8", "replace"):
                pids.append(int(path.parent.name))
    return pids


def files_left(tmp: Path) -> list[Path]:
    """Returns the files that asr33 left; onnxruntime leaves `.ses`."""
    return [path for path in tmp.iterdir() if path.name != ".ses"]


def has_exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "not within 30 seconds"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "weights"
    make_weights(SHAPE, 33, folder)
    return folder


def test_command_gives_all_figures_as_json_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_bench("--size", "tiny", "--rounds", "1", "--only", "b64,float32", "--json", "-", tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert {candidate["name"] for candidate in data["candidates"]} == {"ours int8 b64", "ours float32"}
    for candidate in data["candidates"]:
        (visit,) = candidate["visits"]
        assert set(visit["first_s"]) == {"32", "128"}  # longer prompts do not fit its context
        assert min(visit["load_s"], visit["decode_per_s"], *visit["first_s"].values()) > 0
        assert 10e6 < visit["resident_bytes"] <= visit["peak_bytes"]
        assert candidate["fault"] == ""
    int8, reference = sorted(data["candidates"], key=lambda candidate: candidate["name"], reverse=True)
    assert int8["step_bytes"] < reference["step_bytes"] / 3
    assert reference["quality"]["divergence"] == 0 < int8["quality"]["divergence"] < 0.05
    assert not files_left(tmp_path)
    assert not processes_with_tmpdir(tmp_path)


def test_stored_model_is_measured_as_it_is(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "models")
    place = tmp_path / "out.json"
    words = ("--model", folder, "--rounds", "1", "--prompts", "16,32", "--tokens", "8", "--json", place)
    done = run_bench(*words, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: ")
    assert "characters per token, with the model's own tokenizer" in done.stdout
    (candidate,) = json.loads(place.read_text())["candidates"]
    assert (candidate["name"], set(candidate["visits"][0]["first_s"])) == ("ours tiny", {"16", "32"})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_no_files_and_no_workers(tmp_path: Path, signum: signal.Signals) -> None:
    settings = os.environ | {"TMPDIR": str(tmp_path)}
    # The whole process group gets the signal, as from a terminal.
    options: dict[str, Any] = {"start_new_session": True, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, "--size", "124M"], cwd=ROOT, env=settings, **options) as process:
        wait_until(lambda: list(tmp_path.glob("*/weights/*.npy")))
        assert len(processes_with_tmpdir(tmp_path)) > 1
        os.killpg(process.pid, signum)
        assert process.wait(30) == 128 + signum
        assert process.stderr is not None
        assert [line for line in process.stderr.read().splitlines() if "making weights" not in line] == []
    wait_until(lambda: all(map(has_exited, processes_with_tmpdir(tmp_path))))
    assert not files_left(tmp_path)


def test_worker_ends_with_its_client() -> None:
    code = "import sys, time\nfrom tools.bench.worker_client import open_worker\n"
    code += "with open_worker('x') as worker: worker.ask('memory'); print(worker.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        assert not has_exited(pid)
        client.kill()
    wait_until(lambda: has_exited(pid))


def test_killed_worker_is_reported_in_one_line() -> None:
    with open_worker("ours int8") as worker:
        worker.ask("memory")
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed) as caught:
            worker.ask("load", engine_name="ours", folder="/nowhere", form="int8", threads=1)
    assert str(caught.value) == (
        "ours int8: its process was killed by SIGKILL while it loaded its model; "
        "it may want more memory: try a smaller --size"
    )


def test_failed_operation_is_reported_and_the_worker_lives() -> None:
    with open_worker("ours int8") as worker:
        with pytest.raises(WorkerFailed, match=r"^ours int8: .*nowhere.*model\.onnx: no such file; [^\n]*$"):
            worker.ask("load", engine_name="ours", folder="/nowhere", form="int8", threads=1)
        assert worker.ask("memory")["resident"] > 0


def run_worker(code: str, request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    line = json.dumps(request) + "\n"
    return subprocess.run(
        [sys.executable, "-c", code], input=line, capture_output=True, text=True, cwd=ROOT, timeout=30
    )


def test_output_of_a_library_is_no_reply() -> None:
    code = "import os\nfrom tools.bench import worker\n"
    code += "worker.Worker.memory = lambda self: {'resident': os.write(1, b'a word of its own')}\nworker.main()"
    done = run_worker(code, {"do": "memory"})
    assert (done.stdout, done.stderr) == ('{"resident": 17}\n', "a word of its own")


def test_missing_library_is_named() -> None:
    code = "import sys\nsys.modules['ctranslate2'] = None\nfrom tools.bench.worker import main\nmain()"
    request = {"do": "load", "engine_name": "ctranslate2", "folder": "/nowhere", "form": "int8", "threads": 1}
    assert json.loads(run_worker(code, request).stdout) == {"absent": "ctranslate2"}


def test_peer_whose_python_dies_is_left_out(weights: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho out of luck >&2\nkill -9 $$\n")
    python.chmod(0o755)
    settings = BenchSettings(threads=1, prompts=(8,), decode_tokens=8, prompt_ids=tuple(IDS), peer_pythons=(python,))
    peer = Candidate("llama.cpp", "f16", "float")
    prepared = prepare_models([peer, REFERENCE], SHAPE, weights, settings, lambda what, parts=0: None)
    omitted, reference = prepared.results
    assert omitted.fault == (
        "llama.cpp f16: its process was killed by SIGKILL while it wrote its model (out of luck); "
        "it may want more memory: try a smaller --size"
    )
    assert (reference.fault, prepared.folders[REFERENCE.name].name) == ("", "ours-float32")


def test_missing_python_is_reported_in_one_line() -> None:
    refused = pytest.raises(WorkerFailed, match=r"/nowhere/python: No such file .*--peer-python")
    with refused, open_worker("x", Path("/nowhere/python")):
        pass


def test_short_text_is_repeated_and_an_empty_one_refused(tmp_path: Path) -> None:
    folder, text = tiny_folder(tmp_path / "models"), tmp_path / "short.txt"
    text.write_text("Hello.\n")
    args = ("--model", folder, "--text", text, "--rounds", "1", "--prompts", "64", "--tokens", "4")
    done = run_bench(*args, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    text.write_text(" \n")
    done = run_bench(*args, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr == f"asr33: {text}: there is no text in it; name one that has words\n"


def test_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "models")
    done = run_bench("--size", "tiny", "--also", folder, tmp=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith(f"asr33: {folder}: its shape is not that of the others")


def test_nothing_to_measure_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run_bench("--size", "tiny", "--only", "no-such-name", tmp=tmp_path)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.splitlines()[-1] == "asr33: nothing to measure: --only fits no name"


@pytest.mark.parametrize(
    ("engine", "form", "tolerance"),
    [
        ("ours", "float32", 1e-4),
        ("ctranslate2", "float32", 1e-4),
        ("llama.cpp", "f16", 0.05),
        pytest.param("transformers", "float32", 1e-4, marks=[pytest.mark.train, pytest.mark.soak]),
    ],
)
def test_each_engine_computes_the_same_logits(
    weights: Path, tmp_path: Path, engine: str, form: str, tolerance: float
) -> None:
    python = None if engine in ("ours", "transformers") else PYTHON
    try:
        with open_worker(engine, python) as worker:
            worker.ask("prepare", engine_name=engine, weights=str(weights), form=form, block=0, to=str(tmp_path))
            worker.ask("load", engine_name=engine, folder=str(tmp_path), form=form, threads=1)
            worker.ask("logits", ids=IDS, to=str(tmp_path / "logits.npy"))
            assert worker.ask("first", ids=IDS)["seconds"] > 0
            assert worker.ask("decode", ids=IDS, tokens=5)["seconds"] > 0
            # A second time, because a cache that is not cleared would change the logits.
            worker.ask("logits", ids=IDS, to=str(tmp_path / "again.npy"))
    except PeerNotInstalled as error:
        pytest.skip(f"{error}; name the Python of an environment that has it: PEER_PYTHON=...")
    values, shape = shared_weights.load_weights(weights)
    expected = reference_gpt2.logits(values, IDS, shape.n_head)
    for name in ("logits", "again"):
        assert np.abs(np.load(tmp_path / f"{name}.npy") - expected).max() < tolerance * np.abs(expected).max()


def test_random_weights_depend_on_the_seed_alone(weights: Path, tmp_path: Path) -> None:
    again, reseeded = tmp_path / "again", tmp_path / "reseeded"
    make_weights(SHAPE, 33, again)
    make_weights(SHAPE, 34, reseeded)
    assert all(path.read_bytes() == (again / path.name).read_bytes() for path in weights.glob("*.npy"))
    assert (weights / "wte.weight.npy").read_bytes() != (reseeded / "wte.weight.npy").read_bytes()
    assert SIZES["124M"].parameters == 124_439_808
