"""Cuts what Project Gutenberg adds to a book: header, small print, credits and licence. Pure.

A file may hold several books, one after the other. A text without the project's marks is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record

_PROJECT = r"Proje(?:c?t|k?t|kto|cto|tto)[ \t]+Gutenberg"
_NAME = re.compile(_PROJECT, re.IGNORECASE)
_MARK = re.compile(
    # `*** START OF THE PROJECT GUTENBERG EBOOK X ***`; the title may fill several lines.
    rf"^[ \t]*(?:(?P<start>\*{{2,4}}[ \t]*START OF (?:THE|THIS)[ \t]+{_PROJECT}"
    r"(?:[^\n*]|\n(?![ \t]*\n))*\*{2,4}[ \t]*$)"
    rf"|(?P<end>\*{{2,4}}[ \t]*END OF (?:THE|THIS)[ \t]+{_PROJECT}"
    # `End of the Project Gutenberg EBook of X`, in the language of the book.
    rf"|\**[ \t]*(?:End|Ende|Fin|Fine|Fim|Einde|Slut|Loppu|Koniec)\b[^\n]{{0,40}}{_PROJECT}"
    r"|\*{3}[ \t]*START:[ \t]*FULL LICENSE)"
    # `***START**THE SMALL PRINT!FOR PUBLIC DOMAIN ETEXTS**START***`, before or behind an old book.
    r"|(?P<small_start>\*{2,4}START\*{2}THE SMALL PRINT!)"
    # `*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*`.
    r"|(?P<small_end>\*END\*?[ \t]*THE SMALL PRINT!.*$))",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER = re.compile(
    rf"^[^\n]{{0,60}}{_PROJECT}['’]?s?[ \t]+(?:e-?book|e-?text|edition)\b", re.IGNORECASE | re.MULTILINE
)
MAX_HEADER_CHARS = 20_000
_CREDIT = re.compile(
    r"\[?(?:(?:this )?(?:e-?(?:text|book)|file|book|html version|text file)[^\n]{0,20}? )?"
    r"(?:was |were )?(?:produced|prepared|transcribed|scanned|digiti[sz]ed|typed|created|proofread|updated|released|"
    r"html version|credits)\b[^\n]{0,60}?(?:\bby\b|\bfrom\b|:)"
    r"|\[?\s*Transcriber[’']?s?[’']? notes?\b|\[?Note: (?:Project Gutenberg|Images of the original|This file)"
    r"|[^\n]*\b(?:https?://)?(?:www\.)?(?:pgdp\.net|gutenberg\.(?:org|net)|archive\.org)\b",
    re.IGNORECASE,
)
_PARAGRAPH = re.compile(r"\s*((?:[^\n]*\S[^\n]*(?:\n|\Z))+)")
MAX_CREDITS = 8  # paragraphs before a book
MAX_CREDIT_CHARS = 1500


def cut_gutenberg(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """Yields each book of a document as a document of its own, without what the project added."""
    for record in records:
        books = list(_iter_books(record.text)) if record.kind == "document" and _NAME.search(record.text) else None
        if books is None or books == [record.text]:
            yield record
            continue
        count.count_change(record.text, books[0] if books else "")
        count.added += max(0, len(books) - 1)
        for number, text in enumerate(books, start=1):
            yield replace(record, text=text, thread=record.thread if number == 1 else f"{record.thread}, book {number}")


def _iter_books(text: str) -> Iterator[str]:
    """Yields the books between the marks; the text itself if it has none."""
    marks = list(_MARK.finditer(text))
    kinds = [mark.lastgroup or "" for mark in marks]
    if not marks:
        yield text
        return
    # Without a mark of its start the book begins with the text.
    begin = None if _begins_with_header(text, marks[0]) else 0
    for mark, kind in zip(marks, kinds, strict=True):
        if kind in ("end", "small_start"):
            if begin is not None:
                yield from _strip_book(text[begin : mark.start()])
            begin = None
        else:
            if begin is not None:
                yield from _strip_book(_cut_next_header(text[begin : mark.start()]))
            begin = _skip_credits(text, mark.end())
    if begin is not None:
        yield from _strip_book(text[begin:])


def _begins_with_header(text: str, mark: re.Match[str]) -> bool:
    """Whether the text before the first mark is a header, and not a book with the small print behind it."""
    before = text[: mark.start()]
    if mark.lastgroup == "end":
        return False
    return len(before) < MAX_HEADER_CHARS and (mark.lastgroup != "small_start" or len(before) < len(text) / 2)


def _cut_next_header(text: str) -> str:
    """Returns the text without the header of the next book at its end; "" if it is a header as a whole."""
    headers = [match.start() for match in _HEADER.finditer(text) if match.start() > len(text) - MAX_HEADER_CHARS]
    return text[: headers[0]] if headers else text if len(text) > MAX_HEADER_CHARS else ""


def _strip_book(text: str) -> Iterator[str]:
    text = text.strip("\n")
    if text.strip():
        yield text


def _skip_credits(text: str, at: int) -> int:
    """Returns the position behind `Produced by` and other credits."""
    for _ in range(MAX_CREDITS):
        match = _PARAGRAPH.match(text, at)
        if not match or len(match[1]) > MAX_CREDIT_CHARS or not _CREDIT.match(match[1].lstrip()):
            break
        at = match.end()
    return at
