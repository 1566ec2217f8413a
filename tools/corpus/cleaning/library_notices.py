"""Cuts what digital libraries add to a book: notices, terms of use, credits, marks of scanners. Pure.

A notice is recognised by its own sentences at the start of a paragraph, so a person may write about a library. Project
Gutenberg's header and licence have a step of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from tools.corpus.cleaning.counts import StepCount
from tools.corpus.record import Record

MAX_NOTICE_CHARS = 3500  # of a paragraph; Google's terms are one page
MAX_HEADING_CHARS = 60
MAX_GAP_PARAGRAPHS, MAX_GAP_CHARS = 3, 500  # between two paragraphs of one notice
MIN_GAP_NOTICES = 3  # paragraphs of a library, so that what lies between them is its own
MAX_EDGE_CHARS = 4000  # of the start and the end of a text, where credits are

# The first words of the paragraphs of each library.
_SENTENCES: dict[str, str] = {
    "Project Gutenberg Australia and Canada": (
        r"\*? ?A (?:Distributed Proofreaders Canada|Project Gutenberg (?:of )?(?:Australia|Canada)) e-?book"
        r"|Title: [^\n]*\n(?:[^\n]*\n){0,8}?[^\n]*(?:Faded Page e-?book|Project Gutenberg|e-?book no\."
        r"|Date first posted)"
        r"|Project Gutenberg (?:of )?(?:Australia|Canada)(?: e-?books are created|\s*\Z)"
        r"|End of (?:the |this )?Project Gutenberg (?:of )?(?:Australia|Canada) e-?book"
        r"|This site is full of free e-?books"
        r"|BROWSE the site for other works|[^\n]{0,60}treasure-trove of literature"
        r"|To contact Project Gutenberg (?:of )?Australia|Copyright laws are changing all over the world\."
        r"|This e-?book is made available at no cost and with |This work is in the Canadian public domain"
        r"|If (?:either of these conditions|the book is under copyright|you live outside Canada)"
        r"|These restrictions apply only|Faded Page e-?book ?#|e-?book no\.: *\d|Production notes: "
        r"|Date (?:first posted|last updated|most recently updated):|This e-?book was produced (?:by|from)\b"
    ),
    "Google Books": (
        r"This is a digital copy of a book that was preserved|It has survived long enough for the copyright"
        r"|Marks, notations and other margin|Google is proud to partner with librar|We also ask that you:?"
        r"|\W{0,3}(?:Make non-commercial use of|Refrain from automated quer|Maintain attribution|Keep it legal)\b"
        r"|About Google Book Search|Google'?s mission is to organi[sz]e|Dies ist ein digitales Exemplar eines Buches"
        r"|Das Buch hat das Urheberrecht überdauert|Google ist stolz, mit Bibliotheken"
        r"|Ceci est une copie num[ée]rique d.un"
        r"|Ce livre (?:étant relativement ancien|est)|Google est fier de travailler"
        r"|Esta es una copia digital de un libro"
        r"|Google se enorgullece|Si tratta della copia digitale|Google è orgoglios"
    ),
    "the Internet Archive": r"Full text of \".{1,200}\"\s*(?:See other formats)?\s*\Z",
    "Wikisource": (
        r"About this digital edition|This e-?book comes from the online library Wikisource"
        r"|We distribute our books for free, starting from|(?:But )?Wikisource is constantly looking"
        r"|During the reali[sz]ation of this book|The following users contributed to this book"
    ),
    "Feedbooks": (
        r"(?:Note: )?This book is brought to you by Feedbooks|Strictly for personal use, do not use this file"
        r"|Copyright: (?:This work is available for countries|Please read the legal notice)"
        r"|Also available on Feedbooks"
        r"|Loved this book ?\?|(?:https?://)?www\.feedbooks\.com"
    ),
    "JSTOR": (
        r"Early Journal Content on JSTOR|This article is one of nearly 500,000 scholarly works"
        r"|Known as the Early Journal"
        r"|We encourage people to read and share the Early|Read more about Early Journal Content"
        r"|JSTOR is a (?:digital library|not-for-profit)|Your use of the JSTOR archive indicates"
    ),
    "ManyBooks": r"(?:this \S+ (?:was )?)?downloaded (?:for free )?(?:from|at) \S*manybooks\.net|\S*manybooks\.net\b",
    "Standard Ebooks": (
        r"This e-?book is the product of many hours of hard work by volunteers|This particular e-?book is based on"
        r"|The (?:writing|source text) and artwork (?:within|in) |The (?:cover|title) (?:page"
        r"|and title)[^\n]{0,40}\b(?:is adapted|feature)"
        r"|The first edition of this e-?book was released|You can check for updates to this e-?book"
        r"|The volunteer-driven Standard Ebooks project|May you do good and not evil"
        r"|May you find forgiveness for yourself"
        r"|May you share freely, never taking|Copyright pages exist to tell you"
        r"|Non-authorship activities performed on"
        r"|This e-?book was (?:produced|transcribed) for\s+Standard Ebooks|Standard Ebooks is a volunteer-driven"
    ),
    "the transcriber": (
        r"\W{0,3}Transcriber[’']?s?[’']? notes?\b|This (?:e-?text|e-?book) was (?:prepared|produced|scanned"
        r"|typed|transcribed)"
        r" by|\W?E-?text (?:was )?prepared by|\W?Scanned (?:and (?:proof\w*|OCR\w*) )?by "
    ),
}
_NOTICE_BY_LIBRARY = {library: re.compile(rf"\s*(?:{words})", re.IGNORECASE) for library, words in _SENTENCES.items()}
_ANY_NAME = re.compile(
    r"gutenberg|faded page|proofread|google|archive|wikisource|feedbooks|jstor|manybooks|standard ebooks"
    r"|transcriber|e-?text|digitized|hathitrust|content downloaded|\[end of|\[illustration|\[blank"
    r"|scanned|non-authorship|may you ",
    re.IGNORECASE,
)
_CREDIT = re.compile(
    r"\s*\W?(?:Produced|Prepared|Transcribed|Scanned|Proofread|Digiti[sz]ed|Created) (?:\w+ ){0,4}(?:by|from) "
)
_CREDIT_NAME = re.compile(
    r"proofread|pgdp|project gutenberg|gutenberg\.(?:org|net)|archive\.org|e-?text|\bocr\b|\bscan(?:s|ned)\b",
    re.IGNORECASE,
)
# What a transcriber writes below the heading of his notes.
_TRANSCRIBER_WORD = re.compile(
    r"\b(?:spelling|typograph\w+|hyphenat\w+|punctuation|printer[’']s|corrected|retained|as printed"
    r"|footnotes?|obvious|"
    r"inconsisten\w+|archaic|transcrib\w+)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"\W*(?:imprint|colophon|uncopyright|usage guidelines|nutzungsrichtlinien|consignes d.utilisation"
    r"|about this (?:book|"
    r"digital edition)|über dieses buch|à propos (?:de ce livre|du service.*)|standard ebooks|feedbooks"
    r"|jstor|(?:public domain "
    r"books are expensive to keep.*))\W*",
    re.IGNORECASE,
)
# Lines and blocks of lines between the words of a book.
_MARKS = re.compile(
    r"^[ \t]*(?:Digiti[sz]ed by (?:the )?(?:Google|Microsoft ?®?|[A-Za-z^(]{1,4}OO[QO] ?[\w^]{1,3}"
    r"|\w{0,3}oogle)[ \t]*$"
    r"|Digiti[sz]ed by the Internet Archive\s+in (?:\d{4}|[\w ]{1,9})(?:\s+with funding from\s+[^\n]{3,80})?"
    r"(?:\s+https?://(?:www\.)?archive\.org/\S+)?[ \t]*$"
    r"|https?://(?:www\.)?archive\.org/details/\S+[ \t]*$|See other formats[ \t]*$"
    r"|Generated (?:on|at|for) [^\n]{0,120}(?:hdl\.handle\.net|hathitrust)[^\n]*$"
    r"|Public Domain, Google-digitized[^\n]*$"
    r"|This content downloaded from [\d.:a-f]+ on [^\n]*$|All use subject to [^\n]{0,40}(?:JSTOR|jstor)[^\n]*$"
    r"|Stable URL: *https?://www\.jstor\.org/\S+[ \t]*$|\[(?:Illustration|Blank page)\.?:?\][ \t]*$"
    r"|\[End of [^\n\]]{3,120}, by [^\n\]]{3,60}\][ \t]*$)\n?",
    re.MULTILINE | re.IGNORECASE,
)
_CAPTION = re.compile(r"^([ \t]*)\[Illustration: ?([^\[\]]{1,600})\][ \t]*$", re.MULTILINE)
_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")


def cut_library_notices(records: Iterator[Record], count: StepCount) -> Iterator[Record]:
    """Yields the records; documents lose what digital libraries added."""
    for record in records:
        text = _cut_notices(record.text) if record.kind == "document" else record.text
        if text != record.text:
            count.count_cut(record.thread or record.source, record.text, text)
            record = replace(record, text=text)
        yield record


def _cut_notices(text: str) -> str:
    if not _ANY_NAME.search(text):
        return text
    text = _CAPTION.sub(r"\1\2", _MARKS.sub("", text))
    spans = [match.span() for match in _PARAGRAPH.finditer(text)]
    cut = _find_notices(text, spans)
    if not cut:
        return text
    parts: list[str] = []
    end = 0
    for at in sorted(cut):
        parts.append(text[end : spans[at][0]])
        end = spans[at][1]
    return "".join([*parts, text[end:]])


def _find_notices(text: str, spans: list[tuple[int, int]]) -> set[int]:
    """Returns the numbers of the paragraphs that a library added."""
    libraries = [_find_library(text[start:end], start, len(text)) for start, end in spans]
    cut = {at for at, library in enumerate(libraries) if library}
    for library in set(libraries) - {""}:
        members = [at for at, other in enumerate(libraries) if other == library]
        for before, after in pairwise(members):
            gap = spans[after][0] - spans[before][1]
            is_near = after - before <= MAX_GAP_PARAGRAPHS + 1 and gap <= MAX_GAP_CHARS
            if is_near and len(members) >= MIN_GAP_NOTICES:
                cut.update(range(before, after))
    for at in sorted(cut):
        if at and at - 1 not in cut and _HEADING.fullmatch(text, *spans[at - 1]):
            cut.add(at - 1)
        after = at + 1
        is_heading = libraries[at] == "the transcriber" and spans[at][1] - spans[at][0] <= MAX_HEADING_CHARS
        while is_heading and after < len(spans) and _TRANSCRIBER_WORD.search(text, *spans[after]):
            cut.add(after)
            after += 1
    return cut


def _find_library(paragraph: str, start: int, length: int) -> str:
    """Returns the library whose notice a paragraph is, or ""."""
    if len(paragraph) > MAX_NOTICE_CHARS:
        return ""
    library = next((name for name, notice in _NOTICE_BY_LIBRARY.items() if notice.match(paragraph)), "")
    is_at_edge = start < MAX_EDGE_CHARS or start > length - MAX_EDGE_CHARS
    if not library and is_at_edge and _CREDIT.match(paragraph) and _CREDIT_NAME.search(paragraph):
        return "the transcriber"
    return library
