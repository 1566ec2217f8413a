import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus_items import damaged_of, import_path, members_of, records_of, skip_reasons, texts_of, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import jsonl
from tools.corpus.fields import as_text, as_timestamp, join_names
from tools.corpus.importers import signal
from tools.corpus.importers.signal_message import fill_mentions
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem

JUNE = 1_717_236_000_000  # 1 June 2024, 10:00 UTC, in milliseconds
HEADER: dict[str, Any] = {"version": "1", "backupTimeMs": str(JUNE), "mediaRootBackupKey": "c2VjcmV0"}
ACCOUNT: dict[str, Any] = {"account": {"profileKey": "a2V5", "givenName": "Ada", "familyName": "King"}}
PEOPLE: list[dict[str, Any]] = [
    {"recipient": {"id": "1", "self": {}}},
    {"recipient": {"id": "2", "contact": {"aci": "Ym9i", "e164": "441632960001", "profileGivenName": "Bob"}}},
    {"recipient": {"id": "3", "contact": {"aci": "am8=", "profileGivenName": "Zoë", "profileFamilyName": "Ünal 🌻"}}},
    {"recipient": {"id": "4", "contact": {"aci": "eA==", "e164": "441632960002"}}},
    {"recipient": {"id": "9", "group": {"snapshot": {"title": {"title": "Sunday Club"}}}}},
    {"recipient": {"id": "10", "releaseNotes": {}}},
]
CHATS: list[dict[str, Any]] = [
    {"chat": {"id": "1", "recipientId": "2"}},
    {"chat": {"id": "2", "recipientId": "9"}},
    {"chat": {"id": "3", "recipientId": "10"}},
]


def chat_item(chat: int, author: int, text: str | None, at: int = 0, **more: Any) -> dict[str, Any]:
    incoming: dict[str, Any] = {"incoming": {"dateReceived": str(JUNE), "read": True}}
    direction = {"outgoing": {}} if author == 1 else incoming
    content = more or {"standardMessage": {} if text is None else {"text": {"body": text}}}
    ids = {"chatId": str(chat), "authorId": str(author), "dateSent": str(JUNE + at)}
    return {"chatItem": ids | direction | content}


def write_export(folder: Path, items: Sequence[dict[str, Any]], head: Sequence[dict[str, Any]] = ()) -> Path:
    frames = [HEADER, ACCOUNT, *PEOPLE, *CHATS, *items] if not head else [*head, *items]
    path = folder / "main.jsonl"
    path.write_text("".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in frames))
    return path


def import_items(path: Path) -> list[ImportItem]:
    return import_path(signal, path)


def import_content(folder: Path, **content: Any) -> list[ImportItem]:
    """Imports one message from Bob with this content."""
    return import_items(write_export(folder, [chat_item(1, 2, None, **content)]))


def test_a_message_has_text_sender_chat_and_time(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "first of all 🎉"), chat_item(1, 1, "and mine")])
    first, second = import_items(path)
    assert first == Record(str(path), "Bob", "first of all 🎉", "Bob", JUNE / 1000, "message", False)
    assert second == Record(str(path), "Bob", "and mine", "Ada King", JUNE / 1000, "message", True)


def test_mixed_chats_are_sorted_oldest_first(tmp_path: Path) -> None:
    mixed = [(2, 3, "b", 5), (1, 2, "y", 6), (2, 1, "a", 4), (1, 1, "z", 7), (2, 3, "c", 8)]
    path = write_export(tmp_path, [chat_item(chat, author, text, at) for chat, author, text, at in mixed])
    records = records_of(import_items(path))
    assert [record.thread for record in records] == ["Bob"] * 2 + ["Sunday Club"] * 3
    assert texts_of(records) == ["y", "z", "a", "b", "c"]


def test_names_of_all_scripts_are_kept(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(2, 3, "grüß dich, 世界 👩‍👩‍👧"), chat_item(2, 4, "who am I")])
    assert [(record.who, record.text) for record in records_of(import_items(path))] == [
        ("Zoë Ünal 🌻", "grüß dich, 世界 👩‍👩‍👧"),
        ("+441632960002", "who am I"),
    ]


@pytest.mark.parametrize(
    ("contact", "name"),
    [
        ({"nickname": {"given": "Bobby"}, "systemGivenName": "Robert", "profileGivenName": "bob"}, "Bobby"),
        ({"systemGivenName": "Robert", "systemFamilyName": "Cole", "profileGivenName": "bob"}, "Robert Cole"),
        ({"profileGivenName": "", "username": "bob.01"}, "bob.01"),
        ({}, "Somebody 2"),
    ],
)
def test_people_are_named_as_signal_shows_them(tmp_path: Path, contact: dict[str, Any], name: str) -> None:
    head = [HEADER, {"recipient": {"id": "2", "contact": contact}}, {"chat": {"id": "1", "recipientId": "2"}}]
    (record,) = records_of(import_items(write_export(tmp_path, [chat_item(1, 2, "hi")], head)))
    assert record.who == name


def test_two_people_of_the_same_name_are_two_chats(tmp_path: Path) -> None:
    twin = {"profileGivenName": "Sam"}
    head = [HEADER, *({"recipient": {"id": number, "contact": twin}} for number in "23")]
    head += [{"chat": {"id": number, "recipientId": number}} for number in "23"]
    items = records_of(import_items(write_export(tmp_path, [chat_item(2, 2, "one"), chat_item(3, 3, "two")], head)))
    assert len({item.thread for item in items}) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"stickerMessage": {}}, "a sticker"),
        ({"remoteDeletedMessage": {}}, "a deleted message"),
        ({"updateMessage": {"simpleUpdate": {"type": "JOINED_SIGNAL"}}}, "a notice"),
        ({"updateMessage": {"individualCall": {}}}, "a call"),
        ({"contactMessage": {}}, "a contact"),
        ({"standardMessage": {"attachments": [{"pointer": {"contentType": "image/jpeg"}}]}}, "a photo"),
        ({"standardMessage": {"attachments": [{"pointer": {}, "flag": "VOICE_MESSAGE"}]}}, "a voice message"),
        ({"standardMessage": {"text": {"body": "  \n"}}}, "an empty message"),
        ({"standardMessage": {}}, "an empty message"),
        ({"standardMessage": None}, "a message of unknown kind"),
        ({"somethingNew": {}}, "a message of unknown kind"),
        ({"directStoryReplyMessage": {"emoji": "👍"}}, "a reaction"),
    ],
)
def test_messages_without_text_are_counted(tmp_path: Path, content: dict[str, Any], reason: str) -> None:
    assert import_content(tmp_path, **content) == [SkippedItem(str(tmp_path / "main.jsonl"), reason)]


def test_a_photo_with_a_caption_is_a_text(tmp_path: Path) -> None:
    standard = {"text": {"body": "look"}, "attachments": [{"pointer": {"contentType": "image/png"}}]}
    assert texts_of(import_content(tmp_path, standardMessage=standard)) == ["look"]


def test_a_reply_to_a_story_is_a_text(tmp_path: Path) -> None:
    reply = {"textReply": {"text": {"body": "where is that"}}}
    assert texts_of(import_content(tmp_path, directStoryReplyMessage=reply)) == ["where is that"]


def test_mentions_are_filled_in(tmp_path: Path) -> None:
    body = {"body": "🎉 \ufffc and \ufffc, come", "bodyRanges": [
        {"start": 3, "length": 1, "mentionAci": "am8="},
        {"start": 9, "length": 1, "mentionAci": "Ym9i"},
        {"start": 0, "length": 2, "style": "BOLD"},
    ]}  # fmt: skip
    assert texts_of(import_content(tmp_path, standardMessage={"text": body})) == ["🎉 @Zoë Ünal 🌻 and @Bob, come"]


def test_a_mention_of_an_unknown_person_is_filled_in() -> None:
    assert fill_mentions("ask \ufffc", [(90, 1, "Bob"), (0, 2, "Eve"), ("x", None, "Zed")]) == "ask @somebody"


def test_news_from_signal_is_skipped(tmp_path: Path) -> None:
    items = import_items(write_export(tmp_path, [chat_item(3, 10, "New in this version")]))
    assert skip_reasons(items) == ["news from Signal itself"]


def test_truncated_texts_are_reported(tmp_path: Path) -> None:
    items = import_content(tmp_path, standardMessage={"text": {"body": "it begins"}, "longText": {}})
    assert texts_of(items) == ["it begins"]
    assert any(message.startswith("1 long texts") for message in warnings_of(items))


def test_a_damaged_line_is_reported_by_number_and_skipped(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "before"), chat_item(1, 2, "after", 1)])
    before, after = path.read_text().rsplit("\n", 2)[:2]
    path.write_text(f'{before}\n{{"chatItem": {{"chatId"\n{"[" * 5000}\n{after}\n')
    items = import_items(path)
    number = before.count("\n") + 2
    assert texts_of(items) == ["before", "after"]
    assert [item.source for item in damaged_of(items)] == [
        f"{path}, line {number}",
        f"{path}, line {number + 1}",
    ]


def test_only_the_first_damaged_lines_are_listed(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "there")])
    path.write_text(path.read_text() + "{\n" * 1000)
    items = import_items(path)
    damaged = damaged_of(items)
    assert len(damaged) == 4
    assert damaged[-1].reason == "997 more lines are damaged"
    assert len(records_of(items)) == 1


def test_a_huge_line_is_reported_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 9000)
    monkeypatch.setattr(jsonl, "CHUNK_BYTES", 1000)
    messages = [chat_item(1, 2, text) for text in ("before", "x" * 50_000, "after")]
    items = import_items(write_export(tmp_path, messages))
    assert texts_of(items) == ["before", "after"]
    assert [item.reason for item in damaged_of(items)] == ["too long for a message"]


def test_a_byte_that_is_not_utf8_costs_no_message(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "caf? noir")])
    path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    items = import_items(path)
    assert texts_of(items) == ["café noir"]
    assert warnings_of(items)[0].startswith("UTF-8, but for 1 character read as cp1252 (é)")


def test_a_lone_surrogate_can_be_encoded(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "cut HERE")])
    path.write_text(path.read_text().replace("HERE", "\\ud83d"))
    assert [item.text.encode() for item in records_of(import_items(path))] == ["cut \ufffd".encode()]


def test_an_export_without_header_or_with_byte_order_mark_is_claimed(tmp_path: Path) -> None:
    path = write_export(tmp_path, [chat_item(1, 2, "hi")], [*PEOPLE, *CHATS])
    assert len(records_of(import_items(path))) == 1
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(records_of(import_items(path))) == 1


def test_files_of_an_export_are_claimed_and_not_read_as_text(tmp_path: Path) -> None:
    write_export(tmp_path, [chat_item(1, 2, "hi")])
    (tmp_path / "metadata.json").write_text('{"version":1}')
    (tmp_path / "files/ab").mkdir(parents=True)
    (tmp_path / "files/ab/abcd.txt").write_text("somebody else's essay")
    (tmp_path / "mine.txt").write_text("a text of mine")
    claimed = signal.claim(members_of(tmp_path))
    assert {member.name for member in claimed} == {"main.jsonl", "metadata.json", "files/ab/abcd.txt"}
    assert sorted(skip_reasons(list(signal.read_items(claimed)))) == ["an attached file", "metadata of the export"]


def test_other_json_lines_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "main.jsonl").write_text('{"text": "hello", "version": 1}\n')
    (tmp_path / "metadata.json").write_text('{"version":1}')
    assert not signal.claim(members_of(tmp_path))


def test_an_encrypted_database_is_reported_with_a_cure(tmp_path: Path) -> None:
    for name in ("db.sqlite", "signal-2024-06-01-10-00-00.backup"):
        (tmp_path / name).write_bytes(bytes(range(255, 0, -1)) * 8)
    items = import_items(tmp_path)
    assert len(items) == 2
    assert all(isinstance(item, DamagedItem) and "Settings, Chats, Export" in item.reason for item in items)


KEYS = (
    *("recipient", "chat", "chatItem", "account", "contact", "group", "snapshot", "title", "id", "authorId"),
    *("standardMessage", "text", "body", "bodyRanges", "start", "mentionAci", "attachments", "dateSent"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(frames=st.lists(ANYTHING, max_size=4))
def test_no_frame_raises_and_no_text_is_empty(frames: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "main.jsonl"
    path.write_text("".join(json.dumps(frame) + "\n" for frame in (HEADER, *frames)))
    for item in import_items(path):
        if isinstance(item, Record):
            assert item.text.strip()
            item.text.encode()


@given(value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8))
def test_any_time_is_seconds_or_none(value: object) -> None:
    when = as_timestamp(value)
    assert when is None or 0 < when < 1e12


@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_encoded(text: str) -> None:
    as_text(text).encode()


@given(text=st.text())
def test_a_correct_text_is_only_stripped(text: str) -> None:
    assert as_text(text) == text.strip()


def test_a_name_is_joined_from_its_parts() -> None:
    assert join_names("Ada", None, " ", "King") == "Ada King"
