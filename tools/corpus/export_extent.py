"""How far around the files of an export all else is its own: settings, attachments, HTML to look at. Pure.

What lies elsewhere in the same folder or ZIP, a manual or a session log beside it, is no part of the export.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MAILBOX = re.compile(
    r"(?:^|(?<=/))(?:your_\w+/)?(?:messages/)?"
    r"(?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+/[^/]+$"
)
_DATA_FOLDER = re.compile(r"(?:^|(?<=/))data/.+$")
_DAY_FILE = re.compile(r"[^/]+/\d{4}-\d\d-\d\d\.json$")
_DATABASE_SUFFIXES = (".sqlite", ".sqlite3", ".db")


def export_prefixes(kind: str, names: Iterable[str]) -> frozenset[str]:
    """What the name of all that belongs to an export begins with, given its files; "" is everything."""
    return (
        frozenset(start for name in names for start in _PREFIX_RULES[kind](name))
        if kind in _PREFIX_RULES
        else frozenset()
    )


def is_within(prefixes: Iterable[str], name: str) -> bool:
    """Whether a file of that name lies there."""
    return name.startswith(tuple(prefixes))


def _messenger_prefixes(name: str) -> list[str]:
    """The encrypted chats' download is flat: in a folder of its own, or with its `media/` beside other things."""
    if box := _MAILBOX.search(name):
        return [name[: box.start()]]
    return [_parent_folder(name) or "media/"]


def _slack_prefixes(name: str) -> list[str]:
    day = _DAY_FILE.search(name)
    return [name[: day.start()]] if day else [_parent_folder(name)] if name.count("/") < 2 else []


def _x_prefixes(name: str) -> list[str]:
    if not name.endswith(".js"):
        return []
    data = _DATA_FOLDER.search(name)
    return [name[: data.start()]] if data else list(filter(None, [_parent_folder(name)]))


def _signal_prefixes(name: str) -> list[str]:
    """What lies beside a text export is claimed with it; a decrypted backup is a folder of parts without names."""
    return list(filter(None, [_parent_folder(name)])) if name.lower().endswith(_DATABASE_SUFFIXES) else []


def _parent_folder(name: str) -> str:
    return name[: name.rfind("/") + 1]


_PREFIX_RULES = {
    "messenger": _messenger_prefixes,
    "slack": _slack_prefixes,
    "tweets": _x_prefixes,
    "signal": _signal_prefixes,
}
