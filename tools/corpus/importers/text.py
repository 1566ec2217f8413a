"""Imports plain text: a document for each file, or several separated by <|endoftext|> or by gpt-2-simple's sample line.

Members are in UTF-8 (`tools/corpus/decoding/encodings.py`); a file in .xz is decompressed, and decoded as others are.
HTML, JSON and source code are imported as they are.
"""

from __future__ import annotations

import codecs
import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, cast

from model.interface import END_OF_TEXT
from tools.corpus.archive import MAX_MEMBER_BYTES, Member, MemberError, has_bomb_ratio
from tools.corpus.decoding.encodings import encoding_warning, read_as_utf8
from tools.corpus.fields import format_count
from tools.corpus.formats.file_types import (
    CODE_SUFFIXES,
    DATA_SUFFIXES,
    SAMPLE_BYTES,
    describe_document,
    describe_left,
    has_binary_data,
)
from tools.corpus.formats.markup_kinds import describe_markup
from tools.corpus.markdown_text import MARKDOWN_SUFFIXES, strip_markdown
from tools.corpus.record import ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

# What separates documents in the files of several tools: gpt-2-simple's `<|startoftext|>`, and others at line ends.
_START_MARK = r"<\|(?:startoftext|begin_of_text)\|>|^[ \t]*(?:<s>|<bos>|<BOS>|\[BOS\])"
_END_MARK = r"<\|(?:endoftext|end_of_text)\|>|(?:</s>|<eos>|<EOS>|\[EOS\])[ \t]*$"
_DOCUMENT_MARK = re.compile(f"(?P<start>{_START_MARK})|(?P<end>{_END_MARK})", re.MULTILINE)
SAMPLE_SEPARATOR = "=" * 20  # the line after each sample in gpt-2-simple's files
MARKUP_SUFFIXES = MARKDOWN_SUFFIXES | {".rst"}  # in these files such a line underlines a heading
MAX_DOCUMENT_CHARS = 16 << 20  # a longer document is split, so that it fits into memory
LONG_LINE_CHARS = 20_000  # a longer line that is most of a file is reported
CHUNK_BYTES = 1 << 20

_XZ_MAGIC = b"\xfd7zXZ\x00"
_OTHER_MAGIC = (b"{\\rtf", b"%!PS", b"%PDF-")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the members that begin with text that may have sentences, without those that are for programs by name."""
    offered = (member for member in members if PurePosixPath(member.name).suffix.lower() not in DATA_SUFFIXES)
    texts = (member for member in offered if _is_text(member) and not describe_document(member))
    return [member for member in texts if not describe_left(_decompress_if_xz(member))]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the documents of each file in order."""
    for member in members:
        yield from catch_damage(_TextReader(member).read_items(), member)


def _is_text(member: Member) -> bool:
    try:
        head = _decompress_if_xz(member).read_head()
    except MemberError:
        return False
    return not (head.startswith(_OTHER_MAGIC) or has_binary_data(_decompress_if_xz(member)))


def _decompress_if_xz(member: Member) -> Member:
    if member.peek_head(len(_XZ_MAGIC)) != _XZ_MAGIC:
        return member
    return read_as_utf8(replace(member, open_raw=lambda: cast(IO[bytes], lzma.open(member.open()))))


class _TextReader:
    """Reads one file, and reports at the end what looks wrong."""

    def __init__(self, member: Member) -> None:
        self._name = PurePosixPath(member.name)
        self._location = member.location
        self._is_xz = member.peek_head(len(_XZ_MAGIC)) == _XZ_MAGIC
        self._size = member.size
        self._member = _decompress_if_xz(member)
        self._unreadable = self._longest_line = self._total_chars = self._cuts = 0

    def read_items(self) -> Iterator[ImportItem]:
        number = 0
        for text in self._iter_documents():
            text = strip_markdown(text) if self._name.suffix.lower() in MARKDOWN_SUFFIXES else text
            if not text.strip():
                yield SkippedItem(self._location, "a blank document")
                continue
            number += 1
            yield Record(self._location, str(self._name) if number == 1 else f"{self._name} {number}", text)
        if not number:
            yield SkippedItem(self._location, "a file without text")
        yield from (SourceWarning(self._location, message) for message in self._find_oddities())

    def _find_oddities(self) -> Iterator[str]:
        suffix = self._name.suffix.lower()
        if suffix in DATA_SUFFIXES or suffix in CODE_SUFFIXES:
            yield f"imported with its markup, although its name ends in {self._name.suffix}"
        elif suffix not in MARKDOWN_SUFFIXES and (warning := describe_markup(self._sample())):
            yield warning
        if self._is_xz and (warning := encoding_warning(self._member)):
            yield warning
        if self._unreadable:
            count = format_count(self._unreadable, "byte")
            yield f"{count} of no known encoding became \ufffd; name it: --encoding NAME"
        if self._longest_line > max(LONG_LINE_CHARS, self._total_chars / 2):
            yield f"a line of {self._longest_line:,} characters: were line ends lost?"
        if self._cuts:
            millions = MAX_DOCUMENT_CHARS >> 20
            yield f"a document of over {millions} million characters was split into {self._cuts + 1} parts"

    def _sample(self) -> str:
        try:
            return self._member.peek_head(SAMPLE_BYTES).decode("utf-8", "ignore")
        except MemberError:
            return ""

    def _iter_documents(self) -> Iterator[str]:
        parts: list[str] = []
        size, is_cut = 0, False
        for part, is_end in self._iter_parts():
            self._cuts += is_cut
            parts.append(part)
            size += len(part)
            if is_end or size > MAX_DOCUMENT_CHARS:
                yield "".join(parts)
                parts, size = [], 0
            is_cut = not parts and not is_end
        last = "".join(parts)
        if last.strip():  # the file may end with a separator
            yield last

    def _iter_parts(self) -> Iterator[tuple[str, bool]]:
        """Yields (line or part of a line, whether the document ends there)."""
        is_markup = self._name.suffix.lower() in MARKUP_SUFFIXES
        has_text = False
        for line in self._iter_lines():
            at = 0
            for mark in _DOCUMENT_MARK.finditer(line) if "<" in line or "[" in line else ():
                before, at = line[at : mark.start()], mark.end()
                if mark.lastgroup == "end" or has_text or before.strip():
                    yield before, True
                    has_text = False
            rest = line[at:]
            if not is_markup and line.rstrip() == SAMPLE_SEPARATOR:
                yield "", True
                has_text = False
            elif not at or rest.strip():
                yield rest, False
                has_text |= bool(rest.strip())

    def _iter_lines(self) -> Iterator[str]:
        """Yields lines with their ends; a very long line comes in parts."""
        length = 0
        for text in self._iter_texts():
            for line in _LINE.findall(text):
                length += len(line)
                self._total_chars += len(line)
                self._longest_line = max(self._longest_line, length)
                yield line
                length = 0 if line.endswith("\n") else length

    def _iter_texts(self) -> Iterator[str]:
        """Yields the text in pieces that end at a line's end, but for very long lines; line ends become line feeds."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        buffer = ""
        with self._member.open() as file:
            if file.peek(3).startswith(codecs.BOM_UTF8):
                file.read(3)
            for chunk in chain(self._iter_chunks(file), [b""]):
                text = decoder.decode(chunk, final=not chunk)
                self._unreadable += max(0, text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd"))
                buffer += text
                end = len(buffer) if not chunk else buffer.rfind("\n") + 1
                if not end and len(buffer) > MAX_DOCUMENT_CHARS:
                    end = max(buffer.rfind(END_OF_TEXT), 0) or len(buffer) - 1
                yield buffer[:end].replace("\r\n", "\n")
                buffer = buffer[end:]

    def _iter_chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yields the bytes. Raises MemberError for a compression bomb."""
        total = 0
        while chunk := file.read(CHUNK_BYTES):
            total += len(chunk)
            if self._is_xz and (total > MAX_MEMBER_BYTES or has_bomb_ratio(total, self._size)):
                raise MemberError(f"{self._location}: over {total / self._size:.0f} times its compressed size: a bomb")
            yield chunk
