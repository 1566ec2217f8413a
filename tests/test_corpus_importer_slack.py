import json
from pathlib import Path
from typing import Any

import pytest
from corpus_items import damaged_of, import_path, make_folder, make_zip, members_of, records_of, skip_reasons, texts_of
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.importers import slack
from tools.corpus.importers.slack_text import EMOJI, to_plain_text
from tools.corpus.record import ImportItem, Record, SkippedItem

USERS: list[dict[str, Any]] = [
    {"id": "U1", "name": "ada", "real_name": "Ada King", "profile": {"real_name": "Ada King", "display_name": "ada"}},
    {"id": "U2", "name": "bob", "profile": {"real_name": "", "display_name": "Bób 🌻"}},
    {"id": "U3", "name": "hal", "is_bot": True, "profile": {"real_name": "Hal"}},
]
CHANNELS = [{"id": "C1", "name": "general"}]
DMS = [{"id": "D1", "members": ["U1", "U2"]}]
VIDEO = {"mimetype": "video/x"}


def slack_message(text: str, ts: str = "1717236000.000100", user: str = "U1", **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def write_export(folder: Path, days: dict[str, Any], lists: bool = True) -> Path:
    contents: dict[str, Any] = {f"{name}.json": day for name, day in days.items()}
    if lists:
        contents |= {"users.json": USERS, "channels.json": CHANNELS, "dms.json": DMS, "integration_logs.json": []}
    for name, content in contents.items():
        if not isinstance(content, str):
            contents[name] = json.dumps(content, ensure_ascii=False)
    return make_folder(folder, contents)


def import_items(path: Path) -> list[ImportItem]:
    return import_path(slack, path)


def test_a_message_has_text_sender_channel_and_time(tmp_path: Path) -> None:
    write_export(tmp_path, {"general/2024-06-01": [slack_message("good morning ☕")]})
    source = str(tmp_path / "general/2024-06-01.json")
    record = Record(source, "general", "good morning ☕", "Ada King", 1717236000.0001, "message", False)
    assert import_items(tmp_path) == [record]


def test_days_and_channels_are_in_order(tmp_path: Path) -> None:
    days = {
        "random/2024-06-02": [slack_message("c", "5.0"), slack_message("b", "4.0")],
        "random/2024-06-01": [slack_message("a", "3.0")],
        "general/2024-06-03": [slack_message("first", "9.0")],
    }
    records = records_of(import_items(write_export(tmp_path, days)))
    assert [record.thread for record in records] == ["general", "random", "random", "random"]
    assert texts_of(records) == ["first", "a", "b", "c"]


def test_replies_form_a_thread_and_each_message_occurs_once(tmp_path: Path) -> None:
    broadcast = slack_message("yes, all", "4.0", "U2", thread_ts="1.0", subtype="thread_broadcast")
    days = {
        "general/2024-06-01": [
            slack_message("lunch?", "1.0", thread_ts="1.0", reply_count=2),
            slack_message("by the way", "2.0"),
            slack_message("yes", "3.0", "U2", thread_ts="1.0"),
            broadcast,
        ],
        "general/2024-06-02": [slack_message("late", "5.0", thread_ts="1.0"), broadcast],
    }
    items = import_items(write_export(tmp_path, days))
    assert [record.thread for record in records_of(items)] == ["general"] + ["general 1.0"] * 4
    assert texts_of(items) == ["by the way", "lunch?", "yes", "yes, all", "late"]
    assert skip_reasons(items) == ["the same message once more"]


def test_direct_messages_are_named_by_their_members(tmp_path: Path) -> None:
    (record,) = records_of(import_items(write_export(tmp_path, {"D1/2024-06-01": [slack_message("psst", user="U2")]})))
    assert (record.thread, record.who) == ("Ada King, Bób 🌻", "Bób 🌻")


def test_without_lists_names_come_from_the_messages(tmp_path: Path) -> None:
    profile = {"real_name": "Zoë Ünal", "display_name": "zoe", "first_name": "Zoë", "name": "zoe"}
    day = [slack_message("hi <@U1>", "1.0", "U9", user_profile=profile), slack_message("who", "2.0", "U8")]
    items = records_of(import_items(write_export(tmp_path, {"general/2024-06-01": day}, lists=False)))
    assert [(item.who, item.text) for item in items] == [("Zoë Ünal", "hi @U1"), ("U8", "who")]


@pytest.mark.parametrize("lists", [True, False])
def test_a_person_who_is_not_listed_has_one_name(tmp_path: Path, lists: bool) -> None:
    profile = {"real_name": "Odo Brink"}
    days = {
        "a/2024-06-01": [slack_message("one", "1.0", "U9")],
        "b/2024-06-01": [slack_message("two <@U9>", "2.0", "U9", user_profile=profile)],
        "c/2024-06-02": [slack_message("three", "3.0", "U9"), slack_message("who", "4.0", "U8")],
    }
    items = records_of(import_items(write_export(tmp_path, days, lists=lists)))
    assert [(item.who, item.text) for item in items] == [
        ("Odo Brink", "one"),
        ("Odo Brink", "two @Odo Brink"),
        ("Odo Brink", "three"),
        ("U8", "who"),
    ]


def test_a_person_who_was_renamed_has_the_last_name(tmp_path: Path) -> None:
    days = {
        f"a/2024-06-0{n}": [slack_message("hi", f"{n}.0", "U9", user_profile={"real_name": f"Odo {n}"})]
        for n in (2, 1, 3)
    }
    assert {item.who for item in records_of(import_items(write_export(tmp_path, days)))} == {"Odo 3"}


def test_a_text_that_is_only_in_blocks_is_read(tmp_path: Path) -> None:
    words = [
        {"type": "text", "text": "see "},
        {"type": "link", "url": "https://x.example"},
        {"type": "user", "user_id": "U1"},
    ]
    sections = [{"type": "rich_text_section", "elements": words}, {"type": "rich_text_quote", "elements": words[:1]}]
    blocks = [{"type": "rich_text", "elements": sections}, {"type": "image"}, None, 5]
    items = import_items(write_export(tmp_path, {"a/2024-06-01": [slack_message("", "1.0", blocks=blocks)]}))
    assert texts_of(items) == ["see https://x.example@Ada King\nsee"]


def test_a_single_channel_is_named_by_its_folder(tmp_path: Path) -> None:
    write_export(tmp_path, {"general/2024-06-01": [slack_message("hi")]})
    assert [item.thread for item in records_of(import_items(tmp_path / "general"))] == ["general"]
    assert [item.thread for item in records_of(import_items(tmp_path / "general/2024-06-01.json"))] == ["general"]


@pytest.mark.parametrize("top", ["", "Export of June/"])
def test_an_export_in_a_zip_is_read(tmp_path: Path, top: str) -> None:
    files = {"users.json": USERS, "général/2024-06-01.json": [slack_message("hi", user="U2")]}
    path = make_zip(tmp_path / "slack.zip", {f"{top}{name}": json.dumps(content) for name, content in files.items()})
    (record,) = records_of(import_items(path))
    assert (record.thread, record.who) == ("général", "Bób 🌻")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (slack_message("<@U1> has joined the channel", subtype="channel_join"), "a notice"),
        (slack_message("set the topic", subtype="channel_topic"), "a notice"),
        (slack_message("built", subtype="bot_message", bot_id="B1", username="ci"), "a bot"),
        ({"type": "message", "text": "built", "ts": "1.0", "bot_id": "B1"}, "a bot"),
        (slack_message("I am sorry, Dave", user="U3"), "a bot"),
        (slack_message("reminder", user="USLACKBOT"), "a bot"),
        (slack_message("This message was deleted.", subtype="tombstone"), "a deleted message"),
        (slack_message("", files=[{"mimetype": "image/png"}]), "a photo"),
        (slack_message("", files=[{"mode": "tombstone"}]), "a file"),
        (slack_message("", attachments=[{"text": "x"}]), "an attachment"),
        (slack_message(" "), "an empty message"),
        (slack_message("hm", subtype="something_new"), "a message of unknown kind"),
        (slack_message("<@U1> uploaded a file: <https://x>", subtype="file_share", file=VIDEO), "a video"),
    ],
)  # fmt: skip
def test_messages_that_no_person_wrote_are_counted(tmp_path: Path, entry: dict[str, Any], reason: str) -> None:
    write_export(tmp_path, {"general/2024-06-01": [entry]})
    assert import_items(tmp_path) == [SkippedItem(str(tmp_path / "general/2024-06-01.json"), reason)]


def test_a_post_of_an_app_for_a_person_is_that_persons(tmp_path: Path) -> None:
    days = {"general/2024-06-01": [slack_message("from my phone", bot_id="B7", bot_profile={"name": "app"})]}
    assert [item.who for item in records_of(import_items(write_export(tmp_path, days)))] == ["Ada King"]


def test_a_text_about_sharing_is_not_taken_for_a_notice(tmp_path: Path) -> None:
    days = {"general/2024-06-01": [slack_message("<@U2> shared a good idea")]}
    assert texts_of(import_items(write_export(tmp_path, days))) == ["@Bób 🌻 shared a good idea"]


def test_comments_on_files_are_texts(tmp_path: Path) -> None:
    old = slack_message("<@U2> commented on <@U1>’s file <https://x|y>: nice", "1.0", subtype="file_comment")
    old["comment"] = {"user": "U2", "comment": "nice"}
    del old["user"]
    shared = slack_message("<@U1> uploaded a file: <https://x|y> and commented: see", "2.0", subtype="file_share")
    shared["file"] = {"initial_comment": {"comment": "see"}}
    items = records_of(import_items(write_export(tmp_path, {"general/2024-06-01": [old, shared]})))
    assert [(item.who, item.text) for item in items] == [("Bób 🌻", "nice"), ("Ada King", "see")]


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<@U1> and <@U9|eve> and <@U8>", "@Ada and @eve and @U8"),
        ("<#C1|general> <#C2> <#C3>", "#general #random #C3"),
        ("<!here> <!channel> <!here|@here> <!subteam^S1|@team> <!subteam^S2>", "@here @channel @here @team @S2"),
        ("<!date^1392734382^{date}|18 Feb 2014>", "18 Feb 2014"),
        ("<https://example.com/a?b&amp;c> <http://example.com|example.com>", "https://example.com/a?b&c example.com"),
        ("<mailto:a@example.com|a@example.com> <tel:555>", "a@example.com 555"),
        ("a &lt;b&gt; &amp;amp; c < d", "a <b> &amp; c < d"),
        (":smile: :+1::skin-tone-4: :rocket: :party_popper: :flag-de:", "😄 👍🏽 🚀 🎉 🇩🇪"),
        (":our_own: 10:30:45 std::vector <https://x/:cat:>", ":our_own: 10:30:45 std::vector https://x/:cat:"),
        (":colon: :space: :a:", ":colon: :space: :a:"),
        ("<>", "<>"),
    ],
)  # fmt: skip
def test_markup_becomes_plain_text(markup: str, expected: str) -> None:
    assert to_plain_text(markup, {"U1": "Ada"}, {"C2": "random"}) == expected


def test_every_emoji_in_the_table_is_valid() -> None:
    assert all(not any(char.isascii() for char in picture) and len(picture) <= 2 for picture in EMOJI.values())


@given(text=st.text(st.sampled_from("<>@#!|:&;amplt U1smile+-^\n") | st.characters(), max_size=40))
def test_no_text_raises(text: str) -> None:
    to_plain_text(text, {}, {})
    if not set(text) & set("<&:"):
        assert to_plain_text(text, {}, {}) == text


def test_a_damaged_day_is_reported_and_the_next_is_read(tmp_path: Path) -> None:
    days = {
        "general/2024-06-01": '[{"type": "message", "user": "U1", "text": "kept", "ts": "1.0"}, {"type": "mess',
        "general/2024-06-02": [slack_message("also kept", "2.0"), 5],
    }
    items = import_items(write_export(tmp_path, days))
    assert texts_of(items) == ["kept", "also kept"]
    assert [item.source for item in damaged_of(items)] == [
        str(tmp_path / "general/2024-06-01.json"),
        str(tmp_path / "general/2024-06-02.json"),
    ]


def test_a_damaged_list_of_people_costs_only_names(tmp_path: Path) -> None:
    write_export(tmp_path, {"general/2024-06-01": [slack_message("hi")]})
    (tmp_path / "users.json").write_text("[{")
    items = import_items(tmp_path)
    assert [item.who for item in records_of(items)] == ["U1"]
    assert [item.source for item in damaged_of(items)] == [str(tmp_path / "users.json")]


def test_files_in_a_channel_are_claimed_and_others_are_not(tmp_path: Path) -> None:
    write_export(tmp_path, {"general/2024-06-01": [slack_message("hi")], "diary/2024-06-01": {"mood": "fine"}})
    (tmp_path / "general/attachments").mkdir()
    (tmp_path / "general/attachments/letter.txt").write_text("Dear all")
    (tmp_path / "notes.txt").write_text("mine")
    items = import_items(tmp_path)
    assert skip_reasons(items) == ["an attached file"]
    assert len(records_of(items)) == 1


def test_other_files_named_by_days_are_not_claimed(tmp_path: Path) -> None:
    write_export(tmp_path, {"diary/2024-06-01": [{"text": "up at six"}], "log/2024-06-01": "not JSON"}, lists=False)
    assert not slack.claim(members_of(tmp_path))
