from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus_items import damaged_of, import_path, make_folder, members_of, records_of, skip_reasons, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.corpus import detect
from tools.corpus.importers import telegram
from tools.corpus.record import ImportItem, KnownPerson


def message(number: int = 1, text: object = "Is the pump fixed?", **changes: object) -> dict[str, Any]:
    plain = {
        "id": number,
        "type": "message",
        "date": f"2021-03-01T10:{number:02}:00",
        "from": "Odo",
        "from_id": "user1",
    }
    return plain | {"text": text} | changes


def chat(*messages: object, **changes: object) -> dict[str, Any]:
    return {"name": "Boat club", "type": "private_group", "id": 7, "messages": list(messages)} | changes


def import_json(tmp_path: Path, content: object, name: str = "result.json") -> list[ImportItem]:
    return import_path(telegram, make_folder(tmp_path, {name: json.dumps(content)}))


def test_a_chat_has_names_times_and_its_title(tmp_path: Path) -> None:
    entities = ["Yes, see ", {"type": "text_link", "text": "the log", "href": "https://x.example"}, "."]
    second = message(2, entities, **{"from": "Mara", "from_id": "user2", "date_unixtime": "1614592860"})
    items = import_json(tmp_path, chat(message(), second))
    assert [(r.who, r.text, r.when, r.thread, r.mine) for r in records_of(items)] == [
        ("Odo", "Is the pump fixed?", 1614592860.0, "Boat club", False),
        ("Mara", "Yes, see the log.", 1614592860.0, "Boat club", False),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "service", "actor": "Odo", "action": "create_group", "text": ""}, "a notice"),
        ({"type": "service", "actor": "Odo", "action": "phone_call", "text": ""}, "a call"),
        ({"forwarded_from": "Lys"}, "a forwarded message"),
        ({"forwarded_from": None}, "a forwarded message"),
        ({"via_bot": "@gif"}, "a bot"),
        ({"text": "", "photo": "photos/1.jpg"}, "a photo"),
        ({"text": "", "media_type": "sticker", "file": "x.webp"}, "a sticker"),
        ({"text": "", "media_type": "voice_message", "file": "x.ogg"}, "a voice message"),
        ({"text": "", "file": "files/a.pdf", "mime_type": "application/pdf"}, "a file"),
        ({"text": "", "poll": {"question": "Tea?"}}, "a poll"),
        ({"text": "", "location_information": {"latitude": 1}}, "a location"),
        ({"text": [], "contact_information": {"first_name": "Odo"}}, "a contact"),
        ({"text": None}, "an empty message"),
    ],
)
def test_what_is_no_own_text_is_skipped(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    items = import_json(tmp_path, chat(message(1, **changes), message(2, "Fine.")))
    assert (texts_of(items), skip_reasons(items)) == (["Fine."], [reason])


def test_a_caption_and_a_reply_are_texts(tmp_path: Path) -> None:
    items = import_json(tmp_path, chat(message(1, "The pump", photo="p.jpg"), message(2, "Ah.", reply_to_message_id=1)))
    assert texts_of(items) == ["The pump", "Ah."]


def test_deleted_accounts_stay_different(tmp_path: Path) -> None:
    gone = [message(n, "hi", **{"from": None, "from_id": f"user{who}"}) for n, who in enumerate((5, 6, 5))]
    items = import_json(tmp_path, chat(*gone))
    assert [r.who for r in records_of(items)] == ["Deleted account", "Deleted account (6)", "Deleted account"]


def account(**changes: object) -> dict[str, Any]:
    private = {"name": "Odo", "type": "personal_chat", "id": 1, "messages": [message(1), message(2, "Yes.", from_id=9)]}
    gone = {
        "name": None,
        "type": "personal_chat",
        "id": 4,
        "messages": [message(1, "Bye.", **{"from": None, "from_id": 4})],
    }
    own = {
        "type": "saved_messages",
        "id": 9,
        "messages": [message(3, "Buy milk", **{"from": "Mara", "from_id": "user9"})],
    }
    bot = {"name": "Weather", "type": "bot_chat", "id": 8, "messages": [message(1, "Rain", from_id="user8")]}
    return {
        "about": "Here is the data you requested. Remember: Telegram is ad free.",
        "personal_information": {"user_id": 9, "first_name": "Mara", "last_name": "Quist"},
        "contacts": {"about": "x", "list": [{"first_name": "Lys", "last_name": "Vogel"}]},
        "sessions": {"list": [{"messages": [1]}]},
        "chats": {"about": "x", "list": [private, gone, own, bot]},
        "left_chats": {"about": "x", "list": [chat(message(1, "Old."), id=70, name="Old club")]},
    } | changes


def test_an_account_has_an_owner_and_many_chats(tmp_path: Path) -> None:
    items = import_json(tmp_path, account())
    assert [(r.thread, r.text, r.mine) for r in records_of(items)] == [
        ("Deleted account", "Bye.", False),
        ("Odo", "Is the pump fixed?", False),
        ("Odo", "Yes.", True),
        ("Old club", "Old.", False),
        ("Saved messages", "Buy milk", True),
    ]
    assert skip_reasons(items) == ["a bot"]
    people = {i.name for i in telegram.read_items(members_of(tmp_path)) if isinstance(i, KnownPerson)}
    assert people >= {"Mara Quist", "Lys Vogel", "Odo"}


def test_two_chats_with_one_name_are_two_threads(tmp_path: Path) -> None:
    chats = {"about": "x", "list": [chat(message(1), id=1), chat(message(2), id=2)]}
    items = import_json(tmp_path, {"about": "Telegram", "chats": chats})
    assert len({r.thread for r in records_of(items)}) == 2


def test_files_beside_an_export_belong_to_it(tmp_path: Path) -> None:
    files = {
        "ChatExport/result.json": json.dumps(chat(message())),
        "ChatExport/messages.html": "<html>",
        "ChatExport/files/list.txt": "attached",
        "ChatExport/own.txt": "not attached",
        "other.json": json.dumps({"type": "private_group"}),
    }
    result = detect.detect_kinds(make_folder(tmp_path, files))
    assert {g.kind: len(g.members) for g in result.groups} == {"telegram": 3, "text": 1}
    assert len(records_of(detect.read_items(result.groups[0]))) == 1


def test_an_incomplete_export_gives_what_is_there(tmp_path: Path) -> None:
    whole = json.dumps(chat(*(message(n, f"text {n}") for n in range(50))))
    (tmp_path / "result.json").write_text(whole[: len(whole) // 2])
    items = import_path(telegram, tmp_path)
    assert 10 < len(records_of(items)) < 50
    assert len(damaged_of(items)) == 1


def test_a_file_without_messages_is_reported_when_forced(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a.json": "{}"})
    items = list(telegram.read_items(members_of(tmp_path)))
    assert [i.reason for i in damaged_of(items)] == ["not an export of Telegram with messages"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["list", "text", "messages", "id"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["chats", "messages", "name", "personal_information", "contacts"]), json_values),
    st.dictionaries(
        st.sampled_from(["text", "from", "from_id", "date", "type", "file", "poll", "action"]), json_values
    ),
)
def test_any_values_are_survived(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], odd: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("odd")
    for value in (content, chat(message() | odd, odd), account(**content)):
        make_folder(path, {"result.json": json.dumps(value)})
        list(telegram.read_items(members_of(path)))
