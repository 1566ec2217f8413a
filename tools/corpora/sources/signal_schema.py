"""Which tables and columns a database of Android's Signal has, and what follows: the query, and who is who.

The names of columns are those of signalbackup-tools' list of versions. Everything from the file is a value of a query,
never a part of one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from tools.corpora.errors import MemberRefused
from tools.corpora.fields import Names, medium, words
from tools.corpora.sources.signal_text import NOBODY

_TABLES = ("message", "mms", "sms")
_COLUMNS = {  # of a message: the names that it had, and what stands for it where there is none
    "id": (("_id",), "0"),
    "thread": (("thread_id",), "0"),
    "sent": (("date_sent", "date"), "0"),
    "type": (("msg_box", "type"), "20"),
    "body": (("body",), "NULL"),
    "writer": (("from_recipient_id", "recipient_id", "address"), "NULL"),
    "deleted": (("remote_deleted", "deleted_by"), "0"),
    "replaced": (("latest_revision_id",), "NULL"),
    "story": (("story_type",), "0"),
}
_NAMES = (  # of a person, as Signal prefers them
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


class Message(NamedTuple):
    """A row of the query, whatever the year; the values are as SQLite has them."""

    id: object
    thread: object
    sent: object
    type: object
    body: object
    writer: object
    deleted: object
    replaced: object
    story: object
    parted: object


class Schema:
    """One database. `threads` has the name of each, `contacts` are the people in it."""

    contacts: frozenset[str]

    def __init__(self, database: sqlite3.Connection, place: str) -> None:
        """Raises MemberRefused for a database of something else, and sqlite3.Error."""
        self._database = database
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._columns = {str(name): self._columns_of(str(name)) for (name,) in names}
        self._messages = [name for name in _TABLES if {"thread_id", "body"} <= self._of(name)]
        if not self._messages:
            raise MemberRefused(
                f"{place}: a database, but not of Android's Signal; of Signal Desktop give what signal-export writes"
            )
        self._split = any("from_recipient_id" in self._of(name) for name in self._messages)
        self._parts, self._part_of, self._part_type = (
            ("attachment", "message_id", "content_type") if self._of("attachment") else ("part", "mid", "ct")
        )
        self._parts_found = self._indexed(self._parts, self._part_of)
        self._mentions_found = self._indexed("mention", "message_id")
        self._people = self._known_people()
        self.threads = self._known_threads()

    def query(self) -> str:
        """All messages, thread by thread, oldest first."""
        each = " UNION ALL ".join(self._query_of(table) for table in self._messages)
        return f"SELECT * FROM ({each}) ORDER BY thread, sent, id"

    def writer(self, row: Message, mine: bool) -> str:
        """Who wrote it. Before senders had a column of their own, it named the other one in what oneself wrote."""
        if mine and not self._split:
            return "Me"
        number = row.writer if isinstance(row.writer, str) and row.writer.startswith("+") else NOBODY
        return self._people.get(str(row.writer)) or ("Me" if mine else number)

    def mentions(self, message: object) -> Iterator[tuple[object, object, str]]:
        """Start, length and name of each that is mentioned in a message."""
        if self._mentions_found:
            query = "SELECT range_start, range_length, recipient_id FROM mention WHERE message_id = ?"
            for start, length, person in self._database.execute(query, (message,)):
                yield start, length, self._people.get(str(person), NOBODY)

    def sent(self, message: object, parted: object) -> str:
        """What a message without a text is."""
        if parted and self._parts_found:
            sticker = "sticker_id" if "sticker_id" in self._of(self._parts) else "NULL"
            query = f"SELECT {self._part_type}, {sticker} FROM {self._parts} WHERE {self._part_of} = ? LIMIT 1"
            for content_type, number in self._database.execute(query, (message,)):
                return medium(content_type) if number is None or number == -1 else "a sticker"
        return "an empty message"

    def long_texts(self) -> int:
        """How many texts are longer than the database has them."""
        if self._part_type not in self._of(self._parts):
            return 0
        query = f"SELECT count(*) FROM {self._parts} WHERE {self._part_type} = 'text/x-signal-plain'"
        return int(self._database.execute(query).fetchone()[0])

    def _of(self, table: str) -> set[str]:
        return self._columns.get(table, set())

    def _columns_of(self, table: str) -> set[str]:
        return {str(name) for (name,) in self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))}

    def _indexed(self, table: str, column: str) -> bool:
        """Whether a row is found by this column without reading the whole table for each."""
        query = "SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i WHERE i.seqno = 0"
        return column in {name for (name,) in self._database.execute(query, (table,))}

    def _query_of(self, table: str) -> str:
        columns = [
            f"{self._first(table, names) or otherwise} AS {called}" for called, (names, otherwise) in _COLUMNS.items()
        ]
        return f"SELECT {', '.join(columns)}, {int(table != 'sms')} AS parted FROM {table}"

    def _first(self, table: str, names: tuple[str, ...]) -> str:
        return next((f'"{name}"' for name in names if name in self._of(table)), "")

    def _known_people(self) -> dict[str, str]:
        """Names by the number of a person or a group, and by telephone numbers, which were the key until 2020."""
        people: dict[str, str] = {}
        for table, key in (("recipient_preferences", "recipient_ids"), ("recipient", "_id")):
            if key not in self._of(table):
                continue
            for column in ("group_id", "e164", "phone", key):
                people |= self._named(table, column)
        self.contacts = frozenset(people.values())
        return people | self._groups(people)

    def _named(self, table: str, key: str) -> dict[str, str]:
        names = [f"nullif(\"{name}\", '')" for name in _NAMES if name in self._of(table)]
        if key not in self._of(table) or not names:
            return {}
        query = f'SELECT "{key}", coalesce({", ".join(names)}, NULL) FROM {table} WHERE "{key}" IS NOT NULL'
        return {str(number): name for number, name in self._pairs(query) if name}

    def _groups(self, people: dict[str, str]) -> dict[str, str]:
        """Names of groups, by all that may stand for one."""
        if not {"group_id", "title"} <= self._of("groups"):
            return {}
        titles = dict(self._pairs("SELECT group_id, title FROM groups"))
        groups = {number: title for number, title in titles.items() if title}
        if {"_id", "group_id"} <= self._of("recipient"):
            query = "SELECT _id, group_id FROM recipient WHERE group_id IS NOT NULL"
            groups |= {number: titles[group] for number, group in self._pairs(query) if titles.get(group)}
        return groups

    def _pairs(self, query: str) -> Iterator[tuple[str, str]]:
        for number, name in self._database.execute(query):
            yield str(number), words(name if isinstance(name, str) or name is None else str(name))

    def _known_threads(self) -> Names:
        threads = Names()
        column = self._first("thread", ("recipient_id", "thread_recipient_id", "recipient_ids"))
        if column:
            for number, person in self._pairs(f"SELECT _id, {column} FROM thread ORDER BY _id"):
                threads.give(number, self._people.get(person) or person or f"{NOBODY} {number}")
        return threads
