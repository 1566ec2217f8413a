"""Cuts what Project Gutenberg adds to a book: header, small print, credits and licence. Pure.

A file may hold several books, one after the other. A mark such as `End of Project Gutenberg` alone cuts nothing, since
a person may write it: what is cut must have the words of a header or of a licence.
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
_HEADER_WORDS = re.compile(
    r"for the use of anyone anywhere|most other parts of the world|at no cost and with\s+almost no|you may copy it"
    r"|^(?:title|author|language|credits|(?:release|posting) date|last updated|character set encoding|edition):"
    r"|\[?(?:e-?book|e-?text) #\s?\d|plain vanilla electronic texts|etexts (?:are )?prepared by|in our series by"
    r"|readable by both humans and|copyright laws are changing|check the (?:copyright )?laws|important information in "
    r"this header|information on contacting|need your\s+donations|we encourage you to keep this file"
    r"|should be named \S+\.(?:txt|zip)",
    re.IGNORECASE | re.MULTILINE,
)
_LICENCE_WORDS = re.compile(
    r"updated editions will replace|creating the works from|full (?:project gutenberg(?:-tm|™)? )?license"
    r"|please read this before you|section \d\.\s+(?:general|information)|should be named \S+\.(?:txt|zip)"
    r"|all associated files of various|project gutenberg(?:-tm|™)|literary archive foundation|why is this \"small print"
    r"|might sue us|even if you got it for free|limited warranty|indemnity|distribution under \"project gutenberg"
    r"|before! you use or read|public domain etext|no one owns a united states copyright|you may distribute copies",
    re.IGNORECASE,
)
_BOOK_FIELD = re.compile(r"^(?:title|author):|\[?(?:e-?book|e-?text) #\s?\d|plain vanilla electronic", re.I | re.M)
_LEGAL_WORD = re.compile(
    rf"{_PROJECT}|foundation|electronic works?|copyright|trademark|donat(?:e|ion)|licen[cs]e|refund|warrant(?:y|ies)"
    r"|public domain|e-?texts?\b|ebooks?\b|newsletter|distribut(?:e|ing|ion)|damages",
    re.IGNORECASE,
)
_LICENCE_END = re.compile(
    r"subscribe\s+to\s+our\s+email\s+newsletter\s+to\s+hear\s+about\s+new\s+ebooks\.", re.IGNORECASE
)
MIN_WORDS = 2  # different ones of a licence, or of a header that does not name the project, so that it is one
MIN_LONE_HEADER_WORDS = 3  # of a header that no mark ends
MAX_HEADER_CHARS = 20_000
MAX_HEADER_GAP = 3000  # characters between the words of one header
MAX_LICENCE_CHARS = 40_000
MAX_LICENCE_GAP = 900  # characters between the legal words of a licence
MAX_FIRST_CHARS = 3000  # of a licence, with its first words
MIN_LEGAL_WORDS = 4  # such as Etext and donation, of pages about the project
MIN_BOOK_CHARS = 200  # between a header and the small print, so that they are no neighbours
MAX_TITLE_CHARS = 300  # behind `End of Project Gutenberg's`
_CREDIT = re.compile(
    r"\[?(?:(?:this )?(?:e-?(?:text|book)|file|book|html version|text file)[^\n]{0,20}? )?"
    r"(?:was |were )?(?:produced|prepared|transcribed|scanned|digiti[sz]ed|typed|created|proofread|updated|released|"
    r"html version|credits)\b[^\n]{0,60}?(?:\bby\b|\bfrom\b|:)"
    r"|\[?\s*Transcriber[’']?s?[’']? notes?\b|\[?Note: (?:Project Gutenberg|Images of the original|This file)"
    r"|[^\n]*\b(?:https?://)?(?:www\.)?(?:pgdp\.net|gutenberg\.(?:org|net)|archive\.org)\b",
    re.IGNORECASE,
)
_PARAGRAPH = re.compile(r"\s*((?:[^\n]*\S[^\n]*(?:\n|\Z))+)")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n|\Z")
MAX_CREDITS = 8  # paragraphs before a book
MAX_CREDIT_CHARS = 1500

Span = tuple[int, int]  # positions of the first character and behind the last


def cut_gutenberg(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """Yields each book of a document as a document of its own, without what the project added."""
    for record in records:
        is_candidate = record.kind == "document" and _NAME.search(record.text)
        notices = list(_find_notices(record.text)) if is_candidate else []
        if not notices:
            yield record
            continue
        books = list(_iter_books(record.text, notices))
        count.count_cut(record.thread or record.source, record.text, "".join(books))
        count.added += max(0, len(books) - 1)
        for number, text in enumerate(books, start=1):
            yield replace(record, text=text, thread=record.thread if number == 1 else f"{record.thread}, book {number}")


def _iter_books(text: str, notices: list[Span]) -> Iterator[str]:
    at = 0
    for start, end in [*notices, (len(text), len(text))]:
        book = text[at:start].strip("\n")
        if book.strip(" \t\n\ufeff"):
            yield book
        at = end


def _find_notices(text: str) -> Iterator[Span]:
    """Yields what the project added: each header with its mark and credits, each licence with its mark."""
    marks = list(_MARK.finditer(text))
    floor = 0  # the end of the last notice
    is_in_book = False  # whether a header was found before
    ends: list[Span] = []  # marks of ends without a licence; they count if only blanks or a notice follow
    notice = _find_lone_header(text, marks)
    for mark in [None, *marks]:
        if mark is not None:
            if mark.start() < floor:
                continue
            notice = _find_head(text, floor, mark, marks) or _find_licence(text, mark)
            if notice is None and mark.lastgroup == "end" and is_in_book:
                ends.append((mark.start(), _skip_title(text, mark.end())))
        if notice is not None:
            start = _join_ends(text, ends, notice[0])
            yield start, notice[1]
            is_in_book = mark is None or mark.lastgroup != "end"
            floor, ends = notice[1], []
    start = _join_ends(text, ends, len(text))
    if start < len(text):
        yield start, len(text)


def _join_ends(text: str, ends: list[Span], start: int) -> int:
    """Returns where a notice begins, with the marks of ends before it."""
    for first, last in reversed(ends):
        if text[last:start].strip():
            break
        start = first
    return start


def _find_head(text: str, floor: int, mark: re.Match[str], marks: list[re.Match[str]]) -> Span | None:
    """Returns the header that a mark ends, with the small print and the credits; None if the mark ends none."""
    if mark.lastgroup == "end":
        return None
    start, end = _find_header_start(text, floor, mark.start()), mark.end()
    if mark.lastgroup == "small_start":
        behind = [other for other in marks if mark.end() <= other.start() < mark.end() + MAX_LICENCE_CHARS]
        closing = next((other.end() for other in behind if other.lastgroup == "small_end"), mark.end())
        if _count_words(_LICENCE_WORDS, text[mark.end() : closing]) < MIN_WORDS:
            return None
        start, end = mark.start() if start is None else start, closing
    return None if start is None else (start, _skip_credits(text, end))


def _find_header_start(text: str, floor: int, at: int) -> int | None:
    """Returns where the header before a mark begins: at a line that names the project, or where the text begins."""
    if not text[floor:at].strip(" \t\n\ufeff"):
        return floor
    first = max(floor, at - MAX_HEADER_CHARS)
    top = _HEADER.search(text, floor, min(at, floor + MAX_TITLE_CHARS))
    if top and first == floor and _HEADER_WORDS.search(text, top.start(), at):
        return top.start()
    start, nearest = None, at
    for header in reversed(list(_HEADER.finditer(text, first, at))):
        if _HEADER_WORDS.search(text, header.start(), at) and (
            start is None or nearest - header.start() < MAX_HEADER_GAP
        ):
            start = nearest = header.start()
    if start is not None:
        return start
    words = _HEADER_WORDS.search(text, floor, min(at, floor + MAX_TITLE_CHARS))
    is_header = first == floor and words is not None and _count_words(_HEADER_WORDS, text[floor:at]) >= MIN_WORDS
    return floor if is_header else None


def _find_lone_header(text: str, marks: list[re.Match[str]]) -> Span | None:
    """Returns the header at the start of a text if no mark ends it: books until 1996 have their small print behind."""
    header = _HEADER.search(text, 0, MAX_TITLE_CHARS)
    mark = next((mark for mark in marks if mark.lastgroup != "end" and mark.start() < MAX_HEADER_CHARS), None)
    if not header or (mark is not None and mark.lastgroup != "small_start"):
        return None
    found: list[str] = []
    end = header.end()
    for words in _HEADER_WORDS.finditer(text, header.start(), MAX_HEADER_CHARS):
        if words.start() > end + MAX_HEADER_GAP / 2:
            break
        end = words.end()
        found.append(words[0].casefold())
    if len(set(found)) < MIN_LONE_HEADER_WORDS:
        return None
    end = _skip_credits(text, _paragraph_end(text, end))
    has_book = mark is None or _has_book(text, end, mark, marks)
    return (header.start(), end) if has_book else None


def _has_book(text: str, at: int, mark: re.Match[str], marks: list[re.Match[str]]) -> bool:
    """Whether a short book lies between a header and the small print, and not two pages about the project."""
    between = text[at : mark.start()].strip()
    last = max(other.end() for other in marks if other.start() < mark.start() + MAX_LICENCE_CHARS)
    behind = len(text[last:].strip())
    is_book = not behind or (len(between) > behind and len(_LEGAL_WORD.findall(between)) < MIN_LEGAL_WORDS)
    return is_book and len(between) > MIN_BOOK_CHARS


def _find_licence(text: str, mark: re.Match[str]) -> Span | None:
    """Returns a mark with the licence behind it; None if there is no licence."""
    if mark.lastgroup not in ("end", "small_start"):
        return None
    if _count_words(_LICENCE_WORDS, text[mark.end() : mark.end() + MAX_FIRST_CHARS]) < MIN_WORDS:
        return None
    limit = min(len(text), mark.end() + MAX_LICENCE_CHARS)
    end = mark.end()
    limit = _find_next_header(text, end, limit)
    closing = _LICENCE_END.search(text, end, limit)
    for word in _LEGAL_WORD.finditer(text, end, closing.end() if closing else limit):
        if word.start() > end + MAX_LICENCE_GAP:
            break
        end = word.end()
    is_whole = closing is not None and closing.end() - end < MAX_LICENCE_GAP
    return mark.start(), closing.end() if closing and is_whole else min(limit, _paragraph_end(text, end))


def _find_next_header(text: str, at: int, limit: int) -> int:
    """Returns where the header of the next book begins, or the limit."""
    for header in _HEADER.finditer(text, at, limit):
        if _BOOK_FIELD.search(text, header.start(), header.start() + MAX_HEADER_GAP // 2):
            return header.start()
    return limit


def _count_words(words: re.Pattern[str], text: str) -> int:
    return len({found.casefold() for found in words.findall(text)})


def _paragraph_end(text: str, at: int) -> int:
    match = _PARAGRAPH_END.search(text, at)
    return match.start() if match else len(text)


def _skip_title(text: str, at: int) -> int:
    """Returns the position behind the title of a mark, which may fill several lines."""
    return min(_paragraph_end(text, at), at + MAX_TITLE_CHARS)


def _skip_credits(text: str, at: int) -> int:
    """Returns the position behind `Produced by` and other credits."""
    for _ in range(MAX_CREDITS):
        match = _PARAGRAPH.match(text, at)
        if not match or len(match[1]) > MAX_CREDIT_CHARS or not _CREDIT.match(match[1].lstrip()):
            break
        at = match.end()
    return at
