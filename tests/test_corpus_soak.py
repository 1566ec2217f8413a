"""A million messages through `asr33 corpus add` in a process of its own: memory stays bounded."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from test_corpus_command import ROOT, slack_export

from tools.corpus import storage

pytestmark = pytest.mark.soak

MAX_MB = 500


def test_a_million_messages_take_less_than_500_mb_and_show_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR33_CORPORA", str(tmp_path / "corpora"))
    path = slack_export(tmp_path / "million.zip", 1_000_000, days=500)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    words = [sys.executable, "-m", "tools.main", "corpus", "add", str(path), "--name", "million"]
    process = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert before < MAX_MB
    assert after < MAX_MB
    assert "1,000,000 records" in process.stdout
    assert "records, " in process.stderr
    assert " a second" in process.stderr
    assert storage.read_metadata("million").records == 1_000_000
