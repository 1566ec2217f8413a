"""The demo as somebody starts it, with what may happen to its terminal."""

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
from fakes import read_terminal_until, terminal

from tools.demo import hold_messages
from tools.virtual import run_until_first_ends

ROOT = Path(__file__).resolve().parents[1]
FULL = Path("/dev/full")
COMMAND = [sys.executable, "-W", "error", "-m", "tools.main", "demo", "--fast", "--log"]
TERMINAL = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}


@contextmanager
def started(folder: Path, *words: str, **streams: int) -> Iterator[Popen[str]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    with Popen([*COMMAND, str(folder), *words], cwd=ROOT, text=True, env=TERMINAL, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_reader_of_the_paper_who_leaves_ends_the_demo_quietly(tmp_path):
    with started(tmp_path, "--prompt", "THE TELETYPE IS") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_paper_that_can_go_nowhere_ends_the_demo_in_one_line(tmp_path):
    full = os.open(FULL, os.O_WRONLY)
    with started(tmp_path, "--prompt", "THE TELETYPE IS", stdout=full) as process:
        os.close(full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 74
    assert re.fullmatch(r"asr33: the paper can go nowhere \(No space left on device\): .*\n", err)


def test_with_its_output_closed_the_demo_says_so_in_one_line(tmp_path):
    words = ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, str(tmp_path), "--prompt", "X"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 74
    assert re.fullmatch(r"asr33: the paper can go nowhere \(it is closed\): .*\n", done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_told_to_leave_leaves_well(tmp_path, number):
    with terminal() as (hand, tty), started(tmp_path, stdin=tty, stdout=tty, stderr=tty) as process:
        read_terminal_until(hand, "LISTENING")
        process.send_signal(number)
        read_terminal_until(hand, "the session is kept in")
        assert process.wait(30) == 0


def test_with_its_input_closed_the_demo_asks_for_a_prompt(tmp_path):
    words = ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "no terminal to type at" in done.stderr


def test_in_a_terminal_the_paper_is_on_the_screen_and_control_c_leaves_when_idle(tmp_path):
    with terminal() as (hand, tty), started(tmp_path, stdin=tty, stdout=tty, stderr=tty) as process:
        assert "\x1b[?1049h" in read_terminal_until(hand, "LISTENING")
        os.write(hand, b"HI THERE")
        assert "HI THERE" in read_terminal_until(hand, "HI THERE.*CTRL-C BREAKS")
        os.write(hand, b"\x03")
        read_terminal_until(hand, r"\^C.*CTRL-C LEAVES")
        os.write(hand, b"\x03")
        left = read_terminal_until(hand, "the session is kept in")
        assert process.wait(30) == 0
        assert "HI THERE^C" in left[left.index("\x1b[?1049l") :]


def test_a_screen_that_cannot_be_drawn_on_ends_the_demo_in_one_line(tmp_path):
    screen, tty = os.openpty()
    with terminal() as (hand, stdin), started(tmp_path, stdin=stdin, stdout=tty) as process:
        os.close(tty)
        read_terminal_until(screen, "LISTENING")
        os.close(screen)
        os.write(hand, b"A")
        _, err = process.communicate(timeout=30)
        assert process.returncode == 74
        assert re.fullmatch(r"asr33: the paper can go nowhere \(Input/output error\): .*\n", err)


# Its parts.


def test_messages_are_held_back_while_the_screen_is_drawn_on():
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


async def test_what_goes_wrong_in_one_work_ends_all_and_is_raised():
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
