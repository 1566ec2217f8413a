"""Removes tables of contents and dot leaders, and gives a step whole documents. Pure.

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
# A run of such lines is a table of contents if a heading says so, or if it is long and its pages grow: menus and lists
# of prices have leaders too.
_CONTENTS_HEADING = re.compile(
    r"\W*(?:(?:table of )?contents|index|(?:list|table) of \w+|inhalt(?:sverzeichnis)?|sommaire|table des mati[eè]res"
    r"|[ií]ndice|inhoud(?:sopgave)?|innehåll|indhold|chapters?(?: page)?|содержание|оглавление)"
    r"\W*(?:page|contin\w*)?\W*",
    re.IGNORECASE,
)
MAX_HEADING_LINES = 4  # between the heading and the first line
MIN_CONTENTS_LINES = 8  # without a heading
MIN_GROWING_SHARE = 0.9  # of the page numbers without a heading


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
    for run in _find_contents(lines, filled):
        for at in run:
            lines[at] = ""
    for at in filled:
        lines[at] = _shorten_line(lines[at])
    return "".join(lines)


def _find_contents(lines: Sequence[str], filled: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yields the runs of lines that are a table of contents."""
    headed_until = -1  # index of `filled`
    at = 0
    while at < len(filled):
        if _CONTENTS_HEADING.fullmatch(lines[filled[at]]):
            headed_until = at + 1 + MAX_HEADING_LINES
        end = at
        while end < len(filled) and _is_contents_line(lines[filled[end]]):
            end += 1
        run = filled[at:end]
        if len(run) > 1 and (at <= headed_until or _is_long_and_growing([lines[number] for number in run])):
            yield run
            headed_until = end + MAX_HEADING_LINES
        at = max(at + 1, end)


def _is_long_and_growing(run: Sequence[str]) -> bool:
    pages = [_page_number(line) for line in run]
    growing = sum(a <= b for a, b in pairwise(pages))
    return len(run) >= MIN_CONTENTS_LINES and growing >= MIN_GROWING_SHARE * (len(run) - 1) and pages[0] < pages[-1]


def _page_number(line: str) -> tuple[int, ...]:
    """Returns the numbers of a reference such as `3-14`; those of Roman pages come first."""
    return tuple(map(int, re.findall(r"\d{1,9}", _LEADER.split(line)[-1])))


def _is_contents_line(line: str) -> bool:
    """Whether the line is a heading, a leader and a page number."""
    heading, *parts = _LEADER.split(line)
    return bool(parts) and any(map(str.isalnum, heading)) and bool(_PAGE_REFERENCE.fullmatch(parts[-1].strip()))


def _shorten_line(line: str) -> str:
    if not _LEADER.search(line):
        return line
    parts = [part.strip() for part in _LEADER.split(line)]
    return " ... ".join(parts).strip() if any(parts) else ""
