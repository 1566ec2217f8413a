"""Finds the conversations in prose, and turns them into messages of two speakers, who take turns. Pure.

In a novel each speech is a paragraph that begins with a quotation mark. Of a paragraph only the speech is kept: what
the narrator adds is left out. Speeches about people with names are left out, since a visitor does not know them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from tools.corpus.record import ImportItem, Record, SkippedItem

SPEAKERS = ("You", "Teletype")  # the first begins each conversation, the second has the last word
MAX_CHARS = 200  # of a speech: two or three sentences, twenty seconds at ten characters a second
MAX_TURNS = 12

Convert = Callable[[Iterable[ImportItem]], Iterator[ImportItem]]

_QUOTED = re.compile(r"“([^“”]*)”|\"([^\"]*)\"")
_OPENING = re.compile(r"\s*[“\"]")
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
_SENTENCE_START = re.compile(r"""(?:^|[.!?:]['"]?\s+|-\s*|['"(]\s*)([A-Z])""")
_CAPITAL = re.compile(r"\b[A-Z][a-z'.]*")
# Capitals within a sentence that name nobody.
_COMMON_CAPITALS = frozenset(
    ["I", "I'm", "I'll", "I'd", "I've", "God", "O", "Oh", "English", "Sunday", "Monday", "Saturday"]
)
# An operator types these forms: a Model 33 has no others.
_ASCII_FORM = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": " - ", "–": "-", "…": "...", "\u2060": ""})


def make_converter(is_dialogue: bool, left_out: frozenset[int]) -> Convert:
    """Returns a function that drops the documents of these numbers and, if asked, takes conversations only.

    The documents are counted from 1 over all calls.
    """
    numbers = count(1)

    def convert(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
        kept = (item for item in items if not (_is_document(item) and next(numbers) in left_out))
        return convert_documents(kept) if is_dialogue else kept

    return convert


def convert_documents(items: Iterable[ImportItem]) -> Iterator[ImportItem]:
    """Replaces each document by its conversations, each a thread of its own; other items stay as they are."""
    for item in items:
        if not (isinstance(item, Record) and _is_document(item)):
            yield item
            continue
        number = 0
        for number, conversation in enumerate(extract_conversations(item.text), start=1):
            for turn, speech in enumerate(conversation):
                yield Record(item.source, f"{item.thread}, {number}", speech, SPEAKERS[turn % 2], kind="message")
        if not number:
            yield SkippedItem(item.source, "a text without conversations")


def extract_conversations(text: str) -> Iterator[list[str]]:
    """Yields the speeches of each conversation: at least two, of an even number."""
    speeches: list[str] = []
    for paragraph in _split_paragraphs(text):
        speech = extract_speech(paragraph)
        if speech and len(speeches) < MAX_TURNS:
            speeches.append(speech)
            continue
        if len(speeches) > 1:
            yield speeches[: len(speeches) // 2 * 2]
        speeches = [speech] if speech else []
    if len(speeches) > 1:
        yield speeches[: len(speeches) // 2 * 2]


def extract_speech(paragraph: str) -> str:
    """Returns what is said in a paragraph of direct speech; "" for narration, and for what makes no message."""
    if not _OPENING.match(paragraph):
        return ""
    parts = [(match[1] or match[2] or "").strip() for match in _QUOTED.finditer(paragraph)]
    rest = _QUOTED.sub("", paragraph)
    if not parts or "“" in rest or len(rest) > MAX_CHARS:
        return ""  # a speech that goes on in the next paragraph, or much narration
    speech = " ".join(part for part in parts if part)
    speech = re.sub(r"[,;:]$", ".", " ".join(speech.translate(_ASCII_FORM).split()))
    is_interrupted = speech.endswith("-")
    if is_interrupted or len(speech) > MAX_CHARS or not re.search(r"[a-z]", speech) or _names_someone(speech):
        return ""
    return speech[0].upper() + speech[1:]


def _is_document(item: ImportItem) -> bool:
    return isinstance(item, Record) and item.kind == "document"


def _names_someone(speech: str) -> bool:
    starts = {match.start(1) for match in _SENTENCE_START.finditer(speech)}
    return any(
        match.start() not in starts and match[0].rstrip(".'") not in _COMMON_CAPITALS
        for match in _CAPITAL.finditer(speech)
    )


def _split_paragraphs(text: str) -> list[str]:
    """Paragraphs are divided by empty lines; in a text without them each line is one."""
    if _PARAGRAPH_BREAK.search(text):
        return [" ".join(part.split()) for part in _PARAGRAPH_BREAK.split(text)]
    return text.splitlines()
