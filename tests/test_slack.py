import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.archive import Member, iter_members
from tools.corpus.importers import slack
from tools.corpus.importers.slack_text import EMOJI, to_plain_text
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem

USERS: list[dict[str, Any]] = [
    {"id": "U1", "name": "ada", "real_name": "Ada King", "profile": {"real_name": "Ada King", "display_name": "ada"}},
    {"id": "U2", "name": "bob", "profile": {"real_name": "", "display_name": "Bób 🌻"}},
    {"id": "U3", "name": "hal", "is_bot": True, "profile": {"real_name": "Hal"}},
]
CHANNELS = [{"id": "C1", "name": "general"}]
DMS = [{"id": "D1", "members": ["U1", "U2"]}]


def message(text: str, ts: str = "1717236000.000100", user: str = "U1", **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def export(folder: Path, days: dict[str, Any], lists: bool = True) -> Path:
    contents: dict[str, Any] = {f"{name}.json": day for name, day in days.items()}
    if lists:
        contents |= {"users.json": USERS, "channels.json": CHANNELS, "dms.json": DMS, "integration_logs.json": []}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
    return folder


def taken(path: Path) -> list[ImportItem]:
    """All but whom it names."""
    ours = slack.claim([one for one in iter_members(path) if isinstance(one, Member)])
    return [one for one in slack.read_items(ours) if not isinstance(one, KnownPerson)]


def records(found: list[ImportItem]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def test_a_message_has_its_text_its_writer_its_channel_and_its_moment(tmp_path: Path) -> None:
    export(tmp_path, {"general/2024-06-01": [message("good morning ☕")]})
    assert taken(tmp_path) == [
        Record(
            str(tmp_path / "general/2024-06-01.json"),
            "general",
            "good morning ☕",
            "Ada King",
            1717236000.0001,
            "message",
            False,
        )
    ]


def test_days_and_channels_come_in_order(tmp_path: Path) -> None:
    days = {
        "random/2024-06-02": [message("c", "5.0"), message("b", "4.0")],
        "random/2024-06-01": [message("a", "3.0")],
        "general/2024-06-03": [message("first", "9.0")],
    }
    found = records(taken(export(tmp_path, days)))
    assert [(one.thread, one.text) for one in found] == [
        ("general", "first"),
        ("random", "a"),
        ("random", "b"),
        ("random", "c"),
    ]


def test_answers_lie_with_what_they_answer_and_each_message_once(tmp_path: Path) -> None:
    broadcast = message("yes, all", "4.0", "U2", thread_ts="1.0", subtype="thread_broadcast")
    days = {
        "general/2024-06-01": [
            message("lunch?", "1.0", thread_ts="1.0", reply_count=2),
            message("by the way", "2.0"),
            message("yes", "3.0", "U2", thread_ts="1.0"),
            broadcast,
        ],
        "general/2024-06-02": [message("late", "5.0", thread_ts="1.0"), broadcast],
    }
    found = taken(export(tmp_path, days))
    assert [(one.thread, one.text) for one in records(found)] == [
        ("general", "by the way"),
        ("general 1.0", "lunch?"),
        ("general 1.0", "yes"),
        ("general 1.0", "yes, all"),
        ("general 1.0", "late"),
    ]
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == ["the same message once more"]


def test_a_talk_is_called_by_those_who_take_part(tmp_path: Path) -> None:
    (found,) = records(taken(export(tmp_path, {"D1/2024-06-01": [message("psst", user="U2")]})))
    assert (found.thread, found.who) == ("Ada King, Bób 🌻", "Bób 🌻")


def test_without_any_list_the_messages_themselves_tell_what_they_can(tmp_path: Path) -> None:
    profile = {"real_name": "Zoë Ünal", "display_name": "zoe", "first_name": "Zoë", "name": "zoe"}
    day = [message("hi <@U1>", "1.0", "U9", user_profile=profile), message("who", "2.0", "U8")]
    found = records(taken(export(tmp_path, {"general/2024-06-01": day}, lists=False)))
    assert [(one.who, one.text) for one in found] == [("Zoë Ünal", "hi @U1"), ("U8", "who")]


def test_a_channel_that_is_handed_over_by_itself_is_called_by_its_folder(tmp_path: Path) -> None:
    export(tmp_path, {"general/2024-06-01": [message("hi")]})
    assert [one.thread for one in records(taken(tmp_path / "general"))] == ["general"]
    assert [one.thread for one in records(taken(tmp_path / "general/2024-06-01.json"))] == ["general"]


@pytest.mark.parametrize("top", ["", "Export of June/"])
def test_an_export_is_read_out_of_its_archive(tmp_path: Path, top: str) -> None:
    with zipfile.ZipFile(tmp_path / "slack.zip", "w") as archive:
        archive.writestr(f"{top}users.json", json.dumps(USERS))
        archive.writestr(f"{top}général/2024-06-01.json", json.dumps([message("hi", user="U2")]))
    (found,) = records(taken(tmp_path / "slack.zip"))
    assert (found.thread, found.who) == ("général", "Bób 🌻")


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (message("<@U1> has joined the channel", subtype="channel_join"), "a notice"),
        (message("set the topic", subtype="channel_topic"), "a notice"),
        (message("built", subtype="bot_message", bot_id="B1", username="ci"), "a bot"),
        ({"type": "message", "text": "built", "ts": "1.0", "bot_id": "B1"}, "a bot"),
        (message("I am sorry, Dave", user="U3"), "a bot"),
        (message("reminder", user="USLACKBOT"), "a bot"),
        (message("This message was deleted.", subtype="tombstone"), "a deleted message"),
        (message("", files=[{"mimetype": "image/png"}]), "a photo"),
        (message("", files=[{"mode": "tombstone"}]), "a file"),
        (message("", attachments=[{"text": "x"}]), "an attachment"),
        (message(" "), "an empty message"),
        (message("hm", subtype="something_new"), "of a kind that is not known here"),
        (message("<@U1> uploaded a file: <https://x>", subtype="file_share", file={"mimetype": "video/x"}), "a video"),
    ],
)  # fmt: skip
def test_what_nobody_wrote_is_counted(tmp_path: Path, one: dict[str, Any], why: str) -> None:
    export(tmp_path, {"general/2024-06-01": [one]})
    assert taken(tmp_path) == [SkippedItem(str(tmp_path / "general/2024-06-01.json"), why)]


def test_what_an_app_posts_in_somebodys_name_is_his(tmp_path: Path) -> None:
    days = {"general/2024-06-01": [message("from my phone", bot_id="B7", bot_profile={"name": "app"})]}
    assert [one.who for one in records(taken(export(tmp_path, days)))] == ["Ada King"]


def test_somebody_who_shared_something_is_not_taken_for_slack_itself(tmp_path: Path) -> None:
    days = {"general/2024-06-01": [message("<@U2> shared a good idea")]}
    assert [one.text for one in records(taken(export(tmp_path, days)))] == ["@Bób 🌻 shared a good idea"]


def test_comments_on_files_are_words(tmp_path: Path) -> None:
    old = message(
        "<@U2> commented on <@U1>’s file <https://x|y>: nice",
        "1.0",
        subtype="file_comment",
        comment={"user": "U2", "comment": "nice"},
    )
    del old["user"]
    shared = message("<@U1> uploaded a file: <https://x|y> and commented: see", "2.0", subtype="file_share")
    shared["file"] = {"initial_comment": {"comment": "see"}}
    found = records(taken(export(tmp_path, {"general/2024-06-01": [old, shared]})))
    assert [(one.who, one.text) for one in found] == [("Bób 🌻", "nice"), ("Ada King", "see")]


@pytest.mark.parametrize(
    ("written", "read"),
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
def test_marks_become_what_is_meant(written: str, read: str) -> None:
    assert to_plain_text(written, {"U1": "Ada"}, {"C2": "random"}) == read


def test_every_picture_in_the_table_is_one() -> None:
    assert all(not any(char.isascii() for char in picture) and len(picture) <= 2 for picture in EMOJI.values())


@given(text=st.text(st.sampled_from("<>@#!|:&;amplt U1smile+-^\n") | st.characters(), max_size=40))
def test_any_text_is_read(text: str) -> None:
    to_plain_text(text, {}, {})
    if not set(text) & set("<&:"):
        assert to_plain_text(text, {}, {}) == text


def test_a_damaged_day_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    days = {
        "general/2024-06-01": '[{"type": "message", "user": "U1", "text": "kept", "ts": "1.0"}, {"type": "mess',
        "general/2024-06-02": [message("also kept", "2.0"), 5],
    }
    found = taken(export(tmp_path, days))
    assert [one.text for one in records(found)] == ["kept", "also kept"]
    assert [one.source for one in found if isinstance(one, DamagedItem)] == [
        str(tmp_path / "general/2024-06-01.json"),
        str(tmp_path / "general/2024-06-02.json"),
    ]


def test_a_damaged_list_of_people_costs_names_alone(tmp_path: Path) -> None:
    export(tmp_path, {"general/2024-06-01": [message("hi")]})
    (tmp_path / "users.json").write_text("[{")
    found = taken(tmp_path)
    assert [one.who for one in records(found)] == ["U1"]
    assert [one.source for one in found if isinstance(one, DamagedItem)] == [str(tmp_path / "users.json")]


def test_files_in_a_channel_are_claimed_and_what_lies_elsewhere_is_not(tmp_path: Path) -> None:
    export(tmp_path, {"general/2024-06-01": [message("hi")], "diary/2024-06-01": {"mood": "fine"}})
    (tmp_path / "general/attachments").mkdir()
    (tmp_path / "general/attachments/letter.txt").write_text("Dear all")
    (tmp_path / "notes.txt").write_text("mine")
    found = taken(tmp_path)
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == ["an attached file"]
    assert len(records(found)) == 1


def test_days_of_something_else_are_not_claimed(tmp_path: Path) -> None:
    export(tmp_path, {"diary/2024-06-01": [{"text": "up at six"}], "log/2024-06-01": "not JSON"}, lists=False)
    assert not slack.claim([one for one in iter_members(tmp_path) if isinstance(one, Member)])
