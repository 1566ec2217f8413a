"""Records -> documents, as the model sees them. Pure; it does not know what a record was before it was cleaned.

A conversation is lines `Name: text`; further lines of the same message are indented, so that a name and a colon at
the start of a line are always whose turn it is, and a model's turn ends where a line begins that is not indented. The
same tags can cue a persona: the prompt ends `Name:`, without a blank. A tweet is a document, and so is a book.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

from model.interface import END_OF_TEXT
from tools.corpus.record import Record

MAX_SILENCE_S = 6 * 3600.0  # after so long it is another conversation
MAX_LINES = 2000  # of one: without dates there are no silences, and a document is held whole
MAX_NAME_CHARS = 40  # more is a sentence
INDENT = "  "

_LINE_BREAK = re.compile("\r\n?|[\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # all that str.splitlines parts at
_TAG_SEPARATOR = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029:\s]+")


def render_documents(records: Iterable[Record]) -> Iterator[str]:
    """What is to be learnt, none of it blank, nor with an end of text in it; records of one thread lie together."""
    lines: list[str] = []
    last: Record | None = None
    for record in records:
        if not record.text.strip():
            continue
        fits = record.kind != "message" or len(lines) < MAX_LINES
        if last is not None and not (fits and is_same_document(last, record)):
            yield from _join_document(lines)
            lines = []
        lines.append(render_record(record))
        last = record
    yield from _join_document(lines)


def is_same_document(before: Record, after: Record) -> bool:
    """Whether the two belong to one document: pages of a book, or a conversation without a long silence."""
    if not before.thread or before.thread != after.thread or before.kind != after.kind:
        return False
    if before.kind == "document":
        return before.source == after.source
    if before.kind == "tweet":
        return False
    return before.when is None or after.when is None or abs(after.when - before.when) <= MAX_SILENCE_S


def render_record(record: Record) -> str:
    """One record: a message with its tag, or a text as it is."""
    text = _remove_end_of_text(record.text)
    if record.kind != "message":
        return text
    name = speaker_tag(record.who)
    if text.isprintable():  # one line, as most messages
        first = text.strip()
        return f"{name} {first}" if name else first
    first, *others = [part.strip() for part in _LINE_BREAK.split(text) if part.strip()] or ["..."]
    return "\n".join(chain([f"{name} {first}" if name else first], (INDENT + other for other in others)))


@lru_cache(1024)
def speaker_tag(who: str) -> str:
    """What begins the lines of this person, and cues a model to speak as him; nothing where nobody is named."""
    name = " ".join(_remove_end_of_text(_TAG_SEPARATOR.sub(" ", who)).split())[:MAX_NAME_CHARS].strip()
    return f"{name}:" if name else ""


def _join_document(lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines)
    if text.strip():
        yield text


def _remove_end_of_text(text: str) -> str:
    """An end of text that somebody wrote is none; a blank in its place, and never another one made by it."""
    if END_OF_TEXT in text:
        text = text.replace(END_OF_TEXT, " ")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
