"""`asr33 punch`, with a virtual machine whose punch and reader use files."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes_sandbox import ROOT, Sandbox, open_sandbox, wait_for

from drivers import tape
from drivers.profile import Profile
from tools.cli import prompt
from tools.cli.errors import ToolError
from tools.punch import encode_text_rows, read_content, warn_of_long_lines

HELLO = tape.encode_text("HELLO WORLD\n")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with open_sandbox(tmp_path) as sandbox:
        sandbox.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "true", "ASR33_MACHINE_AUTO_READER": "true"}
        yield sandbox


def test_the_tape_has_leader_text_and_trailer(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.start_machine("--fast", "--options", "auto-punch,auto-reader", "--punch", str(tmp_path / "punched"))
    code, output = sandbox.run_command(
        "punch", "--fast", "--line", str(sandbox.link), "--leader", "7", "--trailer", "5", "Hello world"
    )
    assert (code, output) == (0, "asr33: 27 rows, 0.2 feet of tape, 3 s\n")
    wanted = bytes(7) + HELLO + bytes(5)
    wait_for(lambda: len((tmp_path / "punched").read_bytes()) > len(wanted))
    assert (tmp_path / "punched").read_bytes().startswith(wanted)


@pytest.mark.parametrize("right", [True, False])
def test_a_tape_is_read_back_and_compared(sandbox: Sandbox, tmp_path: Path, right: bool) -> None:
    read = bytearray(bytes(30) + HELLO + bytes(30))
    if not right:
        read[32] ^= 0x01
    (tmp_path / "tape").write_bytes(read)
    sandbox.start_machine("--fast", "--options", "auto-punch,auto-reader", "--tape", str(tmp_path / "tape"))
    code, output = sandbox.run_command("punch", "--fast", "--verify", "--line", str(sandbox.link), "HELLO WORLD")
    lines = output.splitlines()
    assert code == (0 if right else 65)
    assert lines[2] == "asr33: put the tape into the reader"
    assert lines[-1].startswith("asr33: the tape reads as it was punched" if right else "asr33: row 3 of the tape")


def test_binary_data_is_punched_unchanged(sandbox: Sandbox, tmp_path: Path) -> None:
    data = bytes(range(256))
    (tmp_path / "data.bin").write_bytes(data)
    sandbox.start_machine("--fast", "--options", "auto-punch", "--punch", str(tmp_path / "punched"))
    code, output = sandbox.run_command(
        "punch", "--binary", "--leader", "0", "--trailer", "0", "--fast", "--line", str(sandbox.link),
        str(tmp_path / "data.bin"),
    )  # fmt: skip
    assert code == 0, output
    assert (tmp_path / "punched").read_bytes()[:256] == data


def test_without_an_automatic_punch_and_a_terminal_nothing_is_punched(sandbox: Sandbox) -> None:
    sandbox.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "false"}
    sandbox.start_machine("--fast")
    code, output = sandbox.run_command("punch", "--fast", "--line", str(sandbox.link), "HI")
    assert (code, output.count("\n")) == (69, 1)
    assert "auto_punch" in output
    assert not sandbox.events.exists() or "HI" not in sandbox.paper_text()


@contextmanager
def punch_at_a_terminal(sandbox: Sandbox, keys: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Starts the command with the terminal as standard input, or as standard error with a piped text."""
    sandbox.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "false"}
    sandbox.start_machine("--fast")
    hand, tty = pty.openpty()
    what = "HI" if keys == "stdin" else "-"
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.main", "punch", "--fast", "--line", str(sandbox.link), what],
        cwd=ROOT,
        env=sandbox.environ,
        stdin=tty if keys == "stdin" else subprocess.PIPE,
        stderr=tty,
    )
    os.close(tty)
    if process.stdin is not None:
        process.stdin.write(b"HI")
        process.stdin.close()
    try:
        yield hand, process
    finally:
        process.kill()
        process.wait(30)
        os.close(hand)


def read_until(hand: int, words: bytes) -> bytes:
    output = b""
    while words not in output:
        output += os.read(hand, 4096)
    return output


@pytest.mark.parametrize("keys", ["stdin", "stderr"])
def test_the_user_is_asked_at_the_terminal_and_on_the_paper(sandbox: Sandbox, keys: str) -> None:
    with punch_at_a_terminal(sandbox, keys) as (hand, process):
        read_until(hand, b"switch the punch on, then press RETURN here")
        wait_for(lambda: sandbox.paper_text() == "\n-- SWITCH THE PUNCH ON --\n")
        os.write(hand, b"\n")
        read_until(hand, b"switch the punch off, then press RETURN here")
        wait_for(lambda: sandbox.paper_text().endswith("HI\n" + "\x7f\x7f" + "\0" * 120))
        os.write(hand, b"\n")
        assert process.wait(30) == 0


def test_ctrl_d_leaves_while_it_waits_for_return(sandbox: Sandbox) -> None:
    with punch_at_a_terminal(sandbox, "stdin") as (hand, process):
        read_until(hand, b"press RETURN here")
        os.write(hand, b"\x04")
        read_until(hand, b"asr33: left by Ctrl-D")
        assert process.wait(30) == 130
        assert "HI" not in sandbox.paper_text()


async def test_waiting_for_return_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, tty = pty.openpty()
    with os.fdopen(tty) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(prompt, "RETURN_TIMEOUT_S", 0.05)
        with pytest.raises(prompt.PromptAbandoned, match="the machine is given back"):
            await prompt.prompt_for_return("switch the punch on")
    os.close(hand)


def test_a_missing_file_name_is_reported_and_with_binary_refused(
    tmp_path: Path, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.bin")
    assert read_content(missing) == missing.encode()
    assert read_content("missing.txt") == b"missing.txt"
    assert capsys.readouterr().err.count("its name is punched as a text\n") == 2
    assert read_content("HELLO, WORLD. 1/2 PAST 3 O'CLOCK") == b"HELLO, WORLD. 1/2 PAST 3 O'CLOCK"
    assert capsys.readouterr().err == ""
    for binary in (True, False):
        with pytest.raises(ToolError, match="is a folder"):
            read_content(str(tmp_path), binary=binary)
    code, output = sandbox.run_command("punch", "--binary", "--line", "/dev/null", missing)
    assert (code, output) == (66, f"asr33: {missing}: No such file or directory; name a file that can be read\n")


def test_an_empty_text_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for what in ("", str(tmp_path / "empty"), "-"):
        code, output = sandbox.run_command("punch", "--line", "/dev/null", what)
        assert (code, output) == (66, "asr33: nothing to punch: name a text, or a file that is not empty\n")


def test_lines_too_long_for_the_paper_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_long_lines(tape.encode_text("A" * 72 + "   \n" + "B" * 60 + "\r" + "B" * 60), 72)
    assert capsys.readouterr().err == ""
    warn_of_long_lines(tape.encode_text("A\n" + "B" * 80 + "\n" + "C" * 99), 72)
    assert capsys.readouterr().err == (
        "asr33: line 2 is 80 characters long (and there are 1 more): characters beyond column 72 pile up on the paper\n"
    )


def test_a_tape_longer_than_a_reel_is_refused(sandbox: Sandbox) -> None:
    code, output = sandbox.run_command("punch", "--leader", "100001", "x")
    assert code == 2
    assert "0 to 100,000" in output
    sandbox.start_machine("--fast")
    code, output = sandbox.run_command("punch", "--fast", "--line", str(sandbox.link), "-", stdin=b"x" * 100_001)
    assert (code, output.count("\n")) == (76, 1)


def test_an_existing_file_is_punched_instead_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("in it")
    assert read_content(str(tmp_path / "there")) == b"in it"
    assert read_content(str(tmp_path / "not there")) == str(tmp_path / "not there").encode()
    assert read_content("x" * 5000) == b"x" * 5000


def test_a_text_is_folded_and_ends_its_line() -> None:
    assert encode_text_rows("é\tb".encode(), Profile()) == tape.encode_text("E       B\n")
    with pytest.raises(ToolError, match=r"not UTF-8 at byte 1: .*say --binary"):
        encode_text_rows(b"a\xff", Profile())


def test_the_sequences_of_a_terminal_are_not_punched() -> None:
    assert encode_text_rows(b"\x1b[01;34mbin\x1b[0m\trun", Profile()) == encode_text_rows(b"bin\trun", Profile())
