"""The tables and columns of a Signal for Android database, and the queries for messages and names.

Column names come from signalbackup-tools' list of versions. Values from the file are parameters of queries, never SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from tools.corpus.archive import MemberError
from tools.corpus.fields import UniqueNames, as_text, describe_attachment
from tools.corpus.importers.signal_message import UNKNOWN_NAME

_TABLES = ("message", "mms", "sms")
_COLUMNS = {  # of a message: its names over the years, and the default
    "id": (("_id",), "0"),
    "thread": (("thread_id",), "0"),
    "sent": (("date_sent", "date"), "0"),
    "type": (("msg_box", "type"), "20"),
    "body": (("body",), "NULL"),
    "sender": (("from_recipient_id", "recipient_id", "address"), "NULL"),
    "deleted": (("remote_deleted", "deleted_by"), "0"),
    "replaced": (("latest_revision_id",), "NULL"),
    "story": (("story_type",), "0"),
}
_NAME_COLUMNS = (  # of a person, in Signal's order of preference
    "nickname_joined_name",
    "system_joined_name",
    "system_display_name",
    "profile_joined_name",
    "profile_given_name",
    "signal_profile_name",
    "username",
    "e164",
    "phone",
    "email",
)


class SignalMessage(NamedTuple):
    """A row of the messages query; values are as SQLite has them."""

    id: object
    thread: object
    sent: object
    type: object
    body: object
    sender: object
    deleted: object
    replaced: object
    story: object
    has_parts: object


class SignalSchema:
    """The schema of a database, with the names of its `threads` and the names of its people, `contacts`."""

    def __init__(self, database: sqlite3.Connection, location: str) -> None:
        """Reads the schema. Raises MemberError if it is not Signal's, and sqlite3.Error."""
        self._database = database
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._columns = {str(name): self._read_columns(str(name)) for (name,) in names}
        self._message_tables = [name for name in _TABLES if {"thread_id", "body"} <= self._known_columns(name)]
        if not self._message_tables:
            cure = "for Signal Desktop add the output of signal-export"
            raise MemberError(f"{location}: not a database of Signal for Android; {cure}")
        self._has_sender_column = any("from_recipient_id" in self._known_columns(name) for name in self._message_tables)
        self._part_table, self._part_key, self._part_type = (
            ("attachment", "message_id", "content_type") if self._known_columns("attachment") else ("part", "mid", "ct")
        )
        self._parts_indexed = self._is_indexed(self._part_table, self._part_key)
        self._mentions_indexed = self._is_indexed("mention", "message_id")
        self._people = self._read_people()
        self.threads = self._read_threads()

    def messages_query(self) -> str:
        """Returns the query for all messages, thread by thread, oldest first."""
        queries = " UNION ALL ".join(map(self._table_query, self._message_tables))
        return f"SELECT * FROM ({queries}) ORDER BY thread, sent, id"

    def sender_name(self, row: SignalMessage, mine: bool) -> str:
        """Returns the sender's name. Before version 185 the sender's column of own messages holds the receiver."""
        if mine and not self._has_sender_column:
            return "Me"
        number = row.sender if isinstance(row.sender, str) and row.sender.startswith("+") else UNKNOWN_NAME
        return self._people.get(str(row.sender)) or ("Me" if mine else number)

    def find_mentions(self, message_id: object) -> Iterator[tuple[object, object, str]]:
        """Yields start, length and name of each mention in a message."""
        if self._mentions_indexed:
            query = "SELECT range_start, range_length, recipient_id FROM mention WHERE message_id = ?"
            for start, length, person in self._database.execute(query, (message_id,)):
                yield start, length, self._people.get(str(person), UNKNOWN_NAME)

    def describe_empty(self, message_id: object, has_parts: object) -> str:
        """Returns what a message without text is."""
        if has_parts and self._parts_indexed:
            sticker = "sticker_id" if "sticker_id" in self._known_columns(self._part_table) else "NULL"
            query = f"SELECT {self._part_type}, {sticker} FROM {self._part_table} WHERE {self._part_key} = ? LIMIT 1"
            for content_type, sticker_id in self._database.execute(query, (message_id,)):
                return describe_attachment(content_type) if sticker_id in (None, -1) else "a sticker"
        return "an empty message"

    def count_long_texts(self) -> int:
        """Returns the number of texts that the database truncates."""
        if self._part_type not in self._known_columns(self._part_table):
            return 0
        query = f"SELECT count(*) FROM {self._part_table} WHERE {self._part_type} = 'text/x-signal-plain'"
        return int(self._database.execute(query).fetchone()[0])

    def _known_columns(self, table: str) -> set[str]:
        return self._columns.get(table, set())

    def _read_columns(self, table: str) -> set[str]:
        return {str(name) for (name,) in self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))}

    def _is_indexed(self, table: str, column: str) -> bool:
        """Whether an index finds rows by this column; otherwise each lookup would read the whole table."""
        query = "SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i WHERE i.seqno = 0"
        return column in {name for (name,) in self._database.execute(query, (table,))}

    def _table_query(self, table: str) -> str:
        items = _COLUMNS.items()
        columns = [f"{self._first_column(table, names) or default} AS {alias}" for alias, (names, default) in items]
        return f"SELECT {', '.join(columns)}, {int(table != 'sms')} AS has_parts FROM {table}"

    def _first_column(self, table: str, names: tuple[str, ...]) -> str:
        return next((f'"{name}"' for name in names if name in self._known_columns(table)), "")

    def _read_people(self) -> dict[str, str]:
        """Returns names by the ids of people and groups, and by telephone numbers, which were ids until 2020."""
        people: dict[str, str] = {}
        for table, key in (("recipient_preferences", "recipient_ids"), ("recipient", "_id")):
            if key not in self._known_columns(table):
                continue
            for column in ("group_id", "e164", "phone", key):
                people |= self._read_names(table, column)
        self.contacts = frozenset(people.values())
        return people | self._read_groups(people)

    def _read_names(self, table: str, key: str) -> dict[str, str]:
        names = [f"nullif(\"{name}\", '')" for name in _NAME_COLUMNS if name in self._known_columns(table)]
        if key not in self._known_columns(table) or not names:
            return {}
        query = f'SELECT "{key}", coalesce({", ".join(names)}, NULL) FROM {table} WHERE "{key}" IS NOT NULL'
        return {str(number): name for number, name in self._query_pairs(query) if name}

    def _read_groups(self, people: dict[str, str]) -> dict[str, str]:
        """Returns the names of groups by all their ids."""
        if not {"group_id", "title"} <= self._known_columns("groups"):
            return {}
        titles = dict(self._query_pairs("SELECT group_id, title FROM groups"))
        groups = {number: title for number, title in titles.items() if title}
        if {"_id", "group_id"} <= self._known_columns("recipient"):
            query = "SELECT _id, group_id FROM recipient WHERE group_id IS NOT NULL"
            groups |= {number: titles[group] for number, group in self._query_pairs(query) if titles.get(group)}
        return groups

    def _query_pairs(self, query: str) -> Iterator[tuple[str, str]]:
        for number, name in self._database.execute(query):
            yield str(number), as_text(name if isinstance(name, str) or name is None else str(name))

    def _read_threads(self) -> UniqueNames:
        threads = UniqueNames()
        column = self._first_column("thread", ("recipient_id", "thread_recipient_id", "recipient_ids"))
        if column:
            for number, person in self._query_pairs(f"SELECT _id, {column} FROM thread ORDER BY _id"):
                threads.add(number, self._people.get(person) or person or f"{UNKNOWN_NAME} {number}")
        return threads
