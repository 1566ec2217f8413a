"""Imports e-books in EPUB, packed or not: the chapters in the order of reading, a document for each book.

Pages of the publisher, such as the imprint and the table of contents, are left out. A book with digital rights
management is encrypted and is reported.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from pathlib import PurePosixPath
from urllib.parse import unquote

from tools.corpus.archive import Member, MemberError
from tools.corpus.html_text import html_to_text, page_types
from tools.corpus.importers.web_page import PAGE_SUFFIXES, read_markup
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem
from tools.corpus.threads import catch_damage

CONTAINER = "META-INF/container.xml"
MAX_BOOK_CHARS = 16 << 20  # a longer book is split, so that it fits into memory
PACKAGE_SUFFIX = ".opf"

_TAG = re.compile(r"<(?:\w+:)?(rootfile|item|itemref|reference)\b([^>]{0,4000})>")
_ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_TITLE = re.compile(r"<(?:dc:)?title\b[^>]*>([^<]{1,300})<")
_PUBLISHER_TYPES = frozenset({
    "toc", "landmarks", "loi", "lot", "lof", "page-list", "imprint", "colophon", "copyright-page", "titlepage",
    "halftitlepage", "cover", "index", "other-credits", "contributors",
})  # fmt: skip
_PUBLISHER_NAME = re.compile(
    r"(?:nav|toc|cover|title[-_]?page|half[-_]?title|copyright|imprint|colophon|uncopyright|index|loi|contents"
    r"|pg-?(?:header|footer))[-_]?\d{0,4}",
    re.IGNORECASE,
)


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns all pages and the package file of each book, which a file `META-INF/container.xml` shows."""
    roots = [member.name.removesuffix(CONTAINER) for member in members if _is_container(member.name)]
    return [member for root in roots for member in members if member.name.startswith(root) and _is_part(member.name)]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the books in the order of their folders."""
    roots = [member.name.removesuffix(CONTAINER) for member in members if _is_container(member.name)]
    for root in roots:
        book = {member.name: member for member in members if member.name.startswith(root)}
        container = book[f"{root}{CONTAINER}"]
        yield from catch_damage(_read_book(root, book), container)


def _is_container(name: str) -> bool:
    return name == CONTAINER or name.endswith(f"/{CONTAINER}")


def _is_part(name: str) -> bool:
    path = PurePosixPath(name)
    is_markup = path.suffix.lower() in {*PAGE_SUFFIXES, PACKAGE_SUFFIX, ".ncx"}
    return is_markup or path.name == "mimetype" or _is_container(name)


def _read_book(root: str, book: Mapping[str, Member]) -> Iterator[ImportItem]:
    location = book[f"{root}{CONTAINER}"].location.removesuffix(CONTAINER).rstrip(":/ ")
    package, faults = _read_package(root, book)
    yield from faults
    title, names, left = _reading_order(book, *package)
    title = title or PurePosixPath(location).stem
    parts: list[str] = []
    volume = 1
    for name in names:
        page = book[name]
        if name in left:
            yield SkippedItem(page.location, "a page of the publisher")
            continue
        try:
            markup = read_markup(page)
        except MemberError as error:
            yield DamagedItem(page.location, str(error).removeprefix(f"{page.location}: "))
            continue
        if "<" not in markup[:1000] or "\0" in markup[:1000]:
            yield DamagedItem(page.location, "encrypted: a book with digital rights management cannot be read")
        elif not _PUBLISHER_TYPES.isdisjoint(page_types(markup)):
            yield SkippedItem(page.location, "a page of the publisher")
        elif text := html_to_text(markup, is_book=True):
            parts.append(text)
        else:
            yield SkippedItem(page.location, "a page without text")
        if sum(map(len, parts)) > MAX_BOOK_CHARS:
            yield _book_record(location, title, volume, parts)
            parts, volume = [], volume + 1
    if parts:
        yield _book_record(location, title, volume, parts)


def _book_record(location: str, title: str, volume: int, parts: Sequence[str]) -> Record:
    return Record(location, title if volume == 1 else f"{title} {volume}", "\n\n".join(parts) + "\n")


def _read_package(root: str, book: Mapping[str, Member]) -> tuple[tuple[str, str], list[DamagedItem]]:
    """Returns name and content of the package file, "" if it is damaged, and what is damaged of it and its container.

    Without a package file the pages are read in the order of their names.
    """
    faults: list[DamagedItem] = []

    def read_or_report(name: str) -> str:
        member = book[name]
        try:
            return read_markup(member)
        except MemberError as error:
            reason = str(error).removeprefix(f"{member.location}: ")
            faults.append(DamagedItem(member.location, f"{reason}; the order of the pages may be lost"))
            return ""

    package = _find_package(root, book, read_or_report(f"{root}{CONTAINER}"))
    return (package, read_or_report(package) if package else ""), faults


def _reading_order(book: Mapping[str, Member], package: str, markup: str) -> tuple[str, Sequence[str], frozenset[str]]:
    """Returns the title, the pages in the order of reading, and those of them that are the publisher's."""
    pages = sorted((name for name in book if PurePosixPath(name).suffix.lower() in PAGE_SUFFIXES), key=_natural_key)
    title = match[1].strip() if (match := _TITLE.search(markup)) else ""
    items: dict[str, str] = {}
    spine: list[str] = []
    left: set[str] = {name for name in pages if _PUBLISHER_NAME.fullmatch(PurePosixPath(name).stem)}
    for tag, attributes in _iter_tags(markup):
        path = _join_path(package, attributes.get("href", ""))
        if tag == "item":
            items[attributes.get("id", "")] = path
            left |= {path} if "nav" in attributes.get("properties", "").split() else set()
        elif tag == "itemref":
            spine.append(items.get(attributes.get("idref", ""), ""))
        elif tag == "reference" and attributes.get("type", "").lower() in _PUBLISHER_TYPES | {"title-page"}:
            left.add(path)
    ordered = [name for name in dict.fromkeys(spine) if name in book] or pages
    if left.issuperset(ordered):
        left.clear()
    return unescape(title), ordered, frozenset(left)


def _find_package(root: str, book: Mapping[str, Member], container: str) -> str:
    named = [
        f"{root}{unquote(attributes.get('full-path', ''))}"
        for tag, attributes in _iter_tags(container)
        if tag == "rootfile"
    ]
    found = [name for name in book if name.lower().endswith(PACKAGE_SUFFIX)]
    return next((name for name in (*named, *found) if name in book), "")


def _iter_tags(markup: str) -> Iterator[tuple[str, dict[str, str]]]:
    for tag, attributes in _TAG.findall(markup):
        yield tag, {name: unescape(double or single) for name, double, single in _ATTRIBUTE.findall(attributes)}


def _join_path(package: str, reference: str) -> str:
    """Returns the name of the member that a package file refers to."""
    path = unquote(reference.partition("#")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(package), path)) if path else ""


def _natural_key(name: str) -> list[tuple[int, int | str]]:
    """Orders `ch2` before `ch10`."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d{1,9})", name) if part]
