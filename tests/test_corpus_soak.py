"""A million messages through `asr33 corpus add`, in a process of its own: memory stays under its bound."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from test_corpus_command import ROOT, slack_export

from tools.corpus import storage

pytestmark = pytest.mark.soak

MOST_MB = 500


def test_a_million_messages_take_less_than_500_mb_and_show_their_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    path = slack_export(tmp_path / "million.zip", 1_000_000, days=500)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    words = [sys.executable, "-m", "tools.main", "corpus", "add", str(path), "--name", "million"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert before < MOST_MB
    assert most < MOST_MB
    assert "1,000,000 records" in done.stdout
    assert "records, " in done.stderr
    assert " a second" in done.stderr
    assert storage.read_metadata("million").records == 1_000_000
