"""What paper leaves in a text: leaders, words divided at line ends, and pages to look for heads in. Pure.

It sees a document whole, its pages parted by form feeds; texts of messages and tweets are none of its business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.cleaning.running_heads import PAGE_BREAK
from tools.corpus.cleaning.step import StepFunction
from tools.corpus.record import Record

MAX_PAGES = 5000  # held at once: some 15 MB of text

_LEADER = re.compile(r"(?:[.·…‥][ \t]?){6,}")
_PAGE_REFERENCE = re.compile(r"[\divxlcIVXLC.–-]{1,9}")
_SOFT_HYPHEN_AT_END = re.compile("\u00ad[ \t]*([\n\f][ \t\n\f]*)(\\S+)(?:[ \t]*\n|[ \t]+)?")
_DIVIDED_WORD = re.compile(
    r"(?<![^\W\d_])([^\W\d_]{2,})[-‐][ \t]*([\n\f][ \t\n\f]*)([^\W\d_]{2,})(\S*)(?:[ \t]*\n|[ \t]+)?"
)
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+[-‐][^\W\d_]+")


def change_documents(change: Callable[[str], str]) -> StepFunction:
    """A step that sees all pages of a document in one text; `change` leaves each form feed in its place."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        pages: list[Record] = []
        for record in records:
            if pages and not (_is_same_document(pages[0], record) and len(pages) < MAX_PAGES):
                yield from _change_pages(pages, change, count)
                pages = []
            if record.kind != "document":
                yield record
            else:
                pages.append(record)
        yield from _change_pages(pages, change, count)

    return run


def _is_same_document(first: Record, record: Record) -> bool:
    """Whether both are pages of one document; a text that is part of nothing has no more pages."""
    return record.kind == "document" and bool(record.thread) and _document_key(record) == _document_key(first)


def _document_key(record: Record) -> tuple[str, str]:
    return record.source, record.thread


def _change_pages(pages: Sequence[Record], change: Callable[[str], str], count: StepCount) -> Iterator[Record]:
    for page, text in zip(pages, _change_texts([page.text for page in pages], change), strict=True):
        if text == page.text:
            yield page
            continue
        count.count_change(page.text, text)
        yield replace(page, text=text)


def _change_texts(texts: Sequence[str], change: Callable[[str], str]) -> Iterator[str]:
    parts = iter(change(PAGE_BREAK.join(texts)).split(PAGE_BREAK))
    for text in texts:
        yield PAGE_BREAK.join(islice(parts, text.count(PAGE_BREAK) + 1))


def shorten_leaders(text: str) -> str:
    """Dotted lines become three dots; a table of contents goes."""
    if not _LEADER.search(text):
        return text
    lines = re.split(r"([\n\f])", text)  # every other one is what parts them
    full = [at for at in range(0, len(lines), 2) if lines[at].strip()]
    contents = {at for at in full if _is_contents_line(lines[at])}
    for before, after in pairwise(full):
        if before in contents and after in contents:
            lines[before] = lines[after] = ""
    for at in full:
        lines[at] = _shorten_line(lines[at])
    return "".join(lines)


def _is_contents_line(line: str) -> bool:
    """A heading, dots, and the page where it stands."""
    heading, *others = _LEADER.split(line)
    return bool(others) and any(map(str.isalnum, heading)) and _PAGE_REFERENCE.fullmatch(others[-1].strip()) is not None


def _shorten_line(line: str) -> str:
    if not _LEADER.search(line):
        return line
    parts = [part.strip() for part in _LEADER.split(line)]
    return " ... ".join(parts).strip() if any(parts) else ""


def join_divided_words(document: str) -> str:
    """Soft hyphens go; a word divided at the end of a line is whole again there, and keeps a hyphen of its own."""
    before, text = "", document
    while before != text:
        before = text
        if "\u00ad" in text:
            text = _SOFT_HYPHEN_AT_END.sub(lambda match: f"{match[2]}{_line_end(match[1])}", text)
        if _DIVIDED_WORD.search(text):
            compounds = {word.casefold() for word in _COMPOUND.findall(text)}
            text = _DIVIDED_WORD.sub(lambda match: _join_word(match, compounds), text)  # noqa: B023 (called at once)
    return text.replace("\u00ad", "")


def _join_word(match: re.Match[str], compounds: set[str]) -> str:
    first, parted, second, rest = match[1], match[2], match[3], match[4]
    if not second[0].islower() or first.isupper():
        return match[0]
    hyphen = "-" if f"{first}-{second}".casefold() in compounds else ""
    return f"{first}{hyphen}{second}{rest}{_line_end(parted)}"


def _line_end(parted: str) -> str:
    """The end of the line, or of the page, after the word that went up."""
    return PAGE_BREAK * parted.count(PAGE_BREAK) or "\n"
