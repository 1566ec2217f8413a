from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import archive
from tools.corpus.archive import Member
from tools.corpus.importers import messenger, messenger_content
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning

ANNA, BOB, ZOE = "Anna Example", "Bob Test", "Zo\u00eb M\u00fcller"
ROOTS = [
    "messages",
    "your_activity_across_facebook/messages",
    "your_facebook_activity/messages",
    "your_instagram_activity/messages",
    "facebook-anna/your_facebook_activity/messages",
]


def as_facebook_writes(value: Any) -> Any:
    """Each byte of UTF-8 as a character."""
    if isinstance(value, str):
        return value.encode().decode("latin-1")
    if isinstance(value, list):
        return [as_facebook_writes(item) for item in value]
    if isinstance(value, dict):
        return {key: as_facebook_writes(item) for key, item in value.items()}
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
    return json.dumps(as_facebook_writes(thread), indent=2).encode()


def encrypted_file(*messages: tuple[str, float, str], people: Sequence[str] = (ANNA, BOB), **more: Any) -> bytes:
    said = [
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
    thread = {"participants": list(people), "threadName": "Bob Test_7", "messages": said}
    return json.dumps(as_facebook_writes(thread)).encode()


def folder(top: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


def zipped(top: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(top / "facebook.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return top / "facebook.zip"


def claimed(path: Path) -> list[Member]:
    return list(messenger.claim([member for member in archive.iter_members(path) if isinstance(member, Member)]))


def found(path: Path) -> list[ImportItem]:
    return [one for one in messenger.read_items(claimed(path)) if not isinstance(one, KnownPerson)]


def records(path: Path) -> list[Record]:
    return [one for one in found(path) if isinstance(one, Record)]


def said(path: Path) -> list[tuple[str, str]]:
    return [(record.who, record.text) for record in records(path)]


def skipped(path: Path) -> list[str]:
    return [one.reason for one in found(path) if isinstance(one, SkippedItem)]


def one_message(tmp_path: Path, **fields: Any) -> list[ImportItem]:
    return found(folder(tmp_path, {"messages/inbox/bob_1/message_1.json": thread_file(message(BOB, 5, **fields))}))


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("box", ["inbox", "archived_threads", "filtered_threads", "message_requests", "e2ee_cutover"])
def test_every_root_and_box_is_known(tmp_path: Path, root: str, box: str) -> None:
    path = zipped(tmp_path, {f"{root}/{box}/bob_1/message_1.json": thread_file(message(BOB, 5, "hello"))})
    assert said(path) == [(BOB, "hello")]


def test_a_thread_comes_oldest_first_by_the_numbers_of_its_files(tmp_path: Path) -> None:
    files = {
        f"messages/inbox/bob_1/message_{number}.json": thread_file(
            message(BOB, 1000 - 10 * number, f"{number} late"), message(ANNA, 995 - 10 * number, f"{number} early")
        )
        for number in range(1, 12)
    }
    texts = [text for _, text in said(zipped(tmp_path, files))]
    assert texts == [f"{number} {when}" for number in range(11, 0, -1) for when in ("early", "late")]


def test_messages_of_one_moment_keep_their_order(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 9, "c"), message(BOB, 9, "b"), message(BOB, 5, "a"))
    assert [text for _, text in said(folder(tmp_path, {"inbox/bob_1/message_1.json": file}))] == ["a", "b", "c"]


def test_a_file_that_is_the_right_way_round_stays_so(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 5, "a"), message(ANNA, 6, "b"))
    assert [text for _, text in said(folder(tmp_path, {"inbox/bob_1/message_1.json": file}))] == ["a", "b"]


def test_names_texts_and_titles_are_what_they_were(tmp_path: Path) -> None:
    file = thread_file(
        message(ZOE, 7, "l\u00e0"),
        message(ZOE, 6, "\u201cquoted\u201d \u2013 don\u2019t"),
        message(ANNA, 5, "caf\u00e9 \U0001f44d\U0001f3fd"),
        people=[ANNA, ZOE],
        title="\u65e5\u672c \U0001f389",
    )
    (first, second, third) = records(folder(tmp_path, {"inbox/zoe_1/message_1.json": file}))
    assert first == Record(
        first.source, "\u65e5\u672c \U0001f389", "caf\u00e9 \U0001f44d\U0001f3fd", ANNA, 5.0, "message"
    )
    assert (second.who, second.text) == (ZOE, "\u201cquoted\u201d \u2013 don\u2019t")
    assert third.text == "l\u00e0"


def test_a_letter_whose_second_byte_is_a_blank_is_not_cut(tmp_path: Path) -> None:
    (record,) = one_message(tmp_path, content="voil\u00e0")
    assert isinstance(record, Record)
    assert record.text == "voil\u00e0"
    assert messenger_content.repair_text("\u00c5".encode().decode("latin-1")) == "\u00c5"


@pytest.mark.parametrize("text", ["caf\u00e9", "\u201cright\u201d", "na\u00efve \U0001f600"])
def test_a_text_that_is_right_already_is_left_alone(tmp_path: Path, text: str) -> None:
    file = thread_file(message(BOB, 5, "X")).replace(b'"X"', json.dumps(text).encode())
    assert [text for _, text in said(folder(tmp_path, {"inbox/bob_1/message_1.json": file}))] == [text]


@pytest.mark.parametrize(
    ("fields", "why"),
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
def test_what_has_no_text_is_counted_by_what_it_is(tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    assert [(type(one), getattr(one, "reason", "")) for one in one_message(tmp_path, **fields)] == [(SkippedItem, why)]


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
    ],
)
def test_what_facebook_says_is_no_message(tmp_path: Path, text: str) -> None:
    assert [getattr(one, "reason", one) for one in one_message(tmp_path, content=text)] == ["a system notice"]


@pytest.mark.parametrize(
    "text",
    [
        "Zo\u00eb left the chat.",  # Bob says so
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
    ],
)
def test_what_a_person_says_is(tmp_path: Path, text: str) -> None:
    (record,) = one_message(tmp_path, content=text)
    assert isinstance(record, Record)
    assert record.text == text


def test_a_link_comes_with_what_was_said_of_it(tmp_path: Path) -> None:
    share = {"link": "https://example.org", "share_text": "A page"}
    file = thread_file(
        message(BOB, 7, "You sent an attachment.", share=share),
        message(BOB, 6, share=share),
        message(BOB, 5, "read this https://example.org", share=share),
    )
    texts = [text for _, text in said(folder(tmp_path, {"inbox/bob_1/message_1.json": file}))]
    assert texts == ["read this https://example.org", "A page", "A page"]


def test_a_picture_with_words_keeps_its_words(tmp_path: Path) -> None:
    (record,) = one_message(tmp_path, content="look!", photos=[{"uri": "x.jpg"}])
    assert isinstance(record, Record)
    assert record.text == "look!"


def test_who_is_in_all_threads_is_the_owner(tmp_path: Path) -> None:
    files = {
        "messages/inbox/bob_1/message_1.json": thread_file(message(BOB, 6, "b"), message(ANNA, 5, "a")),
        "messages/inbox/zoe_2/message_1.json": thread_file(
            message(ANNA, 8, "a"), message(ZOE, 7, "z"), people=[ZOE, ANNA], title=ZOE
        ),
        "e2ee/Bob Test_7.json": encrypted_file((BOB, 9, "b"), (ANNA, 10, "a"), people=[BOB, ANNA]),
    }
    assert {record.who for record in records(folder(tmp_path, files)) if record.mine} == {ANNA}


def test_of_two_who_are_in_all_threads_none_is(tmp_path: Path) -> None:
    files = {"inbox/bob_1/message_1.json": thread_file(message(BOB, 6, "b"), message(ANNA, 5, "a"))}
    assert not any(record.mine for record in records(folder(tmp_path, files)))


def test_threads_of_one_title_are_two(tmp_path: Path) -> None:
    files = {f"messages/inbox/bob_{n}/message_1.json": thread_file(message(BOB, n, str(n))) for n in (1, 2)}
    assert len({record.thread for record in records(zipped(tmp_path, files))}) == 2


def test_a_thread_without_a_title_is_called_by_its_folder(tmp_path: Path) -> None:
    files = {"messages/inbox/bob_1/message_1.json": thread_file(message(BOB, 5, "x"), title="")}
    assert [record.thread for record in records(zipped(tmp_path, files))] == ["bob_1"]


def test_files_given_one_by_one_are_threads_of_their_own_folders(tmp_path: Path) -> None:
    folder(tmp_path, {f"{n}/message_1.json": thread_file(message(BOB, 5, n), title=n) for n in "ab"})
    both = [member for n in "ab" for member in claimed(tmp_path / n / "message_1.json")]
    assert [(one.thread, one.text) for one in messenger.read_items(both) if isinstance(one, Record)] == [
        ("a", "a"),
        ("b", "b"),
    ]


def test_the_encrypted_download_is_oldest_first(tmp_path: Path) -> None:
    files = {
        "Bob Test_7.json": encrypted_file((BOB, 5, "\U0001f44d caf\u00e9"), (ANNA, 6, "two"), (BOB, 6, "three")),
        "media/x.jpg": b"\xff\xd8",
        "settings.json": b'{"participants": "none of these"}',
        "backups.json": b'{"messages": []}',
    }
    assert said(folder(tmp_path, files)) == [(BOB, "\U0001f44d caf\u00e9"), (ANNA, "two"), (BOB, "three")]
    assert [record.when for record in records(tmp_path)] == [5.0, 6.0, 6.0]


def test_of_the_encrypted_download_too_what_has_no_text_is_counted(tmp_path: Path) -> None:
    file = json.loads(
        encrypted_file((BOB, 5, ""), (BOB, 6, "gone"), (BOB, 7, "You sent an attachment."), (BOB, 8, "x"))
    )
    file["messages"][0].update(media=[{"uri": "media/x.jpg"}], type="media")
    file["messages"][1].update(isUnsent=True)
    path = folder(tmp_path, {"Bob_1.json": json.dumps(file).encode()})
    assert skipped(path) == ["a photo, a video or a file", "an unsent message", "a system notice"]
    assert said(path) == [(BOB, "x")]


def test_a_file_that_breaks_off_keeps_what_was_whole_and_is_told(tmp_path: Path) -> None:
    whole = thread_file(message(BOB, 7, "c"), message(ANNA, 6, "b"), message(BOB, 5, "a"))
    files = {
        "inbox/bob_1/message_1.json": whole[: whole.index(b'"a"')],
        "inbox/bob_1/message_2.json": thread_file(message(BOB, 4, "before")),
        "inbox/zoe_1/message_1.json": thread_file(message(ZOE, 4, "z")),
    }
    everything = found(folder(tmp_path, files))
    assert [one.text for one in everything if isinstance(one, Record)] == ["before", "b", "c", "z"]
    (damaged,) = [one for one in everything if isinstance(one, DamagedItem)]
    assert damaged.source.endswith("inbox/bob_1/message_1.json")
    assert str(tmp_path) not in damaged.reason


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"[]", b"{}", b'{"participants": ['])
def test_what_is_no_thread_where_one_must_be_is_told(tmp_path: Path, data: bytes) -> None:
    everything = found(folder(tmp_path, {"messages/inbox/bob_1/message_1.json": data}))
    assert [type(one) for one in everything] == [DamagedItem]


def test_what_is_no_message_among_messages_is_counted(tmp_path: Path) -> None:
    file = thread_file(message(BOB, 5, "x")).replace(b'"messages": [', b'"messages": [null, 5, "x", [],')
    path = folder(tmp_path, {"inbox/bob_1/message_1.json": file})
    assert skipped(path) == ["what is no message"] * 4
    assert said(path) == [(BOB, "x")]


def test_a_download_in_html_is_told_with_its_cure(tmp_path: Path) -> None:
    everything = found(folder(tmp_path, {"messages/inbox/bob_1/message_1.html": b"<html>"}))
    assert [type(one) for one in everything] == [SourceWarning, SkippedItem]
    assert "JSON" in str(everything[0])


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
def test_what_is_another_importers_is_not_claimed(tmp_path: Path, name: str, data: bytes) -> None:
    assert claimed(folder(tmp_path, {name: data})) == []


@pytest.mark.parametrize("when", [None, "x", -5, 10**20, float("nan"), [], True, 0])
def test_a_moment_that_is_none_is_left_out(tmp_path: Path, when: Any) -> None:
    file = thread_file(message(BOB, 5, "x", timestamp_ms=when))
    assert [record.when for record in records(folder(tmp_path, {"inbox/b_1/message_1.json": file}))] == [None]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["sender_name", "timestamp_ms", "content", "photos", "share", "type", "is_unsent", "sticker"]
            ),
            st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2),
        ),
        max_size=5,
    )
)
def test_every_message_is_a_record_with_a_text_or_counted(
    tmp_path_factory: Any, messages: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "message_1.json"
    path.write_bytes(json.dumps({"participants": [{"name": BOB}], "messages": messages}).encode())
    everything = found(path)
    assert len(everything) == len(messages)
    for one in everything:
        assert isinstance(one, Record | SkippedItem)
        if isinstance(one, Record):
            assert one.text.strip()
            (one.text + one.who + one.thread).encode()


def test_a_long_thread_is_never_held_whole(tmp_path: Path) -> None:
    files = {
        f"inbox/bob_1/message_{part}.json": thread_file(
            *(message(BOB, 10_000_000 - 1000 * part - n, f"{part} {n} " + "x" * 50) for n in range(500))
        )
        for part in range(1, 11)
    }
    claimed_members = claimed(folder(tmp_path, files))
    tracemalloc.start()
    assert sum(isinstance(one, Record) for one in messenger.read_items(claimed_members)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5e6
