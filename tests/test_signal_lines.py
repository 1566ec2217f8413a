import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tools.corpus.archive import Member, iter_members
from tools.corpus.importers import signal
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem

MORNING = "2024-06-01T10:00:00.123000"


def line(sender: str, body: str, **more: Any) -> dict[str, Any]:
    return {
        "date": MORNING,
        "sender": sender,
        "body": body,
        "quote": "",
        "sticker": None,
        "reactions": [],
        "attachments": [],
        "deleted": False,
        "call": False,
        "missed": False,
        **more,
    }


def chat(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data.json"
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines))
    return path


def taken(path: Path) -> list[ImportItem]:
    return list(signal.read_items(signal.claim([one for one in iter_members(path) if isinstance(one, Member)])))


def test_a_chat_is_its_folder_and_me_is_me(tmp_path: Path) -> None:
    path = chat(tmp_path / "Zoë 🌻", line("Zoë 🌻", "moin ☕  "), line("Me", "na du"))
    when = datetime.fromisoformat(MORNING).timestamp()
    assert taken(tmp_path) == [
        Record(str(path), "Zoë 🌻", "moin ☕", "Zoë 🌻", when, "message", False),
        Record(str(path), "Zoë 🌻", "na du", "Me", when, "message", True),
    ]


def test_a_chat_that_is_handed_over_by_itself_is_called_by_its_folder_too(tmp_path: Path) -> None:
    (found,) = taken(chat(tmp_path / "Bob", line("Bob", "hi")))
    assert isinstance(found, Record)
    assert found.thread == "Bob"


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (line("Bob", "", deleted=True), "a deleted message"),
        (line("Bob", "Incoming call  ", call=True), "a call"),
        (line("Bob", "  ", sticker={"emoji": "👍", "id": "1"}), "a sticker"),
        (line("Bob", "", attachments=[{"name": "2024-06-01_a.jpg", "path": "media/a.jpg"}]), "a photo"),
        (line("Bob", "", attachments=[{"name": "v.MP4"}]), "a video"),
        (line("Bob", "", attachments=[{"name": "v.ogg"}]), "a sound"),
        (line("Bob", "", attachments=["?"]), "a file"),
        (line("No-Sender", "  "), "a notice"),
        (line("Bob", " "), "an empty message"),
    ],
)
def test_what_has_no_text_is_counted(tmp_path: Path, one: dict[str, Any], why: str) -> None:
    path = chat(tmp_path / "Bob", one)
    assert taken(path) == [SkippedItem(str(path), why)]


def test_calls_of_older_versions_have_no_field(tmp_path: Path) -> None:
    old = {key: value for key, value in line("Me", "Outgoing call  ").items() if key != "call"}
    path = chat(tmp_path / "Bob", old, line("Bob", "Incoming call"))
    assert taken(path)[0] == SkippedItem(str(path), "a call")
    assert isinstance(taken(path)[1], Record)


def test_what_nobody_sent_has_no_writer_and_a_wrong_date_no_moment(tmp_path: Path) -> None:
    (found,) = taken(chat(tmp_path / "Bob", line("No-Sender", "who said that?", date="yesterday")))
    assert isinstance(found, Record)
    assert (found.who, found.when, found.mine) == ("", None, False)


def test_the_same_messages_in_other_forms_are_claimed_and_not_read(tmp_path: Path) -> None:
    chat(tmp_path / "Bob", line("Bob", "hi"))
    (tmp_path / "Bob/chat.md").write_text("[2024-06-01 10:00] Bob: hi\n")
    (tmp_path / "Bob/media").mkdir()
    (tmp_path / "Bob/media/letter.txt").write_text("Dear all")
    (tmp_path / "chat.md").write_text("# my own notes\n")
    found = taken(tmp_path)
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == [
        "the same messages once more",
        "an attached file",
    ]
    assert len(found) == 3


def test_a_line_that_breaks_off_is_told(tmp_path: Path) -> None:
    path = chat(tmp_path / "Bob", line("Bob", "whole"), line("Bob", "broken"))
    path.write_bytes(path.read_bytes()[:-30])
    whole, broken = taken(path)
    assert isinstance(whole, Record)
    assert broken == DamagedItem(f"{path}, line 2", "not JSON")
