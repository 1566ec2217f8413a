"""The whole path: a base, two hundred steps on manuals, a kill and a resumed run, and text on a virtual Teletype."""

# ruff: noqa: E402  torch may be missing

import lzma
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.soak]

from safetensors.torch import load_file

from model.store import store
from tools.train import checkpoint

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared" / "corpus"
SIZE = ("--vocabulary", 2048, "--context", 128, "--width", 128, "--layers", 3, "--heads", 4)
PROSE = 2_000_000  # characters of books to train the base on
MANUALS = re.compile(r"TELETYPE|MACHINE|MODEL|PAPER|PRINT|TYPE|UNIT|LEVER|SHAFT|TAPE|CARRIAGE|SPRING|CLUTCH|LINE")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not CORPUS.is_dir():
        pytest.skip("no corpus beside the repository")
    monkeypatch.setenv("ASR33_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def asr33(*words: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tools.main", *map(str, words)]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_asr33(*words: object) -> str:
    process = asr33(*words)
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err
    return out


def test_a_model_of_manuals_prints_on_a_virtual_teletype(home: Path, tmp_path: Path) -> None:
    books = tmp_path / "books.txt"
    books.write_text(lzma.decompress((CORPUS / "base.txt.xz").read_bytes()).decode("utf-8")[:PROSE], "utf-8")
    run_asr33("train", books, "--name", "small", "--steps", 300, "--batch", 8, "--copied", 0, *SIZE)

    words = ("train", CORPUS / "teletype.txt", "--base", "small", "--steps", 200, "--hold-out", "10%", "--batch", 8)
    out = run_asr33(*words, "--name", "whole", "--copied", 1000)
    whole = store.verify_model(home / "whole").training
    assert whole["bits_per_byte"] < whole["bits_per_byte_before"] - 0.2
    assert f"{whole['bits_per_byte_before']:.4f} before" in out
    assert whole["copied_percent"] < 5

    saved = home / ".training" / "parts" / "checkpoint.safetensors"
    process = asr33(*words, "--name", "parts", "--copied", 0, "--save-every", 1)
    until = time.monotonic() + 900
    while not saved.exists() or checkpoint.read_state(saved).step < 60:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (home / "parts").exists()
    assert checkpoint.read_state(saved).step < 200
    run_asr33(*words, "--name", "parts", "--copied", 0, "--save-every", 1)
    assert store.verify_model(home / "parts").training["bits_per_byte"] == whole["bits_per_byte"]
    first, second = (load_file(home / ".training" / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())

    paper = run_asr33("demo", "--fast", "--prompt", "THE TELETYPE", "--model", "whole", "--log", tmp_path / "log")
    assert paper == paper.upper()
    assert len(set(MANUALS.findall(paper))) >= 3, paper
