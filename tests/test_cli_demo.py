"""`asr33 demo` as a process, with all states of its terminal."""

import asyncio
import io
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from fakes_teletype import read_screen_until, read_terminal_until, terminal

from tools.demo import hold_messages
from tools.virtual.command import run_until_first_ends

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")
COMMAND = [sys.executable, "-W", "error", "-m", "tools.main", "demo", "--fast", "--log"]
TERMINAL = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}


@contextmanager
def start_demo(
    folder: Path, *words: str, variables: dict[str, str] | None = None, **streams: int
) -> Iterator[Popen[str]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    colours = ("NO_COLOR", "COLORTERM")
    env = {key: value for key, value in TERMINAL.items() if key not in colours} | (variables or {})
    with Popen([*COMMAND, str(folder), *words], cwd=ROOT, text=True, env=env, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def run_with_redirection(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", f'exec "$0" "$@" {redirection}', *COMMAND, *words]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_closed_output_pipe_ends_the_demo_quietly(tmp_path):
    with start_demo(tmp_path, "--prompt", "THE TELETYPE IS") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_output_ends_the_demo_with_a_one_line_error(tmp_path):
    full = os.open(FULL, os.O_WRONLY)
    with start_demo(tmp_path, "--prompt", "THE TELETYPE IS", stdout=full) as process:
        os.close(full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 74
    assert re.fullmatch(r"asr33: standard output cannot be written \(No space left on device\): .*\n", err)


def test_a_closed_output_gives_a_one_line_error(tmp_path):
    done = run_with_redirection(">&-", str(tmp_path), "--prompt", "X")
    assert done.returncode == 74
    assert re.fullmatch(r"asr33: standard output cannot be written \(it is closed\): .*\n", done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_cleanly(tmp_path, number):
    with terminal() as (hand, tty), start_demo(tmp_path, stdin=tty, stdout=tty, stderr=tty) as process:
        read_terminal_until(hand, "LISTENING")
        process.send_signal(number)
        read_terminal_until(hand, "the session log is")
        assert process.wait(30) == 0


def test_with_closed_standard_input_the_demo_asks_for_a_prompt(tmp_path):
    done = run_with_redirection("<&-", str(tmp_path))
    assert done.returncode == 2
    assert "no terminal to type at" in done.stderr


def test_in_a_terminal_the_paper_is_on_the_screen_and_ctrl_c_leaves_when_idle(tmp_path):
    with terminal() as (hand, tty), start_demo(tmp_path, stdin=tty, stdout=tty, stderr=tty) as process:
        received = read_screen_until(hand, "", "LISTENING", "CTRL-C LEAVES")
        assert "\x1b[?1049h" in received
        os.write(hand, b"HI THERE")
        received = read_screen_until(hand, received, "HI THERE", "CTRL-C BREAKS")
        os.write(hand, b"\x03")
        received = read_screen_until(hand, received, "HI THERE^C", "CTRL-C LEAVES")
        os.write(hand, b"\x03")
        left = read_terminal_until(hand, "the session log is")
        assert process.wait(30) == 0
        assert "HI THERE^C" in left[left.index("\x1b[?1049l") :]


@pytest.mark.parametrize("name", ["dumb", "tty33", "vt52", "unknown", ""])
def test_a_terminal_without_a_movable_cursor_shows_the_paper_at_once(tmp_path, name):
    with (
        terminal() as (hand, tty),
        start_demo(tmp_path, variables={"TERM": name}, stdin=tty, stdout=tty, stderr=tty) as process,
    ):
        shown = read_terminal_until(hand, "READY")
        assert "TYPE A LINE, PRESS RETURN." in shown
        assert "Ctrl-C" in shown
        os.write(hand, b"HI THERE")
        shown += read_terminal_until(hand, "HI THERE")
        os.write(hand, b"\x03")
        shown += read_terminal_until(hand, r"\^C.*READY")
        process.send_signal(signal.SIGTERM)
        shown += read_terminal_until(hand, "the session log is")
        assert process.wait(30) == 0
        assert "\x1b" not in shown
        assert shown.count("HI THERE") == 1


@pytest.mark.parametrize(
    ("variables", "paper", "carriage"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "38;2;28;28;28;48;2;242;234;215", "7"),
        ({"TERM": "xterm-256color"}, "38;5;234;48;5;230", "7"),
        ({"TERM": "xterm"}, "30;47", "7"),
        ({"TERM": "vt100"}, "", "7"),
        ({"TERM": "a-terminal-of-tomorrow"}, "30;47", "7"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "", "7"),
    ],
)
def test_the_paper_is_cream_and_the_carriage_shows_with_any_colours(tmp_path, variables, paper, carriage):
    with terminal() as (hand, tty), start_demo(tmp_path, variables=variables, stdin=tty, stdout=tty, stderr=tty):
        shown = read_terminal_until(hand, "LISTENING.*CTRL-C LEAVES")
        codes = set(re.findall(r"\x1b\[([0-9;]+)m", shown))
        assert any(code.split(";")[-1] == carriage for code in codes)
        if paper:
            assert {paper, f"0;{paper}"} & codes
        else:
            assert codes == {carriage}


def test_an_unwritable_screen_ends_the_demo_with_a_one_line_error(tmp_path):
    screen, tty = os.openpty()
    with terminal() as (hand, stdin), start_demo(tmp_path, stdin=stdin, stdout=tty) as process:
        os.close(tty)
        read_terminal_until(screen, "LISTENING")
        os.close(screen)
        os.write(hand, b"A")
        _, err = process.communicate(timeout=30)
        assert process.returncode == 74
        assert re.fullmatch(r"asr33: standard output cannot be written \(Input/output error\): .*\n", err)


def test_log_messages_are_held_back_while_the_screen_is_open():
    out = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(out))
    with hold_messages(logger):
        for number in range(3):
            logger.critical("message %d", number)
        assert out.getvalue() == ""
    assert out.getvalue() == "message 0\nmessage 1\nmessage 2\n"
    logger.warning("and at once again")
    assert out.getvalue().endswith("at once again\n")


async def test_an_error_in_one_coroutine_ends_all_and_is_raised():
    ended: list[str] = []

    async def long_work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("ended")

    async def wrong() -> None:
        raise OSError("a screen that is gone")

    with pytest.raises(OSError, match="a screen that is gone"):
        await run_until_first_ends(long_work(), wrong(), long_work())
    assert ended == ["ended", "ended"]
