"""`asr33 log`: list, show, search and codes, on logs in a folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_archive import START, FakeSession, write_archive

from tools.main import main

LATE = START.replace(hour=23)


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def run_log(folder: Path, *words: str) -> int:
    return main(["log", words[0], "--log", str(folder), *words[1:]])


def save_session(folder: Path) -> FakeSession:
    session = FakeSession(folder / "20260101T230000.jsonl", LATE, persona="Ada", you="Guest", model_hash="f00d")
    session.answer("HELLO THERE", "Good evening, guest.", code="WXYZ", parameters={"temperature": 0.5, "length": 9})
    session.record("lent")
    session.strike("A MEMO\r\n")
    session.record("returned")
    session.record("gap", **{"from": session.t, "to": session.t + 60, "lost": 7, "why": "private"})
    session.save()
    return session


def test_list_prints_the_newest_sessions_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path, 30, 2000)
    assert run_log(tmp_path, "list", "--count", "2") == 0
    output, message = capsys.readouterr()
    lines = output.splitlines()
    assert lines[0].split() == ["DATE", "LENGTH", "MODEL", "CODE", "FIRST", "LINE"]
    assert [line.split()[-2:] for line in lines[1:]] == [["SESSION", "28"], ["SESSION", "29"]]
    assert lines[2].startswith("2026-01-02T06:43:00")
    assert message == "asr33: 28 older sessions: asr33 log list --all\n"
    assert run_log(tmp_path, "list", "--all", "--json") == 0
    assert [entry["first_line"] for entry in json.loads(capsys.readouterr().out)] == [f"SESSION {n}" for n in range(30)]


def test_show_prints_a_session_and_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = save_session(tmp_path)
    for reference in ("LAST", "2026-01-01T23:00:00", "2026-01-01 23:00", "20260101T230000", "20260101T230000.jsonl"):
        assert run_log(tmp_path, "show", reference) == 0
        text = capsys.readouterr().out
        assert "\n> HELLO THERE\n[23:00:04 WXYZ] Good evening, guest.\n" in text
        assert "a command printed --\nA MEMO\n" in text
        assert "-- 60 s without a record: private --" in text
    for reference in ("wxyz", f"{session.path.stem}:WXYZ"):
        assert run_log(tmp_path, "show", reference) == 0
        text = capsys.readouterr().out
        assert "seed       1001\nparameters temperature 0.5, length 9\npersona    Ada\n" in text
        assert "\nPrompt:\nHello there\n\nAnswer:\nGood evening, guest.\n" in text
    assert run_log(tmp_path, "show", "WXYZ", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == {"temperature": 0.5, "length": 9}


def test_a_code_is_found_in_old_sessions_and_one_of_two_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_session(tmp_path)
    newest = FakeSession(tmp_path / "20260103T000000.jsonl", LATE)
    newest.answer("HI", "ho")
    newest.save()
    assert run_log(tmp_path, "show", "WXYZ") == 0
    other = FakeSession(tmp_path / "20260102T000000.jsonl", LATE)
    other.answer("HI", "ho", code="WXYZ")
    other.save()
    assert run_log(tmp_path, "show", "WXYZ") == 2
    assert "20260101T230000:WXYZ, 20260102T000000:WXYZ" in capsys.readouterr().err
    assert run_log(tmp_path, "show", "20260102T000000:WXYZ") == 0


def test_codes_and_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_session(tmp_path)
    assert run_log(tmp_path, "codes") == 0
    assert capsys.readouterr().out.splitlines()[1] == "2026-01-01T23:00:04  WXYZ  HELLO THERE"
    assert run_log(tmp_path, "search", "evening", "--since", "2026-01-01T22:00", "--person", "ada") == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-01-01T23:00:04  WXYZ  embedded  20260101T230000",
        "    HELLO THERE",
        "     Good [evening], guest.",
    ]
    assert run_log(tmp_path, "search", "evening", "--since", "2027") == 1
    assert capsys.readouterr() == ("", "asr33: nothing found\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["list"], 66, "no sessions in"),
        (["show", "1999"], 66, "no session '1999'"),
        (["show", "2026"], 2, "may be 3 sessions; the last of them are"),
        (["show", "WXYZ:OIL0"], 66, "no session 'WXYZ:OIL0'"),
        (["show", "ZZZZ"], 66, "no answer has the code ZZZZ"),
        (["search", "?!"], 2, "give a word"),
    ],
)
def test_wrong_words_get_one_line_with_the_cure(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words != ["list"]:
        write_archive(tmp_path, 3, 2000)
    assert run_log(tmp_path, *words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_may_not_be_written_is_searched_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_session(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the suite may run as root
    assert run_log(tmp_path, "search", "evening") == 0
    assert "may not be written" in capsys.readouterr().err
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


def test_follow_prints_what_is_added_and_goes_on_with_the_next_session(tmp_path: Path) -> None:
    session = save_session(tmp_path)
    command = [sys.executable, "-m", "tools.main", "log", "show", "--follow", "--log", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        assert any("without a record" in line for line in lines)
        with session.path.open("a") as file:
            file.write('{"t":99,"ev":"typed","text":"STILL')
            file.flush()
            file.write(' THERE?"}\n')
        assert any(line == "> STILL THERE?\n" for line in lines)
        FakeSession(tmp_path / "20260102T000000.jsonl", LATE, line="/dev/other").save()
        following = FakeSession(tmp_path / "20260103T000000.jsonl", LATE)
        following.type_line("A NEW DAY")
        following.save()
        assert any(line == "session    20260103T000000\n" for line in lines)
        assert any(line == "> A NEW DAY\n" for line in lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
