import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from corpus_items import import_path, skip_reasons

from tools.corpus.importers import signal
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem

MORNING = "2024-06-01T10:00:00.123000"


def json_line(sender: str, body: str, **more: Any) -> dict[str, Any]:
    line: dict[str, Any] = {"date": MORNING, "sender": sender, "body": body, "quote": "", "sticker": None}
    return line | {"reactions": [], "attachments": [], "deleted": False, "call": False, "missed": False} | more


def write_chat(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data.json"
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in lines))
    return path


def import_items(path: Path) -> list[ImportItem]:
    return import_path(signal, path)


def test_a_chat_is_named_by_its_folder_and_me_is_the_owner(tmp_path: Path) -> None:
    path = write_chat(tmp_path / "Zoë 🌻", json_line("Zoë 🌻", "moin ☕  "), json_line("Me", "na du"))
    when = datetime.fromisoformat(MORNING).timestamp()
    assert import_items(tmp_path) == [
        Record(str(path), "Zoë 🌻", "moin ☕", "Zoë 🌻", when, "message", False),
        Record(str(path), "Zoë 🌻", "na du", "Me", when, "message", True),
    ]


def test_a_single_chat_file_is_named_by_its_folder(tmp_path: Path) -> None:
    (record,) = import_items(write_chat(tmp_path / "Bob", json_line("Bob", "hi")))
    assert isinstance(record, Record)
    assert record.thread == "Bob"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (json_line("Bob", "", deleted=True), "a deleted message"),
        (json_line("Bob", "Incoming call  ", call=True), "a call"),
        (json_line("Bob", "  ", sticker={"emoji": "👍", "id": "1"}), "a sticker"),
        (json_line("Bob", "", attachments=[{"name": "2024-06-01_a.jpg", "path": "media/a.jpg"}]), "a photo"),
        (json_line("Bob", "", attachments=[{"name": "v.MP4"}]), "a video"),
        (json_line("Bob", "", attachments=[{"name": "v.ogg"}]), "a sound"),
        (json_line("Bob", "", attachments=["?"]), "a file"),
        (json_line("No-Sender", "  "), "a notice"),
        (json_line("Bob", " "), "an empty message"),
    ],
)
def test_messages_without_text_are_counted(tmp_path: Path, entry: dict[str, Any], reason: str) -> None:
    path = write_chat(tmp_path / "Bob", entry)
    assert import_items(path) == [SkippedItem(str(path), reason)]


def test_calls_of_older_versions_are_recognised(tmp_path: Path) -> None:
    old = {key: value for key, value in json_line("Me", "Outgoing call  ").items() if key != "call"}
    path = write_chat(tmp_path / "Bob", old, json_line("Bob", "Incoming call"))
    assert import_items(path)[0] == SkippedItem(str(path), "a call")
    assert isinstance(import_items(path)[1], Record)


def test_a_message_without_sender_or_date_is_kept(tmp_path: Path) -> None:
    (record,) = import_items(write_chat(tmp_path / "Bob", json_line("No-Sender", "who said that?", date="yesterday")))
    assert isinstance(record, Record)
    assert (record.who, record.when, record.mine) == ("", None, False)


def test_copies_of_the_messages_are_claimed_and_not_read(tmp_path: Path) -> None:
    write_chat(tmp_path / "Bob", json_line("Bob", "hi"))
    (tmp_path / "Bob/chat.md").write_text("[2024-06-01 10:00] Bob: hi\n")
    (tmp_path / "Bob/media").mkdir()
    (tmp_path / "Bob/media/letter.txt").write_text("Dear all")
    (tmp_path / "chat.md").write_text("# my own notes\n")
    items = import_items(tmp_path)
    assert skip_reasons(items) == ["the same messages once more", "an attached file"]
    assert len(items) == 3


def test_a_truncated_line_is_reported(tmp_path: Path) -> None:
    path = write_chat(tmp_path / "Bob", json_line("Bob", "whole"), json_line("Bob", "broken"))
    path.write_bytes(path.read_bytes()[:-30])
    record, damaged = import_items(path)
    assert isinstance(record, Record)
    assert damaged == DamagedItem(f"{path}, line 2", "not JSON")
