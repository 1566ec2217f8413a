import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from corpus_items import import_path, skip_reasons, texts_of

from daemon import session_log
from drivers import tape
from tools.corpus.importers import session_log as importer
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning

STARTED_AT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


def write_log(folder: Path, *events: tuple[str, dict[str, Any]], version: int = session_log.VERSION) -> Path:
    """Writes a log as the daemon does, with a second between events."""
    log = session_log.open_new_log(folder, STARTED_AT, 0.0)
    wall = STARTED_AT.isoformat()
    log.write(0.0, "session", version=version, wall=wall, line="pty", model="/models/plays", machine="")
    for number, (ev, fields) in enumerate(events, start=1):
        log.write(float(number), ev, **fields)
    log.close()
    return log.path


def answer_events(prompt: str, *pieces: str, finish: str = "end") -> list[tuple[str, dict[str, Any]]]:
    texts = [("piece", {"text": piece, "tokens": [1], "made": 0.5}) for piece in pieces]
    return [("prompt", {"text": prompt, "seed": 1}), *texts, ("end", {"finish": finish})]


def typed_event(text: str) -> tuple[str, dict[str, Any]]:
    return "typed", {"text": text}


def import_items(path: Path) -> list[ImportItem]:
    return import_path(importer, path)


def test_typed_lines_and_answers_are_a_conversation(tmp_path: Path) -> None:
    path = write_log(tmp_path, typed_event("WHO IS THERE"), *answer_events("Who is there", "?\n", "A ghost", ", 👻."))
    asked_at, name = STARTED_AT.timestamp() + 2, path.stem
    assert import_items(tmp_path) == [
        Record(str(path), name, "Who is there", importer.OPERATOR, asked_at, "message", True),
        Record(str(path), name, "?\nA ghost, 👻.", "plays", asked_at, "message", False),
    ]


def test_the_earlier_conversation_in_a_prompt_is_not_repeated(tmp_path: Path) -> None:
    first = (typed_event("ONE"), *answer_events("One", " two"))
    path = write_log(tmp_path, *first, typed_event("THREE"), *answer_events("One two\nThree", " four"))
    assert texts_of(import_items(path)) == ["One", "two", "Three", "four"]


def test_commands_and_empty_lines_are_counted(tmp_path: Path) -> None:
    lines = map(typed_event, (".HELP", "", "HI"))
    items = import_items(write_log(tmp_path, *lines, *answer_events("Hi", " there"), typed_event(".BYE")))
    assert skip_reasons(items) == ["a command", "an empty line", "a command"]
    assert len(items) == 5


def test_strikes_and_keys_are_ignored(tmp_path: Path) -> None:
    strikes = [("tx", {"b": "41", "q": 0.1, "at": 0.2, "col": 0}), ("rx", {"b": "c1"}), ("motor", {"on": True})]
    assert not import_items(write_log(tmp_path, *strikes))


def test_a_tape_is_a_typed_line(tmp_path: Path) -> None:
    rows = tape.encode_text("ONCE UPON\nA TIME")
    answer = answer_events("Once upon\nA time", " there")
    path = write_log(tmp_path, typed_event(".READ"), ("tape", {"rows": rows.hex()}), *answer)
    command, *records = import_items(path)
    assert command == SkippedItem(str(path), "a command")
    assert texts_of(records) == ["Once upon\nA time", "there"]


def test_an_interrupted_answer_is_kept_and_an_empty_one_counted(tmp_path: Path) -> None:
    events = [
        typed_event("A"),
        *answer_events("A", " b c", finish="break"),
        typed_event("D"),
        *answer_events("A b c\nD", finish="error"),
    ]
    items = import_items(write_log(tmp_path, *events))
    assert texts_of(items) == ["A", "b c", "D"]
    assert skip_reasons(items) == ["an answer without text"]


def test_a_truncated_session_keeps_its_texts(tmp_path: Path) -> None:
    path = write_log(tmp_path, typed_event("HELLO"), *answer_events("Hello", " wor", "ld")[:-1], ("tx", {"b": "41"}))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    items = import_items(path)
    assert texts_of(items) == ["Hello", "world"]
    assert [type(item) for item in items if not isinstance(item, Record)] == [DamagedItem]


def test_a_log_without_its_first_event_is_claimed(tmp_path: Path) -> None:
    path = write_log(tmp_path, typed_event("HELLO"), *answer_events("Hello", " you"))
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    first, second = import_items(path)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.when, second.who) == (None, importer.MACHINE)


def test_a_log_of_a_later_version_is_reported(tmp_path: Path) -> None:
    path = write_log(tmp_path, typed_event("HELLO"), *answer_events("Hello", " you"), version=session_log.VERSION + 1)
    assert isinstance(import_items(path)[0], SourceWarning)


@pytest.mark.parametrize("line", ['{"text": "hello"}', '{"ev": "session"}', "", "words"])
def test_other_lines_are_not_claimed(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    assert not import_items(tmp_path)


@pytest.mark.parametrize("text", [5, None, [], "\ud800"])
def test_events_of_the_wrong_type_are_ignored(tmp_path: Path, text: Any) -> None:
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
    for item in import_items(path):
        if isinstance(item, Record):
            assert item.text.encode()
