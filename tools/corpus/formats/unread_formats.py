"""Refuses files of messages in formats that no importer reads, by name and with what can be given instead.

Otherwise a chat log would become prose with dates and names in it. A file is judged by its name and its first bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from tools.corpus.archive import Member
from tools.corpus.formats.chat_lines import is_chat_log
from tools.corpus.formats.message_formats import (
    AS_MARKUP,
    AS_PAGE,
    AS_TEXT,
    E_MAIL,
    FORMATS_BY_SUFFIX,
    JSON_FORMATS,
    PAGE_FORMATS,
    TABLES,
    TEXT_FORMATS,
    UNKNOWN_JSON,
    UNKNOWN_LOG,
    UNKNOWN_PAGE,
    UNKNOWN_TABLE,
    UnreadFormat,
)
from tools.corpus.importers import table
from tools.corpus.tables.table_layout import find_layout

HEAD_BYTES = 1 << 16
FIRST_OBJECTS_CHARS = 8000  # of JSON, whose keys are examined
HEADER_CHARS = 2000  # of a table
MIN_PARTS = 3  # messages of a page, fields of an e-mail

_JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
_TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".psv"})
_PROGRAM_SUFFIXES = frozenset({".js", ".xml"})
_PAGE_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})

_MAIL_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,40}:(?:[ \t]|$)")
_MAIL_FIELDS = frozenset({"from", "to", "date", "subject", "received", "return-path", "message-id", "mime-version"})
_KEY = re.compile(r'"([A-Za-z_]{2,20})"\s*:')
_CELL_BORDER = re.compile(r"[\"']?\s*[,;\t|]\s*[\"']?")
_LINE_TAG = re.compile(r"<(?:br|hr|/?(?:p|div|li|tr|h\d|title|head|html|body))\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_MESSAGE_CLASS = re.compile(r"class=[\"'][^\"']*\b(?:messages?|msg|bubble|chat-?message)\b", re.IGNORECASE)
_WRITER_CLASS = re.compile(r"class=[\"'][^\"']*(?:sender|author|from|user|nick|name|speaker)", re.IGNORECASE)

# The names of keys and columns. The sure ones occur in messages only, the others in posts and articles too.
_SURE_WRITERS = frozenset(
    "from from_name sender sender_name sender_id nick is_from_me from_me speaker participant".split()  # noqa: SIM905
)
_WRITERS = _SURE_WRITERS | {"user", "username", "author", "name", "nickname"}
_SURE_TEXTS = frozenset({"message", "msg", "body", "message_text", "message_body", "contents"})
_TEXTS = _SURE_TEXTS | {"text", "content", "data"}
_TIMES = frozenset(
    "date time timestamp datetime created created_at sent sent_at sent_date date_sent ts message_date".split()  # noqa: SIM905
)
_POST_NAME = re.compile(
    r"tweet|favou?rite|hashtag|likes?\b|like_?count|id_str|\blang\b|snscrape|\burl\b|\blink\b|title|rating|score"
)


def describe_unread(member: Member) -> str:
    """Returns why a file of messages is not read, with the cure; "" for any other file."""
    suffix = PurePosixPath(member.name).suffix.lower()
    found = FORMATS_BY_SUFFIX.get(suffix)
    if found is None and suffix not in _PROGRAM_SUFFIXES:
        head = member.peek_head(HEAD_BYTES)
        found = None if b"\0" in head[:HEADER_CHARS] else _detect_format(head, suffix)
    return found.describe(_find_option(member, suffix)) if found else ""


def _find_option(member: Member, suffix: str) -> str:
    """Returns what imports a refused file nevertheless, with as little as possible that is no text."""
    if suffix in _PAGE_SUFFIXES:
        return AS_PAGE
    if suffix in FORMATS_BY_SUFFIX:
        return AS_TEXT
    layout = table.detect_layout(member)
    if layout and layout.names and layout.choice.column is not None:
        return f"the texts of its column {layout.column_label(layout.choice.column)}, without names: --as table"
    return AS_MARKUP if suffix in _JSON_SUFFIXES or member.peek_head(2).startswith((b"{", b"[{")) else AS_TEXT


def _detect_format(head: bytes, suffix: str) -> UnreadFormat | None:
    text = head.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").lstrip()
    if suffix in _JSON_SUFFIXES or text.startswith(("{", "[{", "[\n")):
        return _detect_json(text) or (None if suffix in _JSON_SUFFIXES else _detect_text(text))
    if suffix in _PAGE_SUFFIXES:
        return _detect_page(text)
    if suffix in _TABLE_SUFFIXES:
        return _detect_table(text) or (None if find_layout(text.split("\n")).names else _detect_log(text))
    return _detect_text(text) or (_detect_page(text) if text.startswith("<") else None)


def _first_match(formats: Iterable[UnreadFormat], text: str) -> UnreadFormat | None:
    return next((entry for entry in formats if entry.matches(text)), None)


def _detect_json(text: str) -> UnreadFormat | None:
    if not text.startswith(("{", "[")):
        return None
    keys = map(_snake_case, _KEY.findall(text[:FIRST_OBJECTS_CHARS]))
    return _first_match(JSON_FORMATS, text) or (UNKNOWN_JSON if _are_message_names(set(keys)) else None)


def _detect_table(text: str) -> UnreadFormat | None:
    header = text[:HEADER_CHARS].partition("\n")[0].strip("\"' ")
    names = set(map(_snake_case, _CELL_BORDER.split(header)))
    for entry, columns in TABLES:
        if columns <= {name.replace("_", " ") for name in names}:
            return entry
    return UNKNOWN_TABLE if _are_message_names(names) else None


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+", "_", name.strip()).lower()


def _are_message_names(names: Collection[str]) -> bool:
    """Whether keys or columns are a writer, a text and a time, as those of messages and not those of posts."""
    if _WRITERS.isdisjoint(names) or _TEXTS.isdisjoint(names) or _TIMES.isdisjoint(names):
        return False
    if any(map(_POST_NAME.search, names)):
        return False
    return not (_SURE_WRITERS.isdisjoint(names) and _SURE_TEXTS.isdisjoint(names))


def _detect_page(text: str) -> UnreadFormat | None:
    if found := _first_match(PAGE_FORMATS, text):
        return found
    messages, writers = _MESSAGE_CLASS.findall(text), _WRITER_CLASS.findall(text)
    if len(messages) >= MIN_PARTS and len(writers) >= MIN_PARTS:
        return UNKNOWN_PAGE
    lines = html.unescape(_TAG.sub("", _LINE_TAG.sub("\n", text))).split("\n")
    return UNKNOWN_PAGE if is_chat_log(lines[:-1]) else None


def _detect_text(text: str) -> UnreadFormat | None:
    return _first_match(TEXT_FORMATS, text) or (E_MAIL if _is_mail(text) else None) or _detect_log(text)


def _is_mail(text: str) -> bool:
    """Whether a text begins with the header of an e-mail; Apple Mail writes its length before it."""
    lines = text.partition("\n\n")[0].split("\n")
    lines = lines[1:] if lines[0].strip().isdigit() else lines
    if not all(_MAIL_HEADER.match(line) or line[:1] in (" ", "\t") for line in lines):
        return False
    fields = {line.partition(":")[0].lower() for line in lines}
    return "from" in fields and len(fields & _MAIL_FIELDS) >= MIN_PARTS


def _detect_log(text: str) -> UnreadFormat | None:
    lines = text.split("\n")
    is_cut = len(text) > HEAD_BYTES // 4 and len(lines) > 1  # then the last line is incomplete
    return UNKNOWN_LOG if is_chat_log(lines[:-1] if is_cut else lines) else None
