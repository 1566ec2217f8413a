"""Of the room itself: nobody stays behind in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes_room import opened


def test_whoever_is_in_the_room_leaves_it_when_a_test_fails_there(tmp_path: Path) -> None:
    there: list[subprocess.Popen[bytes]] = []

    def failing() -> None:
        with opened(tmp_path) as room:
            there.extend([room.machine(), room.start("virtual", "--link", str(tmp_path / "other"))])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert [process.poll() is None for process in there] == [False, False]
