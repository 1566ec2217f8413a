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

TIMES = startup_time.StartupTimes(
    {
        startup_time.ASK: [1.0, 3.0],
        startup_time.IMPORTS: [0.5, 1.0],
        startup_time.HELP: [0.2] * 2,
        startup_time.BARE_PYTHON: [0.1] * 2,
    }
)


def test_ratios_are_those_of_the_rounds() -> None:
    assert TIMES.ratios(startup_time.ASK, startup_time.IMPORTS) == [2.0, 3.0]
    shown = io.StringIO()
    startup_time.print_startup_times(TIMES, shown)
    assert "asr33 ask 2.000 s, its imports 0.750 s: 2.50 [2.00-3.00]" in shown.getvalue()


def test_a_process_is_timed_to_its_first_byte_or_to_its_end() -> None:
    slow_end = "import time; print('a', flush=True); time.sleep(60)"
    assert startup_time.time_to_first_byte([sys.executable, "-c", slow_end]) < 50
    assert startup_time.time_to_first_byte([sys.executable, "-c", "import time; time.sleep(.2)"]) > 0.2


def test_a_process_that_fails_is_no_figure() -> None:
    with pytest.raises(WorkerFailed, match="ended with 3"):
        startup_time.time_to_first_byte([sys.executable, "-c", "raise SystemExit(3)"])


def test_each_is_started_once_in_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--start", "--rounds", "1", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: len(times) for name, times in found["seconds"].items()} == dict.fromkeys(
        startup_time.build_commands("x"), 1
    )
    assert set(found["ratios"]) == {"asr33 ask / its imports", "asr33 --help / python -c pass"}


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--start", "--model", str(tmp_path / "none")]) == 66
    assert capsys.readouterr().err.count("\n") == 1
