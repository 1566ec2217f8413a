import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import jsonl
from tools.corpus.archive import Member, iter_members
from tools.corpus.fields import as_text, as_timestamp, join_names
from tools.corpus.importers import signal
from tools.corpus.importers.signal_mentions import fill_mentions
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning

JUNE = 1_717_236_000_000  # 1 June 2024, ten in the morning, in milliseconds
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


def item(chat: int, author: int, text: str | None, at: int = 0, **more: Any) -> dict[str, Any]:
    way: dict[str, Any] = {"outgoing": {}} if author == 1 else {"incoming": {"dateReceived": str(JUNE), "read": True}}
    standard = {"standardMessage": {} if text is None else {"text": {"body": text}}}
    content = more or standard
    return {"chatItem": {"chatId": str(chat), "authorId": str(author), "dateSent": str(JUNE + at), **way, **content}}


def export(folder: Path, items: Sequence[dict[str, Any]], head: Sequence[dict[str, Any]] = ()) -> Path:
    frames = [HEADER, ACCOUNT, *PEOPLE, *CHATS, *items] if not head else [*head, *items]
    path = folder / "main.jsonl"
    path.write_text("".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in frames))
    return path


def taken(path: Path) -> list[ImportItem]:
    ours = [one for one in iter_members(path) if isinstance(one, Member)]
    return [one for one in signal.read_items(signal.claim(ours)) if not isinstance(one, KnownPerson)]


def records(found: Sequence[ImportItem]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def reasons(found: Sequence[ImportItem]) -> list[str]:
    return [one.reason for one in found if isinstance(one, SkippedItem)]


def test_a_message_has_its_text_its_writer_its_chat_and_its_moment(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "first of all 🎉"), item(1, 1, "and mine")])
    first, second = taken(path)
    assert first == Record(str(path), "Bob", "first of all 🎉", "Bob", JUNE / 1000, "message", False)
    assert second == Record(str(path), "Bob", "and mine", "Ada King", JUNE / 1000, "message", True)


def test_chats_that_lie_mixed_come_one_after_the_other_oldest_first(tmp_path: Path) -> None:
    mixed = [item(2, 3, "b", 5), item(1, 2, "y", 6), item(2, 1, "a", 4), item(1, 1, "z", 7), item(2, 3, "c", 8)]
    found = records(taken(export(tmp_path, mixed)))
    assert [(one.thread, one.text) for one in found] == [
        ("Bob", "y"),
        ("Bob", "z"),
        ("Sunday Club", "a"),
        ("Sunday Club", "b"),
        ("Sunday Club", "c"),
    ]


def test_names_are_right_whatever_the_script(tmp_path: Path) -> None:
    found = records(taken(export(tmp_path, [item(2, 3, "grüß dich, 世界 👩‍👩‍👧"), item(2, 4, "who am I")])))
    assert [(one.who, one.text) for one in found] == [
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
def test_somebody_is_called_as_signal_shows_him(tmp_path: Path, contact: dict[str, Any], name: str) -> None:
    head = [HEADER, {"recipient": {"id": "2", "contact": contact}}, {"chat": {"id": "1", "recipientId": "2"}}]
    assert [one.who for one in records(taken(export(tmp_path, [item(1, 2, "hi")], head)))] == [name]


def test_two_people_of_one_name_are_two_chats(tmp_path: Path) -> None:
    twin = {"profileGivenName": "Sam"}
    head = [HEADER, *({"recipient": {"id": number, "contact": twin}} for number in "23")]
    head += [{"chat": {"id": number, "recipientId": number}} for number in "23"]
    found = records(taken(export(tmp_path, [item(2, 2, "one"), item(3, 3, "two")], head)))
    assert len({one.thread for one in found}) == 2


@pytest.mark.parametrize(
    ("content", "why"),
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
        ({"standardMessage": None}, "of a kind that is not known here"),
        ({"somethingNew": {}}, "of a kind that is not known here"),
        ({"directStoryReplyMessage": {"emoji": "👍"}}, "a reaction"),
    ],
)
def test_what_has_no_text_is_counted_and_never_an_empty_line(tmp_path: Path, content: dict[str, Any], why: str) -> None:
    found = taken(export(tmp_path, [item(1, 2, None, **content)]))
    assert found == [SkippedItem(str(tmp_path / "main.jsonl"), why)]


def test_a_photo_with_words_below_it_is_words(tmp_path: Path) -> None:
    content = {
        "standardMessage": {"text": {"body": "look"}, "attachments": [{"pointer": {"contentType": "image/png"}}]}
    }
    assert [one.text for one in records(taken(export(tmp_path, [item(1, 2, None, **content)])))] == ["look"]


def test_an_answer_to_a_story_is_words(tmp_path: Path) -> None:
    content = {"directStoryReplyMessage": {"textReply": {"text": {"body": "where is that"}}}}
    assert [one.text for one in records(taken(export(tmp_path, [item(1, 2, None, **content)])))] == ["where is that"]


def test_who_is_mentioned_stands_in_the_text(tmp_path: Path) -> None:
    body = {"body": "🎉 \ufffc and \ufffc, come", "bodyRanges": [
        {"start": 3, "length": 1, "mentionAci": "am8="},
        {"start": 9, "length": 1, "mentionAci": "Ym9i"},
        {"start": 0, "length": 2, "style": "BOLD"},
    ]}  # fmt: skip
    found = records(taken(export(tmp_path, [item(2, 1, None, standardMessage={"text": body})])))
    assert found[0].text == "🎉 @Zoë Ünal 🌻 and @Bob, come"


def test_a_mention_of_nobody_known_leaves_no_hole() -> None:
    assert fill_mentions("ask \ufffc", [(90, 1, "Bob"), (0, 2, "Eve"), ("x", None, "Zed")]) == "ask @somebody"


def test_news_from_signal_itself_is_nobodys_voice(tmp_path: Path) -> None:
    assert reasons(taken(export(tmp_path, [item(3, 10, "New in this version")]))) == ["news from Signal itself"]


def test_long_texts_that_are_cut_are_told(tmp_path: Path) -> None:
    long = {"standardMessage": {"text": {"body": "it begins"}, "longText": {}}}
    found = taken(export(tmp_path, [item(1, 2, None, **long)]))
    assert [one.text for one in records(found)] == ["it begins"]
    assert any(isinstance(one, SourceWarning) and one.message.startswith("1 long texts") for one in found)


def test_a_damaged_line_is_told_by_its_number_and_gone_over(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "before"), item(1, 2, "after", 1)])
    before, after = path.read_text().rsplit("\n", 2)[:2]
    path.write_text(f'{before}\n{{"chatItem": {{"chatId"\n{"[" * 5000}\n{after}\n')
    found = taken(path)
    number = before.count("\n") + 2
    assert [one.text for one in records(found)] == ["before", "after"]
    assert [one.source for one in found if isinstance(one, DamagedItem)] == [
        f"{path}, line {number}",
        f"{path}, line {number + 1}",
    ]


def test_a_thousand_damaged_lines_are_not_a_thousand_words(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "there")])
    path.write_text(path.read_text() + "{\n" * 1000)
    found = taken(path)
    damaged = [one for one in found if isinstance(one, DamagedItem)]
    assert len(damaged) == 4
    assert damaged[-1].reason == "997 more lines are damaged"
    assert len(records(found)) == 1


def test_a_line_that_no_memory_holds_is_told_and_gone_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 9000)
    monkeypatch.setattr(jsonl, "CHUNK_BYTES", 1000)
    path = export(tmp_path, [item(1, 2, "before"), item(1, 2, "x" * 50_000), item(1, 2, "after", 1)])
    found = taken(path)
    assert [one.text for one in records(found)] == ["before", "after"]
    assert [one.reason for one in found if isinstance(one, DamagedItem)] == ["too long for a message"]


def test_a_byte_that_is_no_utf8_costs_a_character_and_not_the_message(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "caf? noir")])
    path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    found = taken(path)
    assert [one.text for one in records(found)] == ["caf\ufffd noir"]
    assert next(one.message for one in found if isinstance(one, SourceWarning)).startswith("1 line is not all UTF-8")


def test_half_an_emoji_can_be_written(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "cut HERE")])
    path.write_text(path.read_text().replace("HERE", "\\ud83d"))
    assert [one.text.encode() for one in records(taken(path))] == ["cut \ufffd".encode()]


def test_an_export_without_its_header_or_with_a_mark_before_it_is_one(tmp_path: Path) -> None:
    path = export(tmp_path, [item(1, 2, "hi")], [*PEOPLE, *CHATS])
    assert len(records(taken(path))) == 1
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(records(taken(path))) == 1


def test_what_lies_beside_an_export_is_claimed_and_never_read_as_text(tmp_path: Path) -> None:
    export(tmp_path, [item(1, 2, "hi")])
    (tmp_path / "metadata.json").write_text('{"version":1}')
    (tmp_path / "files/ab").mkdir(parents=True)
    (tmp_path / "files/ab/abcd.txt").write_text("somebody else's essay")
    (tmp_path / "mine.txt").write_text("a text of mine")
    ours = [one for one in iter_members(tmp_path) if isinstance(one, Member)]
    claimed = signal.claim(ours)
    assert {member.name for member in claimed} == {"main.jsonl", "metadata.json", "files/ab/abcd.txt"}
    assert sorted(reasons(list(signal.read_items(claimed)))) == ["about the export", "an attached file"]


def test_json_lines_of_anything_else_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "main.jsonl").write_text('{"text": "hello", "version": 1}\n')
    (tmp_path / "metadata.json").write_text('{"version":1}')
    assert not signal.claim([one for one in iter_members(tmp_path) if isinstance(one, Member)])


def test_a_database_that_is_encrypted_is_told_with_the_cure(tmp_path: Path) -> None:
    for name in ("db.sqlite", "signal-2024-06-01-10-00-00.backup"):
        (tmp_path / name).write_bytes(bytes(range(255, 0, -1)) * 8)
    found = taken(tmp_path)
    assert len(found) == 2
    assert all(isinstance(one, DamagedItem) and "Settings, Chats, Export" in one.reason for one in found)


KEYS = (
    *("recipient", "chat", "chatItem", "account", "contact", "group", "snapshot", "title", "id", "authorId"),
    *("standardMessage", "text", "body", "bodyRanges", "start", "mentionAci", "attachments", "dateSent"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(frames=st.lists(ANYTHING, max_size=4))
def test_whatever_a_frame_holds_nothing_is_raised_and_no_text_is_empty(
    frames: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "main.jsonl"
    path.write_text("".join(json.dumps(frame) + "\n" for frame in (HEADER, *frames)))
    for one in taken(path):
        if isinstance(one, Record):
            assert one.text.strip()
            one.text.encode()


@given(value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8))
def test_any_moment_is_seconds_or_none(value: object) -> None:
    when = as_timestamp(value)
    assert when is None or 0 < when < 1e12


@given(text=st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_written(text: str) -> None:
    as_text(text).encode()


@given(text=st.text())
def test_a_sound_text_is_only_stripped(text: str) -> None:
    assert as_text(text) == text.strip()


def test_a_name_is_joined_of_what_there_is() -> None:
    assert join_names("Ada", None, " ", "King") == "Ada King"
