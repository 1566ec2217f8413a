"""`asr33 print` as a process, on a line that it opens and through a daemon."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for
from hypothesis import given
from hypothesis import strategies as st

from tools.cli.progress import ProgressLine, StageProgress
from tools.print import count_long_lines, end_with_newline, expand_tabs

TEXT = st.text(alphabet="ab\t\b\r\n ", max_size=60)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        yield sandbox


def test_a_text_is_printed_on_a_line_that_the_command_opens(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    (tmp_path / "a.txt").write_text("a\tb\nx" + "\b" + "X no end")
    assert sandbox.run_command(
        "print", "--fast", "--line", str(sandbox.link), str(tmp_path / "a.txt"), "-", stdin=b"and on"
    ) == (
        0,
        "",
    )
    wait_for(lambda: sandbox.paper_text().endswith("AND ON\n"))
    assert bytes(sandbox.strikes()).decode() == "\r\nA       B\r\nX NO END\rX\r\nAND ON\r\n"


def test_raw_text_is_cut_at_the_margin_with_a_message(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    art = "\n".join(["*" * 80, "OOO\rXXX", "/" * 73])
    code, message = sandbox.run_command("print", "--raw", "--fast", "--line", str(sandbox.link), stdin=art.encode())
    assert (code, message) == (0, "asr33: 2 lines are longer than 72 characters; the excess is cut off\n")
    wait_for(lambda: sandbox.paper_text().endswith("/\n"))
    assert bytes(sandbox.strikes()).decode() == f"\r\n{'*' * 72}\r\nOOO\rXXX\r\n{'/' * 72}\r\n"


def test_the_colours_of_ls_and_its_links_are_not_printed(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast")
    (tmp_path / "files" / "bin").mkdir(parents=True)
    (tmp_path / "files" / "run").touch(0o755)
    listing = ["ls", "-C", "--width=40", "--color=always", "--hyperlink=always", str(tmp_path / "files")]
    coloured = subprocess.run(
        listing, capture_output=True, check=True, env=os.environ | {"LC_ALL": "C", "TERM": "xterm"}
    )
    assert b"\x1b[" in coloured.stdout
    printing = ("print", "--fast", "--line", str(sandbox.link))
    assert sandbox.run_command(*printing, stdin=coloured.stdout) == (0, "")
    wait_for(lambda: sandbox.paper_text().endswith("RUN\n"))
    assert sandbox.paper_text() == "\nBIN  RUN\n"
    assert sandbox.run_command(*printing, "--raw", stdin=coloured.stdout) == (0, "")
    wait_for(lambda: sandbox.paper_text() == "\nBIN  RUN\n" * 2)


def test_a_text_is_printed_through_a_daemon_but_not_while_the_operator_types(sandbox: Sandbox) -> None:
    machine = sandbox.start_machine("--fast")
    sandbox.start_daemon("--fast")
    assert sandbox.run_command("print", stdin=b"hello, paper") == (0, "")
    wait_for(lambda: sandbox.paper_text().endswith("READY\nHELLO, PAPER\n\nREADY\n"))
    assert machine.stdin is not None
    machine.stdin.write(b"WHO")
    machine.stdin.flush()
    wait_for(lambda: sandbox.paper_text().endswith("WHO"))
    refused = sandbox.start("print", "--line", str(sandbox.link))  # before it reads standard input, which would be lost
    assert refused.wait(30) == 75
    assert refused.stderr is not None
    assert b"--wait" in refused.stderr.readline()
    waiting = sandbox.start("print", "--wait", "-")
    assert waiting.stdin is not None
    waiting.stdin.write(b"my turn")
    waiting.stdin.close()
    waiting.stdin = None
    assert waiting.stderr is not None
    assert b"waiting for a turn" in waiting.stderr.readline()
    machine.stdin.write(b"\x03")  # BREAK
    machine.stdin.flush()
    assert waiting.wait(30) == 0
    wait_for(lambda: sandbox.paper_text().endswith("MY TURN\n\nREADY\n"))


@pytest.mark.parametrize("through", ["own line", pytest.param("daemon", marks=pytest.mark.soak)])
def test_ctrl_c_stops_within_two_characters_at_a_clean_margin(sandbox: Sandbox, through: str) -> None:
    sandbox.start_machine()
    if through == "daemon":
        sandbox.start_daemon()
    before = len(sandbox.strikes()) if sandbox.events.exists() else 0
    printing = sandbox.start("print", "--line", str(sandbox.link), "-")
    assert printing.stdin is not None
    printing.stdin.write(b"SO IT GOES ON AND ON, " * 20)
    printing.stdin.close()
    printing.stdin = None
    wait_for(lambda: len(sandbox.strikes()) > before + 12)
    printing.send_signal(signal.SIGINT)
    struck = len(sandbox.strikes())
    assert printing.wait(30) == 130
    assert printing.stderr is not None
    message = re.fullmatch(rb"asr33: stopped after (\d+) characters\n", printing.stderr.read())
    assert message
    assert int(message[1]) - (struck - before) <= 24  # the process gets the signal a little later
    after = "" if through == "own line" else "\nREADY\r\n"
    wait_for(lambda: bytes(sandbox.strikes()).decode().endswith("\r\n" + after))
    assert abs(len(sandbox.strikes()) - before - len("\r\n" + after) - int(message[1])) <= 2


def test_break_stops_the_command_with_a_message(sandbox: Sandbox) -> None:
    machine = sandbox.start_machine()
    printing = sandbox.start("print", "--line", str(sandbox.link), "-")
    assert printing.stdin is not None
    assert machine.stdin is not None
    printing.stdin.write(b"SO IT GOES ON AND ON, " * 20)
    printing.stdin.close()
    printing.stdin = None
    wait_for(lambda: sandbox.events.exists() and len(sandbox.strikes()) > 6)
    machine.stdin.write(b"\x03")
    machine.stdin.flush()
    _, message = printing.communicate(timeout=30)
    assert printing.returncode == 130
    assert b"stopped by BREAK after " in message
    assert message.count(b"\n") == 1


def test_undecodable_and_missing_files_are_refused(sandbox: Sandbox) -> None:
    code, message = sandbox.run_command("print", "--line", "/dev/null", stdin=b"caf\xe9")
    assert (code, message.count("\n")) == (65, 1)
    code, message = sandbox.run_command("print", "--line", "/dev/null", "/nonexistent/x")
    assert (code, message) == (66, "asr33: /nonexistent/x: No such file or directory; name a file that can be read\n")
    code, message = sandbox.run_command("print", stdin=b"x")
    assert (code, message.count("\n")) == (78, 1)
    line = f"exec {sys.executable} -m tools.main print - --line /dev/null <&-"
    closed = subprocess.run(["sh", "-c", line], cwd=ROOT, env=sandbox.environ, capture_output=True, timeout=30)
    assert (closed.returncode, closed.stderr) == (66, b"asr33: no text: name a file, or pipe one in\n")


@given(TEXT, TEXT)
def test_tabs_become_blanks_and_all_else_is_unchanged(head: str, tail: str) -> None:
    whole = expand_tabs(head + tail)
    assert "\t" not in whole
    assert [char for char in whole if char != " "] == [char for char in head + tail if char not in "\t "]
    assert expand_tabs("a\n\tb") == "a\n        b"
    assert expand_tabs("x\bx\ty") == "x\bx       y"
    assert expand_tabs("e\u0301\ty") == "e\u0301       y"


def test_long_lines_are_counted_by_their_longest_pass() -> None:
    assert count_long_lines("a" * 72 + "   \r" + "b" * 72 + "\n" + "c" * 73, 72) == 1


def test_each_file_ends_with_a_newline() -> None:
    assert [end_with_newline(text) for text in ("", "a", "a\n")] == ["", "a\n", "a\n"]


@pytest.mark.parametrize(
    ("total", "text"),
    [(400, "100 of 400 characters, 30 s left"), (36_100, "100 of 36,100 characters, 1 h 0 min left")],
)
def test_progress_shows_the_time_left(total: int, text: str) -> None:
    times = iter([0.0, 0.0, 10.0, 10.0])
    stream = io.StringIO()
    line = ProgressLine(stream=stream, clock=lambda: next(times))
    progress = StageProgress(line, "characters", clock=lambda: next(times))
    progress.update("print", 100, total)
    assert stream.getvalue() == f"asr33: {text}\n"


def test_progress_without_an_interval_writes_nothing_to_a_file() -> None:
    times = iter(range(0, 100, 20))
    stream = io.StringIO()
    with ProgressLine(stream=stream, line_interval_s=None, clock=lambda: float(next(times))) as line:
        StageProgress(line, "characters", clock=lambda: float(next(times))).update("print", 100, 400)
    assert stream.getvalue() == ""
