from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus_items import (
    damaged_of,
    import_path,
    make_folder,
    make_zip,
    members_of,
    records_of,
    skip_reasons,
    texts_of,
    warnings_of,
)
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.archive import Member
from tools.corpus.importers import messenger, messenger_content
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem

ANNA, BOB, ZOE = "Anna Example", "Bob Test", "Zo\u00eb M\u00fcller"
ROOTS = [
    "messages",
    "your_activity_across_facebook/messages",
    "your_facebook_activity/messages",
    "your_instagram_activity/messages",
    "facebook-anna/your_facebook_activity/messages",
]


def encode_like_facebook(value: Any) -> Any:
    """Returns the value with each byte of UTF-8 as a character."""
    if isinstance(value, str):
        return value.encode().decode("latin-1")
    if isinstance(value, list):
        return [encode_like_facebook(item) for item in value]
    if isinstance(value, dict):
        return {key: encode_like_facebook(item) for key, item in value.items()}
    return value


def message(who: str, when: float, content: str | None = None, **more: Any) -> dict[str, Any]:
    text = {} if content is None else {"content": content}
    return {"sender_name": who, "timestamp_ms": int(when * 1000), **text, "is_geoblocked_for_viewer": False, **more}


def thread_file(*messages: dict[str, Any], people: Sequence[str] = (ANNA, BOB), title: str = BOB) -> bytes:
    thread = {
        "participants": [{"name": name} for name in people],
        "messages": list(messages),
        "title": title,
        "is_still_participant": True,
        "thread_path": "inbox/x_1",
        "magic_words": [],
    }
    return json.dumps(encode_like_facebook(thread), indent=2).encode()


def encrypted_file(*messages: tuple[str, float, str], people: Sequence[str] = (ANNA, BOB), **more: Any) -> bytes:
    texts = [
        {
            "isUnsent": False,
            "media": [],
            "reactions": [],
            "senderName": who,
            "text": text,
            "timestamp": int(when * 1000),
            "type": "text",
            **more,
        }
        for who, when, text in messages
    ]
    thread = {"participants": list(people), "threadName": "Bob Test_7", "messages": texts}
    return json.dumps(encode_like_facebook(thread)).encode()


def claimed_members(path: Path) -> list[Member]:
    return list(messenger.claim(members_of(path)))


def import_items(path: Path) -> list[ImportItem]:
    return import_path(messenger, path)


def import_records(path: Path) -> list[Record]:
    return records_of(import_items(path))


def import_texts(path: Path) -> list[tuple[str, str]]:
    """Returns (writer, text) of each record."""
    return [(record.who, record.text) for record in import_records(path)]


def write_thread(folder: Path, data: bytes) -> Path:
    """Writes the only file of a download."""
    return make_folder(folder, {"messages/inbox/bob_1/message_1.json": data})


def import_message(folder: Path, **fields: Any) -> list[ImportItem]:
    return import_items(write_thread(folder, thread_file(message(BOB, 5, **fields))))


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("box", ["inbox", "archived_threads", "filtered_threads", "message_requests", "e2ee_cutover"])
def test_every_root_and_mailbox_is_claimed(tmp_path: Path, root: str, box: str) -> None:
    path = make_zip(
        tmp_path / "facebook.zip", {f"{root}/{box}/bob_1/message_1.json": thread_file(message(BOB, 5, "hello"))}
    )
    assert import_texts(path) == [(BOB, "hello")]


def test_a_thread_is_sorted_oldest_first_by_file_numbers(tmp_path: Path) -> None:
    files = {
        f"messages/inbox/bob_1/message_{number}.json": thread_file(
            message(BOB, 1000 - 10 * number, f"{number} late"), message(ANNA, 995 - 10 * number, f"{number} early")
        )
        for number in range(1, 12)
    }
    texts = texts_of(import_items(make_zip(tmp_path / "facebook.zip", files)))
    assert texts == [f"{number} {when}" for number in range(11, 0, -1) for when in ("early", "late")]


def test_messages_of_the_same_time_keep_their_order(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 9, "c"), message(BOB, 9, "b"), message(BOB, 5, "a"))
    assert texts_of(import_items(write_thread(tmp_path, file))) == ["a", "b", "c"]


def test_a_file_with_the_oldest_message_first_is_not_reversed(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 5, "a"), message(ANNA, 6, "b"))
    assert texts_of(import_items(write_thread(tmp_path, file))) == ["a", "b"]


def write_parts(folder: Path, *parts: list[tuple[float, str]]) -> Path:
    files = {
        f"messages/inbox/bob_1/message_{number}.json": thread_file(*(message(BOB, when, text) for when, text in part))
        for number, part in enumerate(parts, start=1)
    }
    return make_folder(folder, files)


@pytest.mark.parametrize(
    "parts",
    [
        [[(2, "b"), (1, "a")], [(4, "d"), (3, "c")]],  # the numbers go up with the time
        [[(4, "d"), (2, "b")], [(3, "c"), (1, "a")]],  # the times of the files overlap
        [[(4, "d"), (1, "a"), (3, "c"), (2, "b")]],  # a file without any order
        [[(4, "d")], [(1, "a"), (2, "b"), (3, "c")]],  # one file the one way, one the other
        [[(3, "c"), (4, "d")], [(2, "b"), (1, "a")], []],
    ],
)
def test_time_decides_where_files_disagree(tmp_path: Path, parts: list[list[tuple[float, str]]]) -> None:
    assert texts_of(import_items(write_parts(tmp_path, *parts))) == ["a", "b", "c", "d"]


@given(st.lists(st.lists(st.integers(1, 40), max_size=6), min_size=1, max_size=4))
def test_any_files_come_out_in_the_order_of_time(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]
) -> None:
    path = write_parts(tmp_path_factory.mktemp("t"), *([(when, str(when)) for when in part] for part in parts))
    times = [int(text) for text in texts_of(import_items(path))]
    assert times == sorted(when for part in parts for when in part)


def test_the_encoding_of_names_texts_and_titles_is_repaired(tmp_path: Path) -> None:
    file = thread_file(
        message(ZOE, 7, "l\u00e0"),
        message(ZOE, 6, "\u201cquoted\u201d \u2013 don\u2019t"),
        message(ANNA, 5, "caf\u00e9 \U0001f44d\U0001f3fd"),
        people=[ANNA, ZOE],
        title="\u65e5\u672c \U0001f389",
    )
    first, second, third = import_records(write_thread(tmp_path, file))
    assert (first.thread, first.who, first.when) == ("\u65e5\u672c \U0001f389", ANNA, 5.0)
    assert (first.text, first.kind, first.mine) == ("caf\u00e9 \U0001f44d\U0001f3fd", "message", False)
    assert (second.who, second.text) == (ZOE, "\u201cquoted\u201d \u2013 don\u2019t")
    assert third.text == "l\u00e0"


def test_a_letter_whose_second_byte_is_a_blank_survives(tmp_path: Path) -> None:
    (record,) = import_message(tmp_path, content="voil\u00e0")
    assert isinstance(record, Record)
    assert record.text == "voil\u00e0"
    assert messenger_content.repair_text("\u00c5".encode().decode("latin-1")) == "\u00c5"


@pytest.mark.parametrize("text", ["caf\u00e9", "\u201cright\u201d", "na\u00efve \U0001f600"])
def test_a_correct_text_is_unchanged(tmp_path: Path, text: str) -> None:
    file = thread_file(message(BOB, 5, "X")).replace(b'"X"', json.dumps(text).encode())
    assert texts_of(import_items(write_thread(tmp_path, file))) == [text]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"photos": [{"uri": "x.jpg", "creation_timestamp": 5}]}, "a photo"),
        ({"content": "Bob sent a photo.", "photos": [{"uri": "x.jpg"}]}, "a photo"),
        ({"videos": [{"uri": "x.mp4"}]}, "a video"),
        ({"audio_files": [{"uri": "x.aac"}]}, "a voice message"),
        ({"gifs": [{"uri": "x.gif"}]}, "a GIF"),
        ({"files": [{"uri": "x.pdf"}]}, "a file"),
        ({"sticker": {"uri": "x.png"}}, "a sticker"),
        ({"share": {"link": "https://example.org"}}, "a link"),
        ({"content": "Bob called you.", "call_duration": 61, "type": "Call"}, "a call"),
        ({"content": "Bob missed your call.", "call_duration": 0}, "a call"),
        ({"is_unsent": True}, "an unsent message"),
        ({"content": "You unsent a message", "is_unsent": True}, "an unsent message"),
        ({"content": "You added Bob to the group.", "type": "Subscribe"}, "a system notice"),
        ({"content": "Bob left the chat.", "type": "Unsubscribe"}, "a system notice"),
        ({"content": ""}, "a message without a text"),
        ({"content": "   "}, "a message without a text"),
        ({"content": 7}, "a message without a text"),
        ({}, "a message without a text"),
    ],
)
def test_messages_without_text_are_counted_by_reason(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    (item,) = import_message(tmp_path, **fields)
    assert isinstance(item, SkippedItem)
    assert item.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "Bob left the chat.",
        "Bob Test left the group.",
        "You sent an attachment.",
        "You sent 3 photos.",
        "Reacted \U0001f44d to your message ",
        "Bob reacted \U0001f602 to your message",
        "Bob named the group Sunday \U0001f389.",
        "Bob added Zo\u00eb to the group.",
        "Bob removed Zo\u00eb from the group.",
        "Bob changed the group photo.",
        "You changed the chat theme to Love.",
        "Bob set the nickname for Anna Example to Annie.",
        "You set your nickname to A.",
        "Bob set Anna's nickname to A.",
        "Bob set the emoji to \U0001f525.",
        "Bob cleared the nickname for Anna Example.",
        "Bob created the group.",
        "Bob created a poll: when?",
        "You missed a call from Bob.",
        "You missed a video chat with Bob.",
        "Bob started a video chat.",
        "The video chat ended.",
        "Bob joined the video chat.",
        "Bob started sharing video.",
        "Bob waved at you.",
        "You pinned a message.",
        "You are now connected on Messenger.",
        "Say hi to your new Facebook friend, Bob.",
        "This poll is no longer available.",
        "Bob made Anna a group admin.",
        "Liked a message",
        "Bob Liked a message",
        "Bob loved your photo",
        "Reacted to your story",
        "Bob replied to your story",
        "Bob reacted \U0001f602 to your story",
        "You mentioned Bob in your story",
        "Bob mentioned you in a comment",
        "Bob turned on disappearing messages. New messages will disappear from this chat 24 hours after they're sent.",
        'Bob responded "Can\'t Go" to Pump day.',
        "Bob started a plan.",
        "Bob's video chat ended",
        "Bob Test\u2019s call ended",
        "Video chat ended",
        "Audio call ended",
        "Missed video call",
        "Click for audio",
        "Click to view attachment",
        "You opened a disappearing photo",
        "Bob took a screenshot of the chat.",
        "Bob edited a message",
        "Bob waved at you!",
        "This message is no longer available because it was unsent by the sender.",
        "This story is no longer available",
        "Attachment unavailable",
    ],
)
def test_sentences_of_facebook_are_no_messages(tmp_path: Path, text: str) -> None:
    (item,) = import_message(tmp_path, content=text)
    assert isinstance(item, SkippedItem)
    assert item.reason == "a system notice"


@pytest.mark.parametrize(
    "text",
    [
        "Zo\u00eb left the chat.",  # written by Bob
        "you left the chat open",
        "You sent me to the wrong street",
        "You called it! Well done",
        "Bob is my name",
        "I reacted to your message",
        "the call ended badly",
        "You changed",
        "You",
        "Bob",
        "Bob likes the group photo.",
        "Liked it a lot",
        "Bob liked the message about boats, you know",
        "Click for audio at 10, she said",
        "You opened the door",
        "Bob's video is good",
        "This message is for you",
        "Missed you!",
    ],
)
def test_similar_sentences_of_people_are_messages(tmp_path: Path, text: str) -> None:
    (record,) = import_message(tmp_path, content=text)
    assert isinstance(record, Record)
    assert record.text == text


def test_a_shared_link_keeps_its_text(tmp_path: Path) -> None:
    share = {"link": "https://example.org", "share_text": "A page"}
    file = thread_file(
        message(BOB, 7, "You sent an attachment.", share=share),
        message(BOB, 6, share=share),
        message(BOB, 5, "read this https://example.org", share=share),
    )
    assert texts_of(import_items(write_thread(tmp_path, file))) == ["read this https://example.org", "A page", "A page"]


def test_a_picture_with_text_keeps_its_text(tmp_path: Path) -> None:
    (record,) = import_message(tmp_path, content="look!", photos=[{"uri": "x.jpg"}])
    assert isinstance(record, Record)
    assert record.text == "look!"


def test_the_person_in_all_threads_is_the_owner(tmp_path: Path) -> None:
    files = {
        "messages/inbox/bob_1/message_1.json": thread_file(message(BOB, 6, "b"), message(ANNA, 5, "a")),
        "messages/inbox/zoe_2/message_1.json": thread_file(
            message(ANNA, 8, "a"), message(ZOE, 7, "z"), people=[ZOE, ANNA], title=ZOE
        ),
        "e2ee/Bob Test_7.json": encrypted_file((BOB, 9, "b"), (ANNA, 10, "a"), people=[BOB, ANNA]),
    }
    assert {record.who for record in import_records(make_folder(tmp_path, files)) if record.mine} == {ANNA}


def test_two_people_in_all_threads_give_no_owner(tmp_path: Path) -> None:
    files = {"inbox/bob_1/message_1.json": thread_file(message(BOB, 6, "b"), message(ANNA, 5, "a"))}
    assert not any(record.mine for record in import_records(make_folder(tmp_path, files)))


def test_threads_of_the_same_title_stay_separate(tmp_path: Path) -> None:
    files = {f"messages/inbox/bob_{n}/message_1.json": thread_file(message(BOB, n, str(n))) for n in (1, 2)}
    assert len({record.thread for record in import_records(make_zip(tmp_path / "facebook.zip", files))}) == 2


def test_a_thread_without_a_title_is_named_by_its_folder(tmp_path: Path) -> None:
    files = {"messages/inbox/bob_1/message_1.json": thread_file(message(BOB, 5, "x"), title="")}
    assert [record.thread for record in import_records(make_zip(tmp_path / "facebook.zip", files))] == ["bob_1"]


def test_single_files_are_threads_of_their_folders(tmp_path: Path) -> None:
    make_folder(tmp_path, {f"{n}/message_1.json": thread_file(message(BOB, 5, n), title=n) for n in "ab"})
    members = [member for n in "ab" for member in claimed_members(tmp_path / n / "message_1.json")]
    records = records_of(messenger.read_items(members))
    assert [(record.thread, record.text) for record in records] == [("a", "a"), ("b", "b")]


def test_the_download_of_encrypted_chats_is_oldest_first(tmp_path: Path) -> None:
    files = {
        "Bob Test_7.json": encrypted_file((BOB, 5, "\U0001f44d caf\u00e9"), (ANNA, 6, "two"), (BOB, 6, "three")),
        "media/x.jpg": b"\xff\xd8",
        "settings.json": b'{"participants": "none of these"}',
        "backups.json": b'{"messages": []}',
    }
    assert import_texts(make_folder(tmp_path, files)) == [(BOB, "\U0001f44d caf\u00e9"), (ANNA, "two"), (BOB, "three")]
    assert [record.when for record in import_records(tmp_path)] == [5.0, 6.0, 6.0]


def test_encrypted_chats_count_messages_without_text(tmp_path: Path) -> None:
    texts = ("", "gone", "You sent an attachment.", "x")
    thread = json.loads(encrypted_file(*((BOB, when, text) for when, text in enumerate(texts, start=5))))
    thread["messages"][0].update(media=[{"uri": "media/x.jpg"}], type="media")
    thread["messages"][1].update(isUnsent=True)
    path = make_folder(tmp_path, {"Bob_1.json": json.dumps(thread).encode()})
    assert skip_reasons(import_items(path)) == ["a photo, a video or a file", "an unsent message", "a system notice"]
    assert import_texts(path) == [(BOB, "x")]


def test_a_truncated_file_keeps_its_complete_messages_and_is_reported(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 7, "c"), message(ANNA, 6, "b"), message(BOB, 5, "a"))
    files = {
        "inbox/bob_1/message_1.json": file[: file.index(b'"a"')],
        "inbox/bob_1/message_2.json": thread_file(message(BOB, 4, "before")),
        "inbox/zoe_1/message_1.json": thread_file(message(ZOE, 4, "z")),
    }
    items = import_items(make_folder(tmp_path, files))
    assert texts_of(items) == ["before", "b", "c", "z"]
    (damaged,) = damaged_of(items)
    assert damaged.source.endswith("inbox/bob_1/message_1.json")
    assert str(tmp_path) not in damaged.reason


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"[]", b"{}", b'{"participants": ['])
def test_a_file_that_is_no_thread_is_reported(tmp_path: Path, data: bytes) -> None:
    items = import_items(write_thread(tmp_path, data))
    assert [type(item) for item in items] == [DamagedItem]


def test_entries_that_are_no_messages_are_counted(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 5, "x")).replace(b'"messages": [', b'"messages": [null, 5, "x", [],')
    path = write_thread(tmp_path, file)
    assert skip_reasons(import_items(path)) == ["an entry that is no message"] * 4
    assert import_texts(path) == [(BOB, "x")]


def test_a_download_in_html_is_reported_with_a_cure(tmp_path: Path) -> None:
    page, file = "messages/inbox/bob_1/message_1.html", "messages/inbox/bob_1/message_1.json"
    items = import_items(make_folder(tmp_path, {page: b"<html>"}))
    assert [item.reason for item in damaged_of(items)] == ["1 file of messages is HTML: request a download in JSON"]
    items = import_items(make_folder(tmp_path, {file: thread_file(message(BOB, 5, "hello"))}))
    assert texts_of(items) == ["hello"]
    assert warnings_of(items) == ["1 file of messages is HTML: request a download in JSON"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("2020-01-01.json", b'[{"type": "message", "user": "U1", "text": "x"}]'),
        ("users.json", b'{"participants": 5}'),
        ("profile_information.json", b'{"profile_v2": {"name": {"full_name": "Anna"}}}'),
        ("photos/message_1.jpg", b"\xff\xd8"),
        ("package.json", b'{"messages": [], "name": "participants"}'),
        ("tweets.json", b'[{"text": "x", "is_retweet": false}]'),
    ],
)
def test_files_of_other_importers_are_not_claimed(tmp_path: Path, name: str, data: bytes) -> None:
    assert claimed_members(make_folder(tmp_path, {name: data})) == []


@pytest.mark.parametrize("when", [None, "x", -5, 10**20, float("nan"), [], True, 0])
def test_an_invalid_time_is_left_out(tmp_path: Path, when: Any) -> None:
    (record,) = import_message(tmp_path, content="x", timestamp_ms=when)
    assert isinstance(record, Record)
    assert record.when is None


KEYS = st.sampled_from(["sender_name", "timestamp_ms", "content", "photos", "share", "type", "is_unsent", "sticker"])
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)


@given(st.lists(st.dictionaries(KEYS, VALUES), max_size=5))
def test_every_message_is_a_record_or_counted(tmp_path_factory: Any, messages: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("t") / "message_1.json"
    path.write_bytes(json.dumps({"participants": [{"name": BOB}], "messages": messages}).encode())
    items = import_items(path)
    assert len(items) == len(messages)
    for item in items:
        assert isinstance(item, Record | SkippedItem)
        if isinstance(item, Record):
            assert item.text.strip()
            (item.text + item.who + item.thread).encode()


def test_a_long_thread_is_streamed(tmp_path: Path) -> None:
    files = {
        f"inbox/bob_1/message_{part}.json": thread_file(
            *(message(BOB, 10_000_000 - 1000 * part - n, f"{part} {n} " + "x" * 50) for n in range(500))
        )
        for part in range(1, 11)
    }
    members = claimed_members(make_folder(tmp_path, files))
    tracemalloc.start()
    assert sum(isinstance(item, Record) for item in messenger.read_items(members)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5e6
