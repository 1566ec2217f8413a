"""`asr33 bench --start`: real processes, each timed to its first byte."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tools.bench import startup_time
from tools.bench.errors import WorkerFailed
from tools.main import main

ASK_SECONDS = {startup_time.ASK: [1.0, 3.0], startup_time.IMPORTS: [0.5, 1.0]}
HELP_SECONDS = {startup_time.HELP: [0.2] * 2, startup_time.BARE_PYTHON: [0.1] * 2}
TIMES = startup_time.StartupTimes(ASK_SECONDS | HELP_SECONDS)


def test_ratios_are_computed_for_each_round() -> None:
    assert TIMES.ratios(startup_time.ASK, startup_time.IMPORTS) == [2.0, 3.0]
    file = io.StringIO()
    startup_time.print_startup_times(TIMES, file)
    assert "asr33 ask 2.000 s, its imports 0.750 s: 2.50 [2.00-3.00]" in file.getvalue()


def test_process_is_timed_to_its_first_byte_or_its_end() -> None:
    never_ends = "import time; print('a', flush=True); time.sleep(60)"
    assert startup_time.time_to_first_byte([sys.executable, "-c", never_ends]) < 50
    assert startup_time.time_to_first_byte([sys.executable, "-c", "import time; time.sleep(.2)"]) > 0.2


def test_failed_process_raises() -> None:
    with pytest.raises(WorkerFailed, match="ended with 3"):
        startup_time.time_to_first_byte([sys.executable, "-c", "raise SystemExit(3)"])


def test_each_command_runs_once_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--start", "--rounds", "1", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [len(times) for times in report["seconds"].values()] == [1] * 4
    assert set(report["seconds"]) == set(startup_time.build_commands("x"))
    assert set(report["ratios"]) == {"asr33 ask / its imports", "asr33 --help / python -c pass"}


def test_missing_model_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--start", "--model", str(tmp_path / "none")]) == 66
    assert capsys.readouterr().err.count("\n") == 1
