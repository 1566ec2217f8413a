"""`asr33 punch`, with a virtual machine whose punch writes a file and whose reader has one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes_room import ROOT, Room, opened, until

from drivers.profile import Profile
from drivers.tape import tape
from model.errors import TextDamaged, TextNotFound
from tools.cli import terminal
from tools.punch import encode_text_rows, read_content, warn_of_long_lines

HELLO = tape.encode_text("HELLO WORLD\n")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with opened(tmp_path) as room:
        room.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "true", "ASR33_MACHINE_AUTO_READER": "true"}
        yield room


def test_leader_text_and_trailer_stand_on_the_tape(room: Room, tmp_path: Path) -> None:
    room.machine("--fast", "--options", "auto-punch,auto-reader", "--punch", str(tmp_path / "punched"))
    code, said = room.ask("punch", "--fast", "--line", str(room.link), "--leader", "7", "--trailer", "5", "Hello world")
    assert (code, said) == (0, "asr33: 27 rows, 0.2 feet of tape, 3 s\n")
    wanted = bytes(7) + HELLO + bytes(5)
    until(lambda: len((tmp_path / "punched").read_bytes()) > len(wanted))
    assert (tmp_path / "punched").read_bytes().startswith(wanted)


@pytest.mark.parametrize("right", [True, False])
def test_a_tape_is_read_back_and_compared(room: Room, tmp_path: Path, right: bool) -> None:
    read = bytearray(bytes(30) + HELLO + bytes(30))
    if not right:
        read[32] ^= 0x01
    (tmp_path / "tape").write_bytes(read)
    room.machine("--fast", "--options", "auto-punch,auto-reader", "--tape", str(tmp_path / "tape"))
    code, said = room.ask("punch", "--fast", "--verify", "--line", str(room.link), "HELLO WORLD")
    lines = said.splitlines()
    assert code == (0 if right else 65)
    assert lines[2] == "asr33: put the tape into the reader"
    assert lines[-1].startswith("asr33: the tape reads as it was punched" if right else "asr33: row 3 of the tape")


def test_bytes_go_onto_the_tape_as_they_are(room: Room, tmp_path: Path) -> None:
    data = bytes(range(256))
    (tmp_path / "data.bin").write_bytes(data)
    room.machine("--fast", "--options", "auto-punch", "--punch", str(tmp_path / "punched"))
    code, said = room.ask(
        "punch", "--binary", "--leader", "0", "--trailer", "0", "--fast", "--line", str(room.link),
        str(tmp_path / "data.bin"),
    )  # fmt: skip
    assert code == 0, said
    assert (tmp_path / "punched").read_bytes()[:256] == data


def test_without_an_automatic_punch_and_with_nobody_to_switch_it_on_nothing_is_punched(room: Room) -> None:
    room.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "false"}
    room.machine("--fast")
    code, said = room.ask("punch", "--fast", "--line", str(room.link), "HI")
    assert (code, said.count("\n")) == (69, 1)
    assert "auto_punch" in said
    assert not room.events.exists() or "HI" not in room.paper()


@contextmanager
def punching_at_a_terminal(room: Room, keys: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """With the terminal as standard input, or with a text piped in and the terminal where the messages go."""
    room.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "false"}
    room.machine("--fast")
    hand, tty = pty.openpty()
    what = "HI" if keys == "stdin" else "-"
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.main", "punch", "--fast", "--line", str(room.link), what],
        cwd=ROOT,
        env=room.environ,
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


def said_until(hand: int, words: bytes) -> bytes:
    said = b""
    while words not in said:
        said += os.read(hand, 4096)
    return said


@pytest.mark.parametrize("keys", ["stdin", "stderr"])
def test_somebody_is_asked_here_and_on_the_paper(room: Room, keys: str) -> None:
    with punching_at_a_terminal(room, keys) as (hand, process):
        said_until(hand, b"switch the punch on, then press RETURN here")
        until(lambda: room.paper() == "\n-- SWITCH THE PUNCH ON --\n")
        os.write(hand, b"\n")
        said_until(hand, b"switch the punch off, then press RETURN here")
        until(lambda: room.paper().endswith("HI\n" + "\x7f\x7f" + "\0" * 120))
        os.write(hand, b"\n")
        assert process.wait(30) == 0


def test_control_d_leaves_where_return_is_waited_for(room: Room) -> None:
    with punching_at_a_terminal(room, "stdin") as (hand, process):
        said_until(hand, b"press RETURN here")
        os.write(hand, b"\x04")
        said_until(hand, b"asr33: left by Ctrl-D")
        assert process.wait(30) == 130
        assert "HI" not in room.paper()


async def test_return_is_not_waited_for_all_night(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, tty = pty.openpty()
    with os.fdopen(tty) as keys:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(terminal, "RETURN_TIMEOUT_S", 0.05)
        with pytest.raises(terminal.PromptAbandoned, match="the machine is given back"):
            await terminal.prompt_for_return("switch the punch on")
    os.close(hand)


def test_a_mistyped_name_is_told_and_with_binary_refused(
    tmp_path: Path, room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.bin")
    assert read_content(missing) == missing.encode()
    assert read_content("missing.txt") == b"missing.txt"
    assert capsys.readouterr().err.count("its name is punched as a text\n") == 2
    assert read_content("HELLO, WORLD. 1/2 PAST 3 O'CLOCK") == b"HELLO, WORLD. 1/2 PAST 3 O'CLOCK"
    assert capsys.readouterr().err == ""
    for binary in (True, False):
        with pytest.raises(TextNotFound, match="is a folder"):
            read_content(str(tmp_path), binary=binary)
    code, said = room.ask("punch", "--binary", "--line", "/dev/null", missing)
    assert (code, said) == (66, f"asr33: {missing}: No such file or directory; name a file that can be read\n")


def test_nothing_is_no_tape(room: Room, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for what in ("", str(tmp_path / "empty"), "-"):
        code, said = room.ask("punch", "--line", "/dev/null", what)
        assert (code, said) == (66, "asr33: nothing to punch: name a text, or a file that is not empty\n")


def test_a_line_that_piles_up_on_the_paper_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_long_lines(tape.encode_text("A" * 72 + "   \n" + "B" * 60 + "\r" + "B" * 60), 72)
    assert capsys.readouterr().err == ""
    warn_of_long_lines(tape.encode_text("A\n" + "B" * 80 + "\n" + "C" * 99), 72)
    assert capsys.readouterr().err == (
        "asr33: line 2 is 80 characters long (and there are 1 more): what is beyond 72 piles up on the paper\n"
    )


def test_no_tape_is_longer_than_a_reel(room: Room) -> None:
    code, said = room.ask("punch", "--leader", "100001", "x")
    assert code == 2
    assert "0 to 100,000" in said
    room.machine("--fast")
    code, said = room.ask("punch", "--fast", "--line", str(room.link), "-", stdin=b"x" * 100_001)
    assert (code, said.count("\n")) == (76, 1)


def test_what_is_named_is_a_file_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("in it")
    assert read_content(str(tmp_path / "there")) == b"in it"
    assert read_content(str(tmp_path / "not there")) == str(tmp_path / "not there").encode()
    assert read_content("x" * 5000) == b"x" * 5000


def test_a_text_is_folded_and_ends_its_line() -> None:
    assert encode_text_rows("é\tb".encode(), Profile()) == tape.encode_text("E       B\n")
    with pytest.raises(TextDamaged, match="byte 1 is not UTF-8; say --binary"):
        encode_text_rows(b"a\xff", Profile())
