import io
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from corpus_items import import_path, make_zip, records_of, skip_reasons, texts_of, warnings_of

from tools.corpus.archive import Member
from tools.corpus.importers import signal
from tools.corpus.importers.signal_message import is_outgoing, skip_reason
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem

JUNE = 1_717_236_000_000
SECURE = 0xA00000  # flags: push message, encrypted
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


def make_database(path: Path, schema: str, *rows: tuple[str, tuple[object, ...]]) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(schema)
        for statement, row in rows:
            database.execute(statement, row)
        database.commit()
    return path


def change_database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(";".join(statements))


def make_new_database(folder: Path, *rows: tuple[object, ...]) -> Path:
    return make_database(folder / "database.sqlite", NEW, *((MESSAGE, row) for row in rows))


def import_items(path: Path) -> list[ImportItem]:
    return import_path(signal, path)


def test_the_new_schema_has_sender_text_and_time(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "hi 🎉"), (2, 1, 1, JUNE + 1000, OUT, "hello"))
    assert import_items(path) == [
        Record(str(path), "Bob", "hi 🎉", "Bob", JUNE / 1000, "message", False),
        Record(str(path), "Bob", "hello", "Ada King", JUNE / 1000 + 1, "message", True),
    ]


def test_threads_are_consecutive_and_oldest_first(tmp_path: Path) -> None:
    rows = [(1, 2, 3, JUNE + 9, IN, "c"), (2, 1, 2, JUNE, IN, "a"), (3, 2, 1, JUNE + 5, OUT, "b")]
    items = records_of(import_items(make_new_database(tmp_path, *rows)))
    assert [(item.thread, item.who, item.text) for item in items] == [
        ("Bob", "Bob", "a"),
        ("Sunday Club", "Ada King", "b"),
        ("Sunday Club", "Zoë 🌻", "c"),
    ]


def test_the_old_schema_keeps_groups_and_the_sender(tmp_path: Path) -> None:
    path = make_database(
        tmp_path / "signal.db",
        OLD,
        (SMS, (1, 1, 2, JUNE + 1, JUNE, 31337, IN, "received")),
        (SMS, (2, 1, 2, JUNE + 50, JUNE + 20, None, OUT, "sent")),
        (MMS, (1, 1, JUNE + 10, JUNE + 11, IN, "between, with a picture", 2)),
        (MMS, (2, 2, JUNE, JUNE, IN, "in the group", 3)),
        (MMS, (3, 2, JUNE + 1, JUNE + 1, OUT, "me too", 4)),
    )
    assert [(item.thread, item.who, item.text, item.mine) for item in records_of(import_items(path))] == [
        ("Bob", "Bob", "received", False),
        ("Bob", "Bob", "between, with a picture", False),
        ("Bob", "Me", "sent", True),
        ("Sunday Club", "Zoë 🌻", "in the group", False),
        ("Sunday Club", "Me", "me too", True),
    ]


def test_the_oldest_schema_identifies_people_by_telephone_number(tmp_path: Path) -> None:
    schema = """
    CREATE TABLE recipient_preferences (_id, recipient_ids, system_display_name, signal_profile_name);
    CREATE TABLE thread (_id INTEGER PRIMARY KEY, recipient_ids TEXT);
    CREATE TABLE sms (_id INTEGER PRIMARY KEY, thread_id, address, date, date_sent, type, body);
    INSERT INTO recipient_preferences VALUES (1, '+441632960001', 'Bob', NULL);
    INSERT INTO thread VALUES (1, '+441632960001'), (2, '+441632960002');
    INSERT INTO sms VALUES (1, 1, '+441632960001', 5, 5, 20, 'known'), (2, 2, '+441632960002', 6, 6, 20, 'unknown');
    """
    items = records_of(import_items(make_database(tmp_path / "signal.db", schema)))
    assert [(item.thread, item.who) for item in items] == [("Bob", "Bob"), ("+441632960002", "+441632960002")]


def test_notices_and_calls_and_photos_are_counted(tmp_path: Path) -> None:
    path = make_new_database(
        tmp_path,
        (1, 1, 2, JUNE, 3, None),
        (2, 1, 2, JUNE + 1, IN | 0x90000, "CiQKIPa="),
        (3, 1, 2, JUNE + 2, IN, None),
        (4, 1, 2, JUNE + 3, IN, ""),
        (5, 1, 2, JUNE + 4, IN, " "),
        (6, 1, 2, JUNE + 5, OUT | 0x40000, None),
        (7, 1, 2, JUNE + 6, SECURE | 27, "not yet"),
    )
    change_database(
        path,
        "INSERT INTO attachment (message_id, content_type) VALUES (3, 'image/jpeg')",
        "INSERT INTO attachment (message_id, content_type, sticker_id) VALUES (4, 'image/webp', 7)",
    )
    expected = ["a call", "a notice", "a photo", "a sticker", "an empty message", "a notice", "a draft"]
    assert import_items(path) == [SkippedItem(str(path), reason) for reason in expected]


def test_deleted_edited_and_story_messages_are_skipped(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, *((number, 1, 2, JUNE + number, IN, f"text {number}") for number in range(1, 5)))
    changes = {1: "remote_deleted = 1", 2: "latest_revision_id = 3", 4: "story_type = 1"}
    change_database(path, *(f"UPDATE message SET {change} WHERE _id = {number}" for number, change in changes.items()))
    items = import_items(path)
    assert texts_of(items) == ["text 3"]
    assert skip_reasons(items) == ["a deleted message", "an earlier wording", "a story"]


def test_mentions_are_filled_in(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (7, 2, 1, JUNE, OUT, "🎉 \ufffc, you too"))
    change_database(path, "INSERT INTO mention VALUES (1, 2, 7, 3, 3, 1)")
    assert texts_of(import_items(path)) == ["🎉 @Zoë 🌻, you too"]


def test_an_unknown_thread_has_a_name(tmp_path: Path) -> None:
    (record,) = records_of(import_items(make_new_database(tmp_path, (1, 77, 88, JUNE, IN, "lost"))))
    assert (record.thread, record.who) == ("Somebody 77", "Somebody")


def test_truncated_texts_are_reported(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "it begins"))
    change_database(path, "INSERT INTO attachment (message_id, content_type) VALUES (1, 'text/x-signal-plain')")
    assert any(message.startswith("1 long texts") for message in warnings_of(import_items(path)))


def test_a_database_in_an_archive_is_copied_temporarily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    database = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    path = make_zip(tmp_path / "all.zip", {"backup/database.sqlite": database.read_bytes()})
    assert texts_of(import_items(path)) == ["hi"]
    assert not list(temporary.iterdir())


def test_a_name_in_an_archive_is_never_opened_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "in the archive"))
    path = make_zip(tmp_path / "all.zip", {"database.sqlite": database.read_bytes()})
    database.unlink()
    make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "on the disk"))
    assert texts_of(import_items(path)) == ["in the archive"]


def test_a_database_in_a_read_only_folder_is_read(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    before = path.read_bytes()
    assert len(import_items(path)) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["database.sqlite"]
    assert path.read_bytes() == before


def test_a_write_ahead_log_is_reported(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    (tmp_path / "database.sqlite-wal").write_bytes(b"later messages")
    for file_or_folder in (path, tmp_path):
        (warning,) = warnings_of(import_items(file_or_folder))
        assert "wal_checkpoint" in warning


def test_a_truncated_database_is_reported_in_one_line(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, *((number, 1, 2, JUNE + number, IN, "word " * 200) for number in range(1, 200)))
    path.write_bytes(path.read_bytes()[:40_000])
    items = import_items(path)
    assert isinstance(items[-1], DamagedItem)
    assert items[-1].source == str(path)
    assert "\n" not in items[-1].reason


def test_another_database_is_reported(tmp_path: Path) -> None:
    (item,) = import_items(make_database(tmp_path / "places.sqlite", "CREATE TABLE moz_places (id, url)"))
    assert isinstance(item, DamagedItem)
    assert "not a database of Signal for Android" in item.reason


def test_a_view_named_message_is_no_table(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(thread_id, body) AS (SELECT 1, 'x' UNION ALL SELECT 1, body FROM n) SELECT * FROM n"
    schema = f"CREATE VIEW message AS {endless}"
    (item,) = import_items(make_database(tmp_path / "trap.sqlite", schema))
    assert isinstance(item, DamagedItem)


def test_a_huge_text_is_refused(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, 1, 20, "hello"), (2, 1, 2, 2, 20, "x" * (17 << 20)))
    assert [type(item) for item in import_items(path)] == [DamagedItem]


def test_a_copy_is_limited_to_the_declared_size(tmp_path: Path) -> None:
    path = make_new_database(tmp_path, (1, 1, 2, JUNE, IN, "hi"))
    data = path.read_bytes()
    (item,) = signal.read_items([Member("a.sqlite", "a.zip: a.sqlite", 100, lambda: io.BytesIO(data))])
    assert isinstance(item, DamagedItem)


@pytest.mark.parametrize("number", [21, 22, 23, 24, 25, 26, 28])
def test_own_messages_are_outgoing_sent_or_not(number: int) -> None:
    assert is_outgoing(SECURE | number)
    assert not skip_reason(SECURE | number)


@pytest.mark.parametrize("flag", [0x8000, 0x10000, 0x20000, 0x40000, 0x400000, 0x300000000, 0x10000000])
def test_notice_flags_are_skipped_as_notices(flag: int) -> None:
    assert skip_reason(IN | flag) == "a notice"
