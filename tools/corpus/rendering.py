"""Renders records as the documents that a model is trained on. Pure.

A conversation consists of lines of `Name: text`. Further lines of a message are indented, so a turn ends at the next
line that is not indented. `Name:` also prompts a persona: the prompt ends with this tag and no blank. Each tweet and
each book is a document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from model.interface import END_OF_TEXT
from tools.corpus.record import Record

MAX_SILENCE_S = 6 * 3600.0  # a longer silence begins a new conversation
MAX_LINES = 2000  # of a conversation: memory holds one document
MAX_NAME_CHARS = 40  # a longer name is a sentence
INDENT = "  "

_LINE_BREAK = re.compile("\r\n?|[\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # all line ends of str.splitlines
_TAG_SEPARATOR = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029:\s]+")


def render_documents(records: Iterable[Record]) -> Iterator[str]:
    """Yields the documents: none is blank or contains an end-of-text token. Threads must be consecutive."""
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
    """Whether two records belong to one document: pages of a book, or messages without a long silence."""
    if not before.thread or before.thread != after.thread or before.kind != after.kind:
        return False
    if before.kind == "document":
        return before.source == after.source
    if before.kind == "tweet":
        return False
    return before.when is None or after.when is None or abs(after.when - before.when) <= MAX_SILENCE_S


def render_record(record: Record) -> str:
    """Returns a message with its speaker tag, or any other text as it is."""
    text = _remove_end_of_text(record.text)
    if record.kind != "message":
        return text
    tag = speaker_tag(record.who)
    if text.isprintable():  # a single line: the usual case
        first, lines = text.strip(), []
    else:
        first, *lines = [line.strip() for line in _LINE_BREAK.split(text) if line.strip()] or ["..."]
    return "\n".join([f"{tag} {first}" if tag else first, *(INDENT + line for line in lines)])


@lru_cache(1024)
def speaker_tag(who: str) -> str:
    """Returns the start of a writer's lines, `Name:`, which also prompts a persona; "" for an empty name."""
    name = " ".join(_remove_end_of_text(_TAG_SEPARATOR.sub(" ", who)).split())[:MAX_NAME_CHARS].strip()
    return f"{name}:" if name else ""


def _join_document(lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines)
    if text.strip():
        yield text


def _remove_end_of_text(text: str) -> str:
    """Replaces end-of-text tokens by blanks, and lone surrogates by question marks."""
    text = text.replace(END_OF_TEXT, " ")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
