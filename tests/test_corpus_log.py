import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon import session_log
from drivers.tape import tape
from tools.corpus.archive import Member, iter_members
from tools.corpus.importers import session_log as importer
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

BEGUN = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
Write = Callable[..., None]


def session(folder: Path, *events: tuple[str, dict[str, Any]], version: int = session_log.VERSION) -> Path:
    """A log as the daemon writes it, a second from event to event."""
    made = session_log.open_new_log(folder, BEGUN, 0.0)
    made.write(0.0, "session", version=version, wall=BEGUN.isoformat(), line="pty", model="/models/plays", machine="")
    for number, (ev, fields) in enumerate(events, start=1):
        made.write(float(number), ev, **fields)
    made.close()
    return made.path


def answer(prompt: str, *pieces: str, finish: str = "end") -> list[tuple[str, dict[str, Any]]]:
    said = [("piece", {"text": piece, "tokens": [1], "made": 0.5}) for piece in pieces]
    return [("prompt", {"text": prompt, "seed": 1}), *said, ("end", {"finish": finish})]


def typed(text: str) -> tuple[str, dict[str, Any]]:
    return "typed", {"text": text}


def taken(path: Path) -> list[ImportItem]:
    return list(importer.read_items(importer.claim([one for one in iter_members(path) if isinstance(one, Member)])))


def test_what_was_typed_and_what_was_answered_is_a_talk(tmp_path: Path) -> None:
    path = session(tmp_path, typed("WHO IS THERE"), *answer("Who is there", "?\n", "A ghost", ", 👻."))
    begun, name = BEGUN.timestamp(), path.stem
    assert taken(tmp_path) == [
        Record(str(path), name, "Who is there", importer.OPERATOR, begun + 2, "message", True),
        Record(str(path), name, "?\nA ghost, 👻.", "plays", begun + 2, "message", False),
    ]


def test_the_memory_of_the_paper_is_not_said_again(tmp_path: Path) -> None:
    path = session(
        tmp_path,
        typed("ONE"),
        *answer("One", " two"),
        typed("THREE"),
        *answer("One two\nThree", " four"),
    )
    assert [one.text for one in taken(path) if isinstance(one, Record)] == ["One", "two", "Three", "four"]


def test_commands_and_empty_lines_are_counted(tmp_path: Path) -> None:
    path = session(tmp_path, typed(".HELP"), typed(""), typed("HI"), *answer("Hi", " there"), typed(".BYE"))
    found = taken(path)
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == ["a command", "an empty line", "a command"]
    assert len(found) == 5


def test_strikes_and_keys_are_no_words(tmp_path: Path) -> None:
    strikes = [("tx", {"b": "41", "q": 0.1, "at": 0.2, "col": 0}), ("rx", {"b": "c1"}), ("motor", {"on": True})]
    assert not taken(session(tmp_path, *strikes))


def test_a_tape_is_read(tmp_path: Path) -> None:
    rows = tape.encode_text("ONCE UPON\nA TIME")
    path = session(tmp_path, typed(".READ"), ("tape", {"rows": rows.hex()}), *answer("Once upon\nA time", " there"))
    command, *said = taken(path)
    assert command == SkippedItem(str(path), "a command")
    assert [one.text for one in said if isinstance(one, Record)] == ["Once upon\nA time", "there"]


def test_an_answer_that_a_break_cut_short_is_kept_and_one_without_words_counted(tmp_path: Path) -> None:
    events = [typed("A"), *answer("A", " b c", finish="break"), typed("D"), *answer("A b c\nD", finish="error")]
    found = taken(session(tmp_path, *events))
    assert [one.text for one in found if isinstance(one, Record)] == ["A", "b c", "D"]
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == ["an answer without words"]


def test_a_session_that_a_power_failure_ended_keeps_what_was_said(tmp_path: Path) -> None:
    path = session(tmp_path, typed("HELLO"), *answer("Hello", " wor", "ld")[:-1], ("tx", {"b": "41"}))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    found = taken(path)
    assert [one.text for one in found if isinstance(one, Record)] == ["Hello", "world"]
    assert [type(one) for one in found if not isinstance(one, Record)] == [DamagedItem]


def test_a_log_that_lost_its_first_record_is_one(tmp_path: Path) -> None:
    path = session(tmp_path, typed("HELLO"), *answer("Hello", " you"))
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    first, second = taken(path)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.when, second.who) == (None, importer.MACHINE)


def test_a_log_of_a_later_version_is_told(tmp_path: Path) -> None:
    path = session(tmp_path, typed("HELLO"), *answer("Hello", " you"), version=session_log.VERSION + 1)
    assert isinstance(taken(path)[0], SourceWarning)


@pytest.mark.parametrize("line", ['{"text": "hello"}', '{"ev": "session"}', "", "words"])
def test_other_lines_are_not_claimed(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    assert not taken(tmp_path)


@pytest.mark.parametrize("text", [5, None, [], "\ud800"])
def test_records_of_the_wrong_kind_do_no_harm(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "a.jsonl"
    events = [
        {"t": 0, "ev": "session", "wall": text, "model": text, "version": text},
        {"t": text, "ev": "typed", "text": text},
        {"t": 1, "ev": "tape", "rows": text},
        {"t": text, "ev": "prompt", "text": text},
        {"t": 1, "ev": "piece", "text": text},
        {"t": 1, "ev": text},
        {"t": 1, "ev": "end"},
    ]
    path.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events))
    for one in taken(path):
        if isinstance(one, Record):
            assert one.text.encode()
