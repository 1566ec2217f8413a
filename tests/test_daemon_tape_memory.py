"""A conversation on paper tape: punched at one machine, read at another one that has no disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import IO, get_args

import pytest
from fakes_daemon import DaemonBench, ScriptedModel, split_words
from fakes_sandbox import Sandbox, open_sandbox, wait_for
from fakes_teletype import SimLine, on_jumping_loop
from hypothesis import given
from hypothesis import strategies as st

from daemon.tape_memory import TapeMemory, decode_memory, encode_memory, escape_case, restore_case
from drivers import tape
from drivers.errors import TapeDamaged
from drivers.profile import Parity, Profile
from drivers.tape_letters import draw_letters
from drivers.virtual.teletype_sim import Equipment

TALK = "You: Who rang?\nTeletype: The bell of \\ line 7 \N{EM DASH} caf\N{LATIN SMALL LETTER E WITH ACUTE}.  "
SAVED = TapeMemory("embedded", "3f2a", "Teletype", 35, {"temperature": 0.7, "top_k": 40}, TALK)


def test_the_letters_of_the_leader_are_read_by_a_person() -> None:
    rows = draw_letters("asr-33")
    lines = ["".join("o" if row >> level & 1 else " " for row in rows).rstrip() for level in range(7)]
    assert lines == [
        "  oo   ooo ooo      ooo  ooo",
        " o  o o    o  o        o    o",
        " oooo  oo  ooo  ooo  oo   oo",
        " o  o    o o o         o    o",
        " o  o ooo  o  o     ooo  ooo",
        "ooooooooooooooooooooooooooooo" + "o",
        "ooooooooooooooooooooooooooooo" + "o",
    ]


def test_a_tape_is_a_text_that_a_person_reads() -> None:
    text = tape.decode_text(encode_memory(SAVED, "even")).partition("\n")[2]
    assert text == (
        "ASR33 TAPE 1\nMODEL EMBEDDED\nHASH 3F2A\nPERSONA \\TELETYPE\nSEED 35\nSET TEMPERATURE 0.7\nSET TOP_K 40\n"
        "TEXT \\YOU: \\WHO RANG?\\/\\TELETYPE: \\THE BELL OF \\\\ LINE 7 \\(2014) CAF\nTEXT \\(E9).  \nEND 9 4717C1C6\n"
    )


@given(st.text(), st.sampled_from(get_args(Parity)), st.integers(0, 2**63 - 1))
def test_what_was_punched_is_read(memory: str, parity: Parity, seed: int) -> None:
    saved = replace(SAVED, memory=memory, seed=seed)
    rows = encode_memory(saved, parity)
    assert decode_memory(rows) == saved
    assert decode_memory(rows.lstrip(b"\x00")[20:]) == saved, "the reader was started within the letters"


@given(st.text())
def test_case_survives_a_machine_without_small_letters(text: str) -> None:
    escaped = escape_case(text)
    assert all(" " <= char < "`" for char in escaped)
    assert restore_case(escaped) == text


def test_no_damaged_tape_is_taken_for_another_conversation() -> None:
    rows = encode_memory(SAVED, "even")
    start = rows.index(b"\x8d\x0a", 60)
    for at in range(start, len(rows.rstrip(b"\x00"))):
        lost, wrong = rows[:at] + rows[at + 1 :], rows[:at] + bytes((rows[at] ^ 4,)) + rows[at + 1 :]
        for damaged in (lost, wrong, rows[:at]):
            try:
                read = decode_memory(damaged)
            except TapeDamaged:
                continue
            assert read in (None, SAVED)
            assert read or at < start + 20, "only a tape without its beginning is an ordinary one"


def test_two_tapes_after_each_other_are_refused() -> None:
    with pytest.raises(TapeDamaged, match="two tapes"):
        decode_memory(encode_memory(SAVED, "even") * 2)


def test_a_tape_of_a_later_version_is_refused() -> None:
    rows = encode_memory(SAVED, "even").replace(b"\xb1\x8d\x0a", b"\xb2\x8d\x0a", 1)
    with pytest.raises(TapeDamaged, match="first line"):
        decode_memory(rows)


def _start(profile: Profile, folder: Path) -> DaemonBench:
    model = ScriptedModel(split_words("ok zeppelin."), context=400)
    return DaemonBench(folder, model, profile=profile, line=SimLine(Equipment(profile)))


async def _say(daemon: DaemonBench, keys: str) -> None:
    await daemon.session.listening.wait()
    await daemon.tty.finish()
    await asyncio.sleep(1)
    await daemon.line.type(keys)
    await asyncio.sleep(200)


@pytest.mark.parametrize("key", ["BREAK", "\x04"])
@on_jumping_loop
async def test_break_before_the_punch_is_on_punches_nothing_and_ends_nothing(key: str, tmp_path: Path) -> None:
    daemon = _start(Profile(duplex="full"), tmp_path)
    await _say(daemon, "HELLO\r")
    await _say(daemon, ".PUNCH\r")
    await (daemon.line.press_break() if key == "BREAK" else daemon.line.type(key))
    await asyncio.sleep(30)
    assert daemon.paper.endswith("\nNOTHING IS PUNCHED.\n\nREADY\n")
    assert not daemon.running.done()
    daemon.running.cancel()


@on_jumping_loop
async def test_the_log_has_no_stroke_of_the_tape(tmp_path: Path) -> None:
    """What is forgotten later would stay there, in the code of the tape."""
    daemon = _start(Profile(duplex="full", auto_punch=True, auto_reader=True), tmp_path)
    await _say(daemon, "HELLO\r")
    await _say(daemon, ".PUNCH\r")
    struck = "".join(chr(int(str(record["b"]), 16) & 0x7F) for record in daemon.log_records("tx"))
    assert struck.count("ZEPPELIN") == 1
    assert "ASR33 TAPE" not in struck
    daemon.running.cancel()


def test_the_middle_of_a_torn_tape_is_no_prompt() -> None:
    lines = tape.decode_text(encode_memory(replace(SAVED, memory=TALK * 9), "even")).split("\n")
    with pytest.raises(TapeDamaged):
        decode_memory(tape.encode_text("\n".join(lines[5:-3]) + "\n"))


def _type(sandbox: Sandbox, keys: IO[bytes], line: str) -> str:
    before = len(sandbox.paper_text())
    keys.write(f"{line}\n".encode())
    keys.flush()
    wait_for(lambda: sandbox.paper_text()[before:].endswith("\nREADY\n"), 60.0)
    return sandbox.paper_text()[before:].removeprefix(f"{line}\n").removesuffix("READY\n")


def test_a_machine_without_a_disk_goes_on_from_the_tape(tmp_path: Path) -> None:
    """The next answer is the one that the first machine gives; one tape has the settings alone."""
    config = tmp_path / "tape.toml"
    config.write_text("[machine]\nauto_punch = true\nauto_reader = true\n[answer]\nlength = 40\nmax_tokens = 40\n")
    run = ("--fast", "--config", str(config), "--model", "embedded", "--persona", "")
    options = ("--fast", "--options", "auto-punch,auto-reader")
    answers: list[str] = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        with open_sandbox(folder) as sandbox:
            used = ("--tape", str(tmp_path / "tape")) if answers else ("--punch", str(tmp_path / "tape"))
            machine = sandbox.start_machine(*options, *used)
            sandbox.start_daemon(*run)
            assert machine.stdin is not None
            if answers:
                read = _type(sandbox, machine.stdin, ".READ")
                assert "THE TAPE ENDS: " in read
                assert "SEED 71 IS NEXT.\n" in read
            else:
                _type(sandbox, machine.stdin, ".SEED 70")
                _type(sandbox, machine.stdin, ".TEMP 0.9")
                _type(sandbox, machine.stdin, "\\CAPTAIN \\AHAB WENT")
                assert "MINUTES. BREAK STOPS IT.\n" in _type(sandbox, machine.stdin, ".PUNCH")
            assert "TEMPERATURE 0.9, SEED 71" in _type(sandbox, machine.stdin, ".WHO")
            answers.append(_type(sandbox, machine.stdin, "THE SHIP"))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 20
