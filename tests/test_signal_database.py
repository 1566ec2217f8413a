import io
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tools.corpus.archive import Member, iter_members
from tools.corpus.importers import signal
from tools.corpus.importers.signal_message_type import is_outgoing, skip_reason
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning

JUNE = 1_717_236_000_000
SECURE = 0xA00000  # pushed, and encrypted
IN, OUT = SECURE | 20, SECURE | 23

NEW = """
CREATE TABLE recipient (_id INTEGER PRIMARY KEY, type, e164, aci, group_id, system_joined_name, profile_given_name,
  profile_family_name, profile_joined_name, nickname_joined_name, username, email);
CREATE TABLE groups (_id INTEGER PRIMARY KEY, group_id TEXT, recipient_id INTEGER, title TEXT);
CREATE TABLE thread (_id INTEGER PRIMARY KEY, date, meaningful_messages, recipient_id INTEGER);
CREATE TABLE message (_id INTEGER PRIMARY KEY, date_sent, date_received, thread_id, from_recipient_id, to_recipient_id,
  type, body, remote_deleted DEFAULT 0, latest_revision_id, story_type DEFAULT 0);
CREATE TABLE attachment (_id INTEGER PRIMARY KEY, message_id, content_type, sticker_id DEFAULT -1);
CREATE INDEX attachment_message_id_index ON attachment (message_id);
CREATE TABLE mention (_id INTEGER PRIMARY KEY, thread_id, message_id, recipient_id, range_start, range_length);
CREATE INDEX mention_message_id_index ON mention (message_id);
INSERT INTO recipient (_id, profile_joined_name) VALUES (1, 'Ada King');
INSERT INTO recipient (_id, e164, profile_joined_name) VALUES (2, '+441632960001', 'Bob');
INSERT INTO recipient (_id, system_joined_name, profile_joined_name) VALUES (3, 'Zoë 🌻', 'z');
INSERT INTO recipient (_id, group_id) VALUES (4, '__signal_group__v2__!ab');
INSERT INTO groups VALUES (1, '__signal_group__v2__!ab', 4, 'Sunday Club');
INSERT INTO thread (_id, recipient_id) VALUES (1, 2), (2, 4);
"""
OLD = """
CREATE TABLE recipient (_id INTEGER PRIMARY KEY, phone, group_id, system_display_name, signal_profile_name);
CREATE TABLE groups (_id INTEGER PRIMARY KEY, group_id TEXT, title TEXT);
CREATE TABLE thread (_id INTEGER PRIMARY KEY, date, message_count, thread_recipient_id);
CREATE TABLE sms (_id INTEGER PRIMARY KEY, thread_id, address, date, date_sent, protocol, type, body);
CREATE TABLE mms (_id INTEGER PRIMARY KEY, thread_id, date, date_received, msg_box, m_type, body, address,
  remote_deleted DEFAULT 0);
CREATE TABLE part (_id INTEGER PRIMARY KEY, mid, ct);
CREATE INDEX part_mms_id_index ON part (mid);
INSERT INTO recipient VALUES (2, '+441632960001', NULL, NULL, 'Bob'), (3, '+441632960002', NULL, 'Zoë 🌻', 'z');
INSERT INTO recipient VALUES (4, NULL, '__textsecure_group__!cd', NULL, NULL);
INSERT INTO groups VALUES (1, '__textsecure_group__!cd', 'Sunday Club');
INSERT INTO thread (_id, thread_recipient_id) VALUES (1, 2), (2, 4);
"""
MESSAGE = "INSERT INTO message (_id, thread_id, from_recipient_id, date_sent, type, body) VALUES (?, ?, ?, ?, ?, ?)"
SMS = "INSERT INTO sms (_id, thread_id, address, date, date_sent, protocol, type, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
MMS = "INSERT INTO mms (_id, thread_id, date, date_received, msg_box, body, address) VALUES (?, ?, ?, ?, ?, ?, ?)"


def database(path: Path, schema: str, *rows: tuple[str, tuple[object, ...]]) -> Path:
    with closing(sqlite3.connect(path)) as made:
        made.executescript(schema)
        for statement, row in rows:
            made.execute(statement, row)
        made.commit()
    return path


def new(folder: Path, *rows: tuple[object, ...]) -> Path:
    return database(folder / "database.sqlite", NEW, *((MESSAGE, row) for row in rows))


def taken(path: Path) -> list[ImportItem]:
    """All but whom it names."""
    ours = signal.claim([one for one in iter_members(path) if isinstance(one, Member)])
    return [one for one in signal.read_items(ours) if not isinstance(one, KnownPerson)]


def records(found: list[ImportItem]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def test_the_new_schema_says_who_wrote_what_and_when(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "hi 🎉"), (2, 1, 1, JUNE + 1000, OUT, "hello"))
    assert taken(path) == [
        Record(str(path), "Bob", "hi 🎉", "Bob", JUNE / 1000, "message", False),
        Record(str(path), "Bob", "hello", "Ada King", JUNE / 1000 + 1, "message", True),
    ]


def test_threads_come_one_after_the_other_oldest_first(tmp_path: Path) -> None:
    rows = [(1, 2, 3, JUNE + 9, IN, "c"), (2, 1, 2, JUNE, IN, "a"), (3, 2, 1, JUNE + 5, OUT, "b")]
    found = records(taken(new(tmp_path, *rows)))
    assert [(one.thread, one.who, one.text) for one in found] == [
        ("Bob", "Bob", "a"),
        ("Sunday Club", "Ada King", "b"),
        ("Sunday Club", "Zoë 🌻", "c"),
    ]


def test_the_old_schema_keeps_groups_and_never_takes_the_receiver_for_the_writer(tmp_path: Path) -> None:
    path = database(
        tmp_path / "signal.db",
        OLD,
        (SMS, (1, 1, 2, JUNE + 1, JUNE, 31337, IN, "received")),
        (SMS, (2, 1, 2, JUNE + 50, JUNE + 20, None, OUT, "sent")),
        (MMS, (1, 1, JUNE + 10, JUNE + 11, IN, "between, with a picture", 2)),
        (MMS, (2, 2, JUNE, JUNE, IN, "in the group", 3)),
        (MMS, (3, 2, JUNE + 1, JUNE + 1, OUT, "me too", 4)),
    )
    assert [(one.thread, one.who, one.text, one.mine) for one in records(taken(path))] == [
        ("Bob", "Bob", "received", False),
        ("Bob", "Bob", "between, with a picture", False),
        ("Bob", "Me", "sent", True),
        ("Sunday Club", "Zoë 🌻", "in the group", False),
        ("Sunday Club", "Me", "me too", True),
    ]


def test_before_recipients_had_numbers_the_telephone_was_the_key(tmp_path: Path) -> None:
    schema = """
    CREATE TABLE recipient_preferences (_id, recipient_ids, system_display_name, signal_profile_name);
    CREATE TABLE thread (_id INTEGER PRIMARY KEY, recipient_ids TEXT);
    CREATE TABLE sms (_id INTEGER PRIMARY KEY, thread_id, address, date, date_sent, type, body);
    INSERT INTO recipient_preferences VALUES (1, '+441632960001', 'Bob', NULL);
    INSERT INTO thread VALUES (1, '+441632960001'), (2, '+441632960002');
    INSERT INTO sms VALUES (1, 1, '+441632960001', 5, 5, 20, 'known'), (2, 2, '+441632960002', 6, 6, 20, 'unknown');
    """
    found = records(taken(database(tmp_path / "signal.db", schema)))
    assert [(one.thread, one.who) for one in found] == [("Bob", "Bob"), ("+441632960002", "+441632960002")]


def test_notices_and_calls_and_photos_are_counted(tmp_path: Path) -> None:
    path = new(
        tmp_path,
        (1, 1, 2, JUNE, 3, None),
        (2, 1, 2, JUNE + 1, IN | 0x90000, "CiQKIPa="),
        (3, 1, 2, JUNE + 2, IN, None),
        (4, 1, 2, JUNE + 3, IN, ""),
        (5, 1, 2, JUNE + 4, IN, " "),
        (6, 1, 2, JUNE + 5, OUT | 0x40000, None),
        (7, 1, 2, JUNE + 6, SECURE | 27, "not yet"),
    )
    with closing(sqlite3.connect(path)) as made:
        made.execute("INSERT INTO attachment (message_id, content_type) VALUES (3, 'image/jpeg')")
        made.execute("INSERT INTO attachment (message_id, content_type, sticker_id) VALUES (4, 'image/webp', 7)")
        made.commit()
    expected = ["a call", "a notice", "a photo", "a sticker", "an empty message", "a notice", "a draft"]
    assert taken(path) == [SkippedItem(str(path), why) for why in expected]


def test_what_was_deleted_edited_or_a_story_is_not_said(tmp_path: Path) -> None:
    path = new(tmp_path, *((number, 1, 2, JUNE + number, IN, f"text {number}") for number in range(1, 5)))
    with closing(sqlite3.connect(path)) as made:
        made.execute("UPDATE message SET remote_deleted = 1 WHERE _id = 1")
        made.execute("UPDATE message SET latest_revision_id = 3 WHERE _id = 2")
        made.execute("UPDATE message SET story_type = 1 WHERE _id = 4")
        made.commit()
    found = taken(path)
    assert [one.text for one in records(found)] == ["text 3"]
    assert [one.reason for one in found if isinstance(one, SkippedItem)] == [
        "a deleted message",
        "an earlier wording",
        "a story",
    ]


def test_who_is_mentioned_stands_in_the_text(tmp_path: Path) -> None:
    path = new(tmp_path, (7, 2, 1, JUNE, OUT, "🎉 \ufffc, you too"))
    with closing(sqlite3.connect(path)) as made:
        made.execute("INSERT INTO mention VALUES (1, 2, 7, 3, 3, 1)")
        made.commit()
    assert [one.text for one in records(taken(path))] == ["🎉 @Zoë 🌻, you too"]


def test_a_thread_that_nobody_knows_has_a_name_all_the_same(tmp_path: Path) -> None:
    (found,) = records(taken(new(tmp_path, (1, 77, 88, JUNE, IN, "lost"))))
    assert (found.thread, found.who) == ("Somebody 77", "Somebody")


def test_long_texts_that_are_cut_are_told(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "it begins"))
    with closing(sqlite3.connect(path)) as made:
        made.execute("INSERT INTO attachment (message_id, content_type) VALUES (1, 'text/x-signal-plain')")
        made.commit()
    assert any(isinstance(one, SourceWarning) and one.message.startswith("1 long texts") for one in taken(path))


def test_in_an_archive_it_is_copied_and_the_copy_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "backup/database.sqlite")
    assert [one.text for one in records(taken(tmp_path / "all.zip"))] == ["hi"]
    assert not list(room.iterdir())


def test_a_name_that_an_archive_gives_is_never_a_file_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside = new(tmp_path, (1, 1, 2, JUNE, IN, "in the archive"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(inside, "database.sqlite")
    inside.unlink()
    new(tmp_path, (1, 1, 2, JUNE, IN, "on the disk"))
    assert [one.text for one in records(taken(tmp_path / "all.zip"))] == ["in the archive"]


def test_it_is_read_where_nobody_can_write_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    before = path.read_bytes()
    assert len(taken(path)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["database.sqlite"]
    assert path.read_bytes() == before


def test_a_log_that_lies_beside_it_is_told(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    (tmp_path / "database.sqlite-wal").write_bytes(b"later messages")
    for handed in (path, tmp_path):
        warned = [one.message for one in taken(handed) if isinstance(one, SourceWarning)]
        assert len(warned) == 1
        assert "wal_checkpoint" in warned[0]


def test_a_database_that_breaks_off_is_told_in_one_line(tmp_path: Path) -> None:
    path = new(tmp_path, *((number, 1, 2, JUNE + number, IN, "word " * 200) for number in range(1, 200)))
    path.write_bytes(path.read_bytes()[:40_000])
    found = taken(path)
    assert isinstance(found[-1], DamagedItem)
    assert found[-1].source == str(path)
    assert "\n" not in found[-1].reason


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    (found,) = taken(database(tmp_path / "places.sqlite", "CREATE TABLE moz_places (id, url)"))
    assert isinstance(found, DamagedItem)
    assert "not of Android's Signal" in found.reason


def test_a_view_that_calls_itself_message_is_no_table(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(thread_id, body) AS (SELECT 1, 'x' UNION ALL SELECT 1, body FROM n) SELECT * FROM n"
    schema = f"CREATE VIEW message AS {endless}"
    (found,) = taken(database(tmp_path / "trap.sqlite", schema))
    assert isinstance(found, DamagedItem)


def test_a_text_that_no_memory_should_hold_is_refused(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, 1, 20, "hello"), (2, 1, 2, 2, 20, "x" * (17 << 20)))
    assert [type(one) for one in taken(path)] == [DamagedItem]


def test_a_copy_is_of_no_more_than_was_said(tmp_path: Path) -> None:
    path = new(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    whole = shutil.copy(path, tmp_path / "copy")
    member = Member("a.sqlite", "a.zip: a.sqlite", 100, lambda: io.BytesIO(Path(whole).read_bytes()))
    (found,) = signal.read_items([member])
    assert isinstance(found, DamagedItem)


@pytest.mark.parametrize("number", [21, 22, 23, 24, 25, 26, 28])
def test_what_was_written_here_is_mine_whether_it_went_or_not(number: int) -> None:
    assert is_outgoing(SECURE | number)
    assert not skip_reason(SECURE | number)


@pytest.mark.parametrize("flag", [0x8000, 0x10000, 0x20000, 0x40000, 0x400000, 0x300000000, 0x10000000])
def test_a_flag_of_keys_groups_timers_and_payments_makes_a_notice(flag: int) -> None:
    assert skip_reason(IN | flag) == "a notice"
