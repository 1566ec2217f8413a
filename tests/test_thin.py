"""`pip install .` and nothing more, in a venv of its own, as on a Pi: what comes, what runs, and how large it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fakes_reciter
import fakes_room
import pytest
from fakes_reciter import RecitingServer
from fakes_room import until

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("daemon", "drivers", "model", "tools", "pyproject.toml", "README.md", "LICENSE")
MOST_KB = 45_000  # resident; a Pi Zero has 512 MB for everybody
HEAVY = {"numpy", "onnxruntime", "onnx", "tokenizers", "torch", "safetensors", "starlette", "uvicorn"}


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh venv. From a copy: setuptools builds in the tree that it is given."""
    folder = tmp_path_factory.mktemp("thin")
    tree = folder / "asr33"
    tree.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tree)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv/bin"
    report = folder / "report.json"
    words = [programs / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "--report", report, tree]
    subprocess.run(words, check=True, cwd=folder)
    return programs


@pytest.fixture
def reciter() -> Iterator[RecitingServer]:
    with fakes_reciter.start_reciting_server() as running:
        yield running


def test_every_wheel_is_pure_python(thin: Path) -> None:
    installed = json.loads((thin.parents[1] / "report.json").read_text())["install"]
    tags = {
        path.parent.name: [line.split(": ")[1] for line in path.read_text().splitlines() if line.startswith("Tag: ")]
        for path in (thin.parent / "lib").rglob("*.dist-info/WHEEL")
    }
    assert len(tags) > len(installed) > 10
    assert not {name: found for name, found in tags.items() if any(not tag.endswith("-none-any") for tag in found)}
    assert not list((thin.parent / "lib").rglob("*.so"))


def test_no_engine_comes_with_it(thin: Path) -> None:
    installed = json.loads((thin.parents[1] / "report.json").read_text())["install"]
    assert not {item["metadata"]["name"].lower() for item in installed} & HEAVY


def test_a_bare_help_is_had(thin: Path) -> None:
    done = subprocess.run([thin / "asr33", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run" in done.stdout


def test_an_engine_that_is_not_there_is_one_line(thin: Path) -> None:
    done = subprocess.run([thin / "asr33", "ask", "The"], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    assert "pip install '.[cpu]'" in done.stderr


def resident(process: subprocess.Popen[bytes]) -> dict[str, int]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "Vm" in name}


def test_a_server_is_printed_through_a_virtual_machine_in_little_memory(
    thin: Path, reciter: RecitingServer, tmp_path: Path
) -> None:
    with fakes_room.opened(tmp_path) as room:
        room.program = [str(thin / "asr33")]
        machine = room.machine("--fast")
        daemon = room.daemon("--model", reciter.url, "--fast")
        assert machine.stdin is not None
        for turn in range(1, 4):
            machine.stdin.write(b"WHAT DO YOU SEE\n")
            machine.stdin.flush()
            until(lambda turn=turn: room.paper().count("LIQUOR JUGS.") == turn and room.paper().endswith("READY\n"))
        used = resident(daemon)
    sys.stderr.write(f"asr33 run --model URL: VmHWM {used['VmHWM']} kB, VmRSS {used['VmRSS']} kB\n")
    assert used["VmHWM"] <= MOST_KB
    assert reciter.requests[0].completion.prompt.endswith("What do you see")
    assert daemon.returncode == 0
