"""`pip install .` without extras in a new venv, as on a Pi: the packages, the commands, the memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_reciting_server import RecitingServer, start_reciting_server
from fakes_sandbox import open_sandbox, wait_for

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("daemon", "drivers", "model", "systemd", "tools", "pyproject.toml", "README.md", "LICENSE")
MAX_RESIDENT_KB = 45_000  # a Pi Zero has 512 MB for all programs
HEAVY = {"numpy", "onnxruntime", "onnx", "tokenizers", "torch", "safetensors", "starlette", "uvicorn"}


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the bin folder of a new venv. Installs from a copy, as setuptools builds in the source tree."""
    folder = tmp_path_factory.mktemp("thin")
    tree = folder / "asr33"
    tree.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tree)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bin_folder = folder / "venv/bin"
    report = folder / "report.json"
    words = [bin_folder / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "--report", report, tree]
    subprocess.run(words, check=True, cwd=folder)
    return bin_folder


@pytest.fixture
def reciter() -> Iterator[RecitingServer]:
    with start_reciting_server() as server:
        yield server


def test_every_wheel_is_pure_python(thin: Path) -> None:
    installed = json.loads((thin.parents[1] / "report.json").read_text())["install"]
    tags = {
        path.parent.name: [line.split(": ")[1] for line in path.read_text().splitlines() if line.startswith("Tag: ")]
        for path in (thin.parent / "lib").rglob("*.dist-info/WHEEL")
    }
    assert len(tags) > len(installed) > 10
    assert all(tag.endswith("-none-any") for wheel_tags in tags.values() for tag in wheel_tags), tags
    assert not list((thin.parent / "lib").rglob("*.so"))


def test_no_engine_is_installed(thin: Path) -> None:
    installed = json.loads((thin.parents[1] / "report.json").read_text())["install"]
    assert not {item["metadata"]["name"].lower() for item in installed} & HEAVY


def test_help_works(thin: Path) -> None:
    done = subprocess.run([thin / "asr33", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run" in done.stdout


def test_a_missing_engine_is_reported_in_one_line(thin: Path) -> None:
    done = subprocess.run([thin / "asr33", "ask", "The"], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "pip install '.[cpu]'" in done.stderr


def memory_kb(process: subprocess.Popen[bytes]) -> dict[str, int]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "Vm" in name}


def test_a_servers_answer_is_printed_in_little_memory(thin: Path, reciter: RecitingServer, tmp_path: Path) -> None:
    with open_sandbox(tmp_path) as sandbox:
        sandbox.program = [str(thin / "asr33")]
        machine = sandbox.start_machine("--fast")
        daemon = sandbox.start_daemon("--model", reciter.url, "--fast")
        assert machine.stdin is not None
        for turn in range(1, 4):
            machine.stdin.write(b"WHAT DO YOU SEE\n")
            machine.stdin.flush()
            wait_for(lambda turn=turn: sandbox.paper_text().count("LIQUOR JUGS.") == turn)
            wait_for(lambda: sandbox.paper_text().endswith("READY\n"))
        memory = memory_kb(daemon)
    sys.stderr.write(f"asr33 run --model URL: VmHWM {memory['VmHWM']} kB, VmRSS {memory['VmRSS']} kB\n")
    assert memory["VmHWM"] <= MAX_RESIDENT_KB
    assert reciter.requests[0].completion.prompt.endswith("What do you see")
    assert daemon.returncode == 0
