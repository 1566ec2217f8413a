"""How far around the files of an export all else is its own: settings, attachments, HTML to look at. Pure.

What lies elsewhere in the same folder or ZIP, a manual or a session log beside it, is no part of the export.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BOX = re.compile(
    r"(?:^|(?<=/))(?:your_\w+/)?(?:messages/)?"
    r"(?:inbox|archived_threads|filtered_threads|message_requests|e2ee_cutover)/[^/]+/[^/]+$"
)
_DATA = re.compile(r"(?:^|(?<=/))data/.+$")
_DAY = re.compile(r"[^/]+/\d{4}-\d\d-\d\d\.json$")
_DATABASE = (".sqlite", ".sqlite3", ".db")


def grounds(kind: str, names: Iterable[str]) -> frozenset[str]:
    """What the name of all that belongs to an export begins with, given its files; "" is everything."""
    return frozenset(start for name in names for start in _STARTS[kind](name)) if kind in _STARTS else frozenset()


def on(grounds: Iterable[str], name: str) -> bool:
    """Whether a file of that name lies there."""
    return name.startswith(tuple(grounds))


def _of_messenger(name: str) -> list[str]:
    """The encrypted chats' download is flat: in a folder of its own, or with its `media/` beside other things."""
    if box := _BOX.search(name):
        return [name[: box.start()]]
    return [_folder(name) or "media/"]


def _of_slack(name: str) -> list[str]:
    day = _DAY.search(name)
    return [name[: day.start()]] if day else [_folder(name)] if name.count("/") < 2 else []


def _of_x(name: str) -> list[str]:
    if not name.endswith(".js"):
        return []
    data = _DATA.search(name)
    return [name[: data.start()]] if data else list(filter(None, [_folder(name)]))


def _of_signal(name: str) -> list[str]:
    """What lies beside a text export is claimed with it; a decrypted backup is a folder of parts without names."""
    return list(filter(None, [_folder(name)])) if name.lower().endswith(_DATABASE) else []


def _folder(name: str) -> str:
    return name[: name.rfind("/") + 1]


_STARTS = {"messenger": _of_messenger, "slack": _of_slack, "tweets": _of_x, "signal": _of_signal}
