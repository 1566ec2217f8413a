"""Imports plain text: a document for each file, or several separated by <|endoftext|> or by gpt-2-simple's sample line.

It reads UTF-8, UTF-16 with a byte-order mark, and .xz of both. A line that is not UTF-8 is read as Windows-1252 and
reported. HTML, JSON and source code are imported as they are.
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
from tools.corpus.archive import HEAD_BYTES, MAX_MEMBER_BYTES, Member, MemberError, has_bomb_ratio
from tools.corpus.jsonl import windows_1252_message
from tools.corpus.record import ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

START_OF_TEXT = "<|startoftext|>"  # gpt-2-simple writes it before each row of a CSV
SAMPLE_SEPARATOR = "=" * 20  # the line after each sample in gpt-2-simple's files
MARKUP_SUFFIXES = frozenset({".md", ".markdown", ".rst"})  # in these files such a line underlines a heading
# Files for programs are imported as text only with `--as text`.
DATA_SUFFIX = re.compile(
    r"\.(js|jsonl?|ndjson|[ct]sv|x?html?|xml|css|svg|sql|ya?ml|toml|ini|cfg|lock|vcf|ics|srt|vtt|plist|py|sh|ipynb|pem|key"
    r"|rtf|e?ps|tex|sbf)",
    re.IGNORECASE,
)
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".asc"})
MIN_ASCII_SHARE = 0.8  # of a text in Windows-1252
MAX_DOCUMENT_CHARS = 16 << 20  # a longer document is split, so that it fits into memory
LONG_LINE_CHARS = 20_000  # a longer line that is most of a file is reported
CHUNK_BYTES = 1 << 20

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_XZ_MAGIC = b"\xfd7zXZ\x00"
_OTHER_MAGIC = (codecs.BOM_UTF32_LE, b"{\\rtf", b"%!PS", b"%PDF-")
_CONTROL = re.compile("[\0-\6\x0e-\x19\x1c-\x1f]")  # BEL, BS, TAB, LF, VT, FF, CR, SUB and ESC occur in texts
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_END_OF_TEXT = END_OF_TEXT.encode()


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the members that begin with text, without the files whose suffix shows that they are for programs."""
    suffixes = ((member, PurePosixPath(member.name).suffix.lower()) for member in members)
    return [
        member
        for member, suffix in suffixes
        if not DATA_SUFFIX.fullmatch(suffix) and _is_text(member, suffix in TEXT_SUFFIXES)
    ]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields the documents of each file in order."""
    for member in members:
        yield from catch_damage(_TextReader(member).read_items(), member)


def _is_text(member: Member, has_text_suffix: bool) -> bool:
    try:
        head = member.read_head()
        if head.startswith(_XZ_MAGIC):
            head = _decompress(member).read_head()
    except MemberError:
        return False
    if head.startswith(_OTHER_MAGIC):
        return False
    if head.startswith(_UTF16_MARKS):
        return True
    try:
        return not _CONTROL.search(codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD_BYTES))
    except UnicodeDecodeError:
        return has_text_suffix and _is_windows_1252(head)


def _is_windows_1252(head: bytes) -> bool:
    """Whether the bytes may be western text of an old computer: mostly ASCII, all bytes defined."""
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(text) and sum(map(str.isascii, text)) > MIN_ASCII_SHARE * len(text)


def _decompress(member: Member) -> Member:
    return replace(member, open_raw=lambda: cast(IO[bytes], lzma.open(member.open())))


class _TextReader:
    """Reads one file, and reports at the end what looks wrong."""

    def __init__(self, member: Member) -> None:
        self._name = PurePosixPath(member.name)
        self._location = member.location
        self._is_xz = member.peek_head(len(_XZ_MAGIC)) == _XZ_MAGIC
        self._size = member.size
        self._member = _decompress(member) if self._is_xz else member
        self._not_utf8 = self._undecoded = self._longest_line = self._total_chars = self._cuts = 0

    def read_items(self) -> Iterator[ImportItem]:
        number = 0
        for text in self._iter_documents():
            if not text.strip():
                yield SkippedItem(self._location, "a blank document")
                continue
            number += 1
            yield Record(self._location, str(self._name) if number == 1 else f"{self._name} {number}", text)
        if not number:
            yield SkippedItem(self._location, "a file without text")
        yield from (SourceWarning(self._location, message) for message in self._find_oddities())

    def _find_oddities(self) -> Iterator[str]:
        if DATA_SUFFIX.fullmatch(self._name.suffix):
            yield f"imported with its markup, although its name ends in {self._name.suffix}"
        if self._not_utf8:
            yield windows_1252_message(self._not_utf8)
        if self._undecoded:
            yield f"{self._undecoded:,} characters could not be read and became \ufffd"
        if self._longest_line > max(LONG_LINE_CHARS, self._total_chars / 2):
            yield f"a line of {self._longest_line:,} characters: were line ends lost?"
        if self._cuts:
            millions = MAX_DOCUMENT_CHARS >> 20
            yield f"a document of over {millions} million characters was split into {self._cuts + 1} parts"

    def _iter_documents(self) -> Iterator[str]:
        parts: list[str] = []
        size, is_cut = 0, False
        for part, is_end in self._iter_parts():
            self._cuts += is_cut
            parts.append(part)
            size += len(part)
            if is_end or size > MAX_DOCUMENT_CHARS:
                yield "".join(parts).removeprefix(START_OF_TEXT)
                parts, size = [], 0
            is_cut = not parts and not is_end
        last = "".join(parts).removeprefix(START_OF_TEXT)
        if last.strip():  # the file may end with a separator
            yield last

    def _iter_parts(self) -> Iterator[tuple[str, bool]]:
        """Yields (line or part of a line, whether the document ends there)."""
        is_markup = self._name.suffix.lower() in MARKUP_SUFFIXES
        for line in self._iter_lines():
            if not is_markup and line.rstrip() == SAMPLE_SEPARATOR:
                yield "", True
            elif END_OF_TEXT in line:
                *before, last = line.split(END_OF_TEXT)
                yield from ((part, True) for part in before)
                if last.strip():
                    yield last, False
            else:
                yield line, False

    def _iter_lines(self) -> Iterator[str]:
        """Yields lines with their ends; a very long line comes in parts."""
        length = 0
        for text in self._iter_texts():
            for line in _LINE.findall(text.replace("\r\n", "\n")):
                length += len(line)
                self._total_chars += len(line)
                self._longest_line = max(self._longest_line, length)
                yield line
                length = 0 if line.endswith("\n") else length

    def _iter_texts(self) -> Iterator[str]:
        with self._member.open() as file:
            chunks = self._iter_chunks(file)
            first = next(chunks, b"")
            if first.startswith(_UTF16_MARKS):
                yield from self._decode_utf16(first, chunks)
                return
            for block in _iter_blocks(first.removeprefix(codecs.BOM_UTF8), chunks):
                yield self._decode_block(block)

    def _iter_chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yields the bytes. Raises MemberError for a compression bomb."""
        total = 0
        while chunk := file.read(CHUNK_BYTES):
            total += len(chunk)
            if self._is_xz and (total > MAX_MEMBER_BYTES or has_bomb_ratio(total, self._size)):
                raise MemberError(f"{self._location}: over {total / self._size:.0f} times its compressed size: a bomb")
            yield chunk

    def _decode_utf16(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        carry = ""
        for chunk in chain([first], chunks, [b""]):
            text = carry + decoder.decode(chunk, final=not chunk)
            carry = text[-1:] if chunk and text.endswith("\r") else ""  # its line feed may be in the next chunk
            text = text.removesuffix(carry)
            self._undecoded += text.count("\ufffd")
            yield text

    def _decode_block(self, block: bytes) -> str:
        try:
            return block.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(map(self._decode_line, block.splitlines(keepends=True)))

    def _decode_line(self, line: bytes) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self._not_utf8 += 1
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:  # five bytes are undefined there
            return line.decode("latin-1")


def _iter_blocks(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the bytes split at line ends; a very long line is split at a separator, or between characters."""
    buffer = b""
    for chunk in chain([first], chunks):
        buffer += chunk
        end = buffer.rfind(b"\n") + 1
        if not end and len(buffer) > MAX_DOCUMENT_CHARS:
            end = max(buffer.rfind(_END_OF_TEXT), 0) or _last_character_start(buffer)
        yield buffer[:end]
        buffer = buffer[end:]
    yield buffer


def _last_character_start(buffer: bytes) -> int:
    """Returns the last position where no UTF-8 character is split."""
    for end in range(len(buffer) - 1, len(buffer) - 5, -1):
        if buffer[end] & 0xC0 != 0x80:  # a character begins there
            return end
    return len(buffer)
