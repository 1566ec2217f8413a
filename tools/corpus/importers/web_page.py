"""Imports pages of HTML and XHTML as text, a document for each page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from tools.corpus.archive import Member, MemberError
from tools.corpus.html_text import html_to_text
from tools.corpus.record import ImportItem, Record, SkippedItem
from tools.corpus.threads import catch_damage

PAGE_SUFFIXES = frozenset({".html", ".htm", ".xhtml", ".xht", ".shtml"})
MAX_PAGE_BYTES = 64 << 20  # a page is held in memory
_PAGE_START = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype html|html)\b",
    re.IGNORECASE | re.DOTALL,
)


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the members that are named or begin like a page."""
    return [member for member in members if _is_page(member)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields a document for each page."""
    for member in members:
        yield from catch_damage(_read_page(member), member)


def _is_page(member: Member) -> bool:
    head = member.peek_head()
    if b"\0" in head:
        return False
    return PurePosixPath(member.name).suffix.lower() in PAGE_SUFFIXES or _PAGE_START.match(head) is not None


def _read_page(member: Member) -> Iterator[ImportItem]:
    text = html_to_text(read_markup(member))
    if text:
        yield Record(member.location, member.name, text)
    else:
        yield SkippedItem(member.location, "a page without text")


def read_markup(member: Member) -> str:
    """Returns the markup of a page. Raises MemberError if it is too large."""
    with member.open() as file:
        data = file.read(MAX_PAGE_BYTES + 1)
    if len(data) > MAX_PAGE_BYTES:
        raise MemberError(f"{member.location}: over {MAX_PAGE_BYTES >> 20} MB, too large for a page: save it as text")
    return data.decode("utf-8-sig", "replace")
