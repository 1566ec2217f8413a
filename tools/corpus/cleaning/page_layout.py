"""Repairs the layout of printed pages: dot leaders, words divided at line ends. Pure.

A step sees all pages of a document as one text, separated by form feeds. Messages and tweets are not changed.
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

MAX_PAGES = 5000  # in memory: about 15 MB of text

_LEADER = re.compile(r"(?:[.·…‥][ \t]?){6,}")
_PAGE_REFERENCE = re.compile(r"[\divxlcIVXLC.–-]{1,9}")
_DIVIDED_WORD = re.compile(
    r"(?<![^\W\d_])([^\W\d_]{2,})[-‐][ \t]*([\n\f][ \t\n\f]*)([^\W\d_]{2,})(\S*)(?:[ \t]*\n|[ \t]+)?"
)
# A soft hyphen at a line end is always a hyphen, so other parts of words are joined too, with a hyphen.
_SOFTLY_DIVIDED_WORD = re.compile("([^\\W_]*)\u00ad[ \t]*([\n\f][ \t\n\f]*)([^\\W_]*)(\\S*)(?:[ \t]*\n|[ \t]+)?")
_WORD = re.compile(r"[^\W\d_]+")
_COMPOUND = re.compile(r"(?<![^\W\d_])[^\W\d_]+[-‐][^\W\d_]+")


def change_documents(change: Callable[[str], str]) -> StepFunction:
    """Returns a step that changes whole documents; `change` must keep all form feeds."""

    def run(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
        pages: list[Record] = []
        for record in records:
            if pages and not (_is_next_page(pages[0], record) and len(pages) < MAX_PAGES):
                yield from _change_pages(pages, change, count)
                pages = []
            if record.kind == "document":
                pages.append(record)
            else:
                yield record
        yield from _change_pages(pages, change, count)

    return run


def _is_next_page(first: Record, record: Record) -> bool:
    """Whether both are pages of one document; a record without a thread is a document of its own."""
    is_page = record.kind == "document" and bool(record.thread)
    return is_page and (record.source, record.thread) == (first.source, first.thread)


def _change_pages(pages: Sequence[Record], change: Callable[[str], str], count: StepCount) -> Iterator[Record]:
    for page, text in zip(pages, _change_texts([page.text for page in pages], change), strict=True):
        if text != page.text:
            count.count_change(page.text, text)
            page = replace(page, text=text)
        yield page


def _change_texts(texts: Sequence[str], change: Callable[[str], str]) -> Iterator[str]:
    parts = iter(change(PAGE_BREAK.join(texts)).split(PAGE_BREAK))
    for text in texts:
        yield PAGE_BREAK.join(islice(parts, text.count(PAGE_BREAK) + 1))


def shorten_leaders(text: str) -> str:
    """Shortens dot leaders to three dots and removes tables of contents."""
    if not _LEADER.search(text):
        return text
    lines = re.split(r"([\n\f])", text)  # every second item is a separator
    filled = [at for at in range(0, len(lines), 2) if lines[at].strip()]
    contents = {at for at in filled if _is_contents_line(lines[at])}
    for before, after in pairwise(filled):
        if before in contents and after in contents:
            lines[before] = lines[after] = ""
    for at in filled:
        lines[at] = _shorten_line(lines[at])
    return "".join(lines)


def _is_contents_line(line: str) -> bool:
    """Whether the line is a heading, a leader and a page number."""
    heading, *parts = _LEADER.split(line)
    return bool(parts) and any(map(str.isalnum, heading)) and bool(_PAGE_REFERENCE.fullmatch(parts[-1].strip()))


def _shorten_line(line: str) -> str:
    if not _LEADER.search(line):
        return line
    parts = [part.strip() for part in _LEADER.split(line)]
    return " ... ".join(parts).strip() if any(parts) else ""


def join_divided_words(document: str) -> str:
    """Removes soft hyphens and joins words divided at line ends; compounds keep their hyphen."""
    before, text = "", document
    while before != text:
        before = text
        if not ("\u00ad" in text or _DIVIDED_WORD.search(text)):
            break
        compounds = {word.casefold() for word in _COMPOUND.findall(text)}
        if "\u00ad" in text:
            words = {word.casefold() for word in _WORD.findall(text)}
            text = _SOFTLY_DIVIDED_WORD.sub(lambda match: _join_softly(match, compounds, words), text)  # noqa: B023
        text = _DIVIDED_WORD.sub(lambda match: _join_word(match, compounds), text)  # noqa: B023 (called at once)
    return text.replace("\u00ad", "")


def _join_word(match: re.Match[str], compounds: set[str]) -> str:
    first, line_end, second, punctuation = match.groups()
    if not _is_one_word(first, second):
        return match[0]
    hyphen = "-" if f"{first}-{second}".casefold() in compounds else ""
    return f"{first}{hyphen}{second}{punctuation}{_line_end(line_end)}"


def _join_softly(match: re.Match[str], compounds: set[str], words: set[str]) -> str:
    """Joins by the same rules; what is not one word there, such as `START-STOP`, gets a hyphen."""
    first, line_end, second, punctuation = match.groups()
    is_compound = f"{first}-{second}".casefold() in compounds
    is_word = _is_one_word(first, second) or f"{first}{second}".casefold() in words
    hyphen = "" if not (first and second) or (is_word and not is_compound) else "-"
    return f"{first}{hyphen}{second}{punctuation}{_line_end(line_end)}"


def _is_one_word(first: str, second: str) -> bool:
    """Whether the case of two parts is that of one word, and not of a compound such as `Send-Receive`."""
    return second[:1].islower() and not (first.isupper() and len(first) > 1)


def _line_end(line_end: str) -> str:
    """Returns the line or page break that follows the joined word."""
    return PAGE_BREAK * line_end.count(PAGE_BREAK) or "\n"
