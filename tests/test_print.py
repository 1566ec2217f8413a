"""`asr33 print`, to a machine of its own and through a daemon, as processes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_room import ROOT, Room, opened, until
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.terminal import format_progress
from tools.print import count_long_lines, end_with_newline, expand_tabs

TEXT = st.text(alphabet="ab\t\b\r\n ", max_size=60)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with opened(tmp_path) as room:
        yield room


def test_a_text_is_printed_on_a_line_of_its_own_opening(room: Room, tmp_path: Path) -> None:
    room.machine("--fast")
    (tmp_path / "a.txt").write_text("a\tb\nx" + "\b" + "X no end")
    assert room.ask("print", "--fast", "--line", str(room.link), str(tmp_path / "a.txt"), "-", stdin=b"and on") == (
        0,
        "",
    )
    until(lambda: room.paper().endswith("AND ON\n"))
    assert bytes(room.strikes()).decode() == "\r\nA       B\r\nX NO END\rX\r\nAND ON\r\n"


def test_art_is_cut_at_the_margin_with_a_word(room: Room, tmp_path: Path) -> None:
    room.machine("--fast")
    art = "\n".join(["*" * 80, "OOO\rXXX", "/" * 73])
    code, said = room.ask("print", "--raw", "--fast", "--line", str(room.link), stdin=art.encode())
    assert (code, said) == (0, "asr33: 2 lines are longer than 72 characters; what is beyond is cut off\n")
    until(lambda: room.paper().endswith("/\n"))
    assert bytes(room.strikes()).decode() == f"\r\n{'*' * 72}\r\nOOO\rXXX\r\n{'/' * 72}\r\n"


def test_through_a_daemon_and_not_while_somebody_types(room: Room) -> None:
    machine = room.machine("--fast")
    room.daemon("--fast")
    assert room.ask("print", stdin=b"hello, paper") == (0, "")
    until(lambda: room.paper().endswith("READY\nHELLO, PAPER\n\nREADY\n"))
    assert machine.stdin is not None
    machine.stdin.write(b"WHO")
    machine.stdin.flush()
    until(lambda: room.paper().endswith("WHO"))
    refused = room.start("print", "--line", str(room.link))  # before anything was piped in, that would be lost
    assert refused.wait(30) == 75
    assert refused.stderr is not None
    assert b"--wait" in refused.stderr.readline()
    waiting = room.start("print", "--wait", "-")
    assert waiting.stdin is not None
    waiting.stdin.write(b"my turn")
    waiting.stdin.close()
    waiting.stdin = None
    assert waiting.stderr is not None
    assert b"waiting for a turn" in waiting.stderr.readline()
    machine.stdin.write(b"\x03")  # BREAK
    machine.stdin.flush()
    assert waiting.wait(30) == 0
    until(lambda: room.paper().endswith("MY TURN\n\nREADY\n"))


@pytest.mark.parametrize("through", ["own line", pytest.param("daemon", marks=pytest.mark.soak)])
def test_ctrl_c_stops_within_two_characters_at_a_clean_margin(room: Room, through: str) -> None:
    room.machine()
    if through == "daemon":
        room.daemon()
    before = len(room.strikes()) if room.events.exists() else 0
    printing = room.start("print", "--line", str(room.link), "-")
    assert printing.stdin is not None
    printing.stdin.write(b"SO IT GOES ON AND ON, " * 20)
    printing.stdin.close()
    printing.stdin = None
    until(lambda: len(room.strikes()) > before + 12)
    printing.send_signal(signal.SIGINT)
    struck = len(room.strikes())
    assert printing.wait(30) == 130
    assert printing.stderr is not None
    said = re.fullmatch(rb"asr33: stopped after (\d+) characters\n", printing.stderr.read())
    assert said
    assert int(said[1]) - (struck - before) <= 24  # it hears of the signal when the computer comes to it
    after = "" if through == "own line" else "\nREADY\r\n"
    until(lambda: bytes(room.strikes()).decode().endswith("\r\n" + after))
    assert abs(len(room.strikes()) - before - len("\r\n" + after) - int(said[1])) <= 2


def test_a_break_ends_it_and_says_so(room: Room) -> None:
    machine = room.machine()
    printing = room.start("print", "--line", str(room.link), "-")
    assert printing.stdin is not None
    assert machine.stdin is not None
    printing.stdin.write(b"SO IT GOES ON AND ON, " * 20)
    printing.stdin.close()
    printing.stdin = None
    until(lambda: room.events.exists() and len(room.strikes()) > 6)
    machine.stdin.write(b"\x03")
    machine.stdin.flush()
    _, said = printing.communicate(timeout=30)
    assert printing.returncode == 130
    assert b"broken off by BREAK after " in said
    assert said.count(b"\n") == 1


def test_bytes_that_are_not_text_and_files_that_are_not_there(room: Room) -> None:
    code, said = room.ask("print", "--line", "/dev/null", stdin=b"caf\xe9")
    assert (code, said.count("\n")) == (65, 1)
    code, said = room.ask("print", "--line", "/dev/null", "/nonexistent/x")
    assert (code, said) == (66, "asr33: /nonexistent/x: No such file or directory; name a file that can be read\n")
    code, said = room.ask("print", stdin=b"x")
    assert (code, said.count("\n")) == (78, 1)
    line = f"exec {sys.executable} -m tools.main print - --line /dev/null <&-"
    closed = subprocess.run(["sh", "-c", line], cwd=ROOT, env=room.environ, capture_output=True, timeout=30)
    assert (closed.returncode, closed.stderr) == (66, b"asr33: no text: name a file, or pipe one in\n")


@given(TEXT, TEXT)
def test_no_tab_is_left_and_all_else_stays(head: str, tail: str) -> None:
    whole = expand_tabs(head + tail)
    assert "\t" not in whole
    assert [char for char in whole if char != " "] == [char for char in head + tail if char not in "\t "]
    assert expand_tabs("a\n\tb") == "a\n        b"
    assert expand_tabs("x\bx\ty") == "x\bx       y"
    assert expand_tabs("e\u0301\ty") == "e\u0301       y"


def test_lines_are_counted_pass_by_pass() -> None:
    assert count_long_lines("a" * 72 + "   \r" + "b" * 72 + "\n" + "c" * 73, 72) == 1


def test_two_files_do_not_share_a_line() -> None:
    assert [end_with_newline(text) for text in ("", "a", "a\n")] == ["", "a\n", "a\n"]


def test_progress_names_the_time_that_is_left() -> None:
    assert format_progress(100, 400, 10.0, "characters") == "100 of 400 characters, 30 s left"
    assert format_progress(100, 36_100, 10.0, "characters") == "100 of 36,100 characters, 60 min left"
