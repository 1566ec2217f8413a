"""The kinds of files that `asr33 corpus add` knows, with the importer of each. Pure; it opens no file.

A new importer is a module in this folder with the two functions of `Importer`, and one row in `KINDS`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from tools.corpus.archive import Member, parent_folder
from tools.corpus.record import ImportItem

_MAILBOX = re.compile(
    r"(?:^|(?<=/))(?:your_\w+/)?(?:messages/)?"
    r"(?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+/[^/]+$"
)
_DATA_FOLDER = re.compile(r"(?:^|(?<=/))data/.+$")
_DAY_FILE = re.compile(r"[^/]+/\d{4}-\d\d-\d\d\.json$")
_DATABASE_SUFFIXES = (".sqlite", ".sqlite3", ".db")


class Importer(Protocol):
    """An importer. A module of this folder implements it with two functions."""

    def claim(self, members: Sequence[Member]) -> Sequence[Member]:
        """Returns the members of this kind, judged by names and first bytes. Opens as few members as possible."""
        ...

    def read_items(self, members: Sequence[Member]) -> Iterator[ImportItem]:
        """Yields the content of claimed members, thread by thread.

        A damaged member yields a DamagedItem and the rest is read. Memory holds one message, or at most what is
        needed to sort a thread.
        """
        ...


def _messenger_prefix(name: str) -> str | None:
    """The download of encrypted chats has no mailboxes: it is one folder, or files beside a `media/` folder."""
    mailbox = _MAILBOX.search(name)
    return name[: mailbox.start()] if mailbox else parent_folder(name) or "media/"


def _slack_prefix(name: str) -> str | None:
    if day := _DAY_FILE.search(name):
        return name[: day.start()]
    return parent_folder(name) if name.count("/") < 2 else None


def _x_prefix(name: str) -> str | None:
    if not name.endswith(".js"):
        return None
    data = _DATA_FOLDER.search(name)
    return name[: data.start()] if data else parent_folder(name) or None


def _signal_prefix(name: str) -> str | None:
    """Only databases have a prefix: the importer itself claims the files beside a text export."""
    return parent_folder(name) or None if name.lower().endswith(_DATABASE_SUFFIXES) else None


class TableImporter(Importer, Protocol):
    """An importer of tables, whose column of texts the user may name."""

    def read_items(self, members: Sequence[Member], column: str = "") -> Iterator[ImportItem]: ...


def _epub_prefix(name: str) -> str | None:
    """The folder with `META-INF/container.xml` is the book."""
    container = "META-INF/container.xml"
    return name.removesuffix(container) if name == container or name.endswith(f"/{container}") else None


@dataclass(frozen=True, slots=True)
class ImporterKind:
    """A row of the registry.

    `is_export`: the files belong together, so all are new or none. `is_multipart`: several paths may be parts of one
    export. `is_generic`: the importer claims almost any file, so no file inside an export is offered to it.
    `label` is the kind as the user sees it, "" for its name.
    `has_columns`: the importer reads tables, and `read_items` takes the column of the texts.
    `export_prefix` returns the start of all names that belong to the same export as a claimed file; None if unknown.
    """

    module: str
    is_export: bool = False
    is_multipart: bool = False
    is_generic: bool = False
    has_columns: bool = False
    label: str = ""
    export_prefix: Callable[[str], str | None] = lambda name: None


KINDS = {  # in the order of detection: generic importers last
    "messenger": ImporterKind("messenger", is_export=True, is_multipart=True, export_prefix=_messenger_prefix),
    "slack": ImporterKind("slack", is_export=True, export_prefix=_slack_prefix),
    "signal": ImporterKind("signal", is_export=True, export_prefix=_signal_prefix),
    "epub": ImporterKind("epub", is_export=True, export_prefix=_epub_prefix),
    "whatsapp": ImporterKind("whatsapp"),
    "telegram": ImporterKind("telegram"),
    "tweets": ImporterKind("tweets", has_columns=True, label="tweets and other posts", export_prefix=_x_prefix),
    "log": ImporterKind("session_log", is_generic=True),
    "pdf": ImporterKind("pdf", is_generic=True),
    "html": ImporterKind("web_page", is_generic=True),
    "table": ImporterKind("table", is_generic=True, has_columns=True),
    "text": ImporterKind("text", is_generic=True),
}
FIRST_LOOSE_KIND = "tweets"  # this importer and those after it take any table or text, so chats are refused before


def load_importer(kind: str) -> Importer:
    """Imports and returns the importer of a kind."""
    return cast(Importer, importlib.import_module(f"tools.corpus.importers.{KINDS[kind].module}"))


def describe_kinds(kinds: str) -> str:
    """Returns kinds, separated by `and`, as the user sees them."""
    return " and ".join(KINDS[kind].label or kind for kind in kinds.split(" and "))


def export_prefixes(kind: str, names: Iterable[str]) -> frozenset[str]:
    """Returns the prefixes of all names that belong to the export with these files; "" matches every name."""
    prefixes = map(KINDS[kind].export_prefix, names)
    return frozenset(prefix for prefix in prefixes if prefix is not None)
