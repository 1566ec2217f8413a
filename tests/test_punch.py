"""`asr33 punch`, with a virtual machine whose punch writes a file and whose reader has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_room import Room, opened, until

from drivers import tape
from drivers.profile import Profile
from model.errors import TextDamaged
from tools.punch import content, text_of

HELLO = tape.text_rows("HELLO WORLD\n")


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
    assert lines[1] == "asr33: put the tape into the reader"
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


def test_without_an_automatic_punch_somebody_is_asked(room: Room, tmp_path: Path) -> None:
    room.environ |= {"ASR33_MACHINE_AUTO_PUNCH": "false"}
    room.machine("--fast")
    code, said = room.ask("punch", "--fast", "--line", str(room.link), "HI")
    assert code == 0
    assert said.splitlines()[0] == "asr33: switch the punch on"
    assert said.splitlines()[-1] == "asr33: switch the punch off"
    until(lambda: room.paper().endswith("HI\n" + "\x7f\x7f" + "\0" * 120))


def test_no_tape_is_longer_than_a_reel(room: Room) -> None:
    code, said = room.ask("punch", "--leader", "100001", "x")
    assert code == 2
    assert "0 to 100,000" in said
    room.machine("--fast")
    code, said = room.ask("punch", "--fast", "--line", str(room.link), "-", stdin=b"x" * 100_001)
    assert (code, said.count("\n")) == (76, 1)


def test_what_is_named_is_a_file_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("in it")
    assert content(str(tmp_path / "there")) == b"in it"
    assert content(str(tmp_path / "not there")) == str(tmp_path / "not there").encode()
    assert content("x" * 5000) == b"x" * 5000


def test_a_text_is_folded_and_ends_its_line() -> None:
    assert text_of("é\tb".encode(), Profile()) == tape.text_rows("E       B\n")
    with pytest.raises(TextDamaged, match="byte 1 is not UTF-8; say --binary"):
        text_of(b"a\xff", Profile())
