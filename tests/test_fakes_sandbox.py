"""The sandbox stops all its processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes_sandbox import open_sandbox


def test_all_processes_are_stopped_when_a_test_fails(tmp_path: Path) -> None:
    there: list[subprocess.Popen[bytes]] = []

    def failing() -> None:
        with open_sandbox(tmp_path) as sandbox:
            there.extend([sandbox.start_machine(), sandbox.start("virtual", "--link", str(tmp_path / "other"))])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert [process.poll() is None for process in there] == [False, False]
