"""Plain text: a document a file, or several that are divided by <|endoftext|> or as gpt-2-simple divides its samples.

It reads UTF-8, UTF-16 with a byte-order mark, and .xz of either; a line that is no UTF-8 is read as Windows-1252, and
that is told. It knows nothing of what a text means: HTML, JSON or source code come out as they went in.
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
from tools.corpus.archive import HEAD_BYTES, MAX_COMPRESSION_RATIO, MAX_MEMBER_BYTES, RATIO_CHECK_BYTES, Member
from tools.corpus.errors import MemberError
from tools.corpus.jsonl import windows_1252_message
from tools.corpus.record import ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

KIND = "text"

START_OF_TEXT = "<|startoftext|>"  # gpt-2-simple puts it before each row of a CSV
SAMPLE_SEPARATOR = "=" * 20  # a line of these stands behind each sample in gpt-2-simple's files
MARKUP_SUFFIXES = frozenset({".md", ".markdown", ".rst"})  # where such a line underlines a heading
# What programs read is taken for a text only by `--as text`.
DATA_SUFFIX = re.compile(
    r"\.(js|jsonl?|ndjson|[ct]sv|x?html?|xml|css|svg|sql|ya?ml|toml|ini|cfg|lock|vcf|ics|srt|vtt|plist|py|sh|ipynb|pem|key"
    r"|rtf|e?ps|tex|sbf)",
    re.IGNORECASE,
)
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".asc"})
MIN_ASCII_SHARE = 0.8  # of the characters of a western text, at least
MAX_DOCUMENT_CHARS = 16 << 20  # characters of one document; a longer one is cut, so that memory holds it
LONG_LINE_CHARS = 20_000  # characters in a line that is most of a file: nobody wrote that
CHUNK_BYTES = 1 << 20

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_XZ_MAGIC = b"\xfd7zXZ\x00"
_OTHER_MAGIC = (codecs.BOM_UTF32_LE, b"{\\rtf", b"%!PS", b"%PDF-")
_CONTROL = re.compile("[\0-\6\x0e-\x19\x1c-\x1f]")  # BEL, BS, TAB, LF, VT, FF, CR, SUB and ESC do occur in texts
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_END_OF_TEXT = END_OF_TEXT.encode()


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Those whose first bytes are text and whose names are not those of what programs read."""
    suffixes = ((member, PurePosixPath(member.name).suffix.lower()) for member in members)
    return [
        member
        for member, suffix in suffixes
        if not DATA_SUFFIX.fullmatch(suffix) and _is_text(member, suffix in TEXT_SUFFIXES)
    ]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Each file's documents in order."""
    for member in members:
        yield from catch_damage(_read_member(member), member)


def _read_member(member: Member) -> Iterator[ImportItem]:
    yield from _TextReader(member).read_items()


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
    """Whether it may be text of an old computer in the west: mostly ASCII, and every byte a character there."""
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(text) and sum(map(str.isascii, text)) > MIN_ASCII_SHARE * len(text)


def _decompress(member: Member) -> Member:
    return replace(member, open_raw=lambda: cast(IO[bytes], lzma.open(member.open())))


class _TextReader:
    """One file on its way: what was odd about it is told when it is over."""

    def __init__(self, member: Member) -> None:
        self._name = PurePosixPath(member.name)
        self._location = member.location
        self._is_xz = member.read_head(len(_XZ_MAGIC)) == _XZ_MAGIC
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
        yield from (SourceWarning(self._location, what) for what in self._find_oddities())

    def _find_oddities(self) -> Iterator[str]:
        if DATA_SUFFIX.fullmatch(self._name.suffix):
            yield f"taken as it stands, marks and all, although its name ends in {self._name.suffix}"
        if self._not_utf8:
            yield windows_1252_message(self._not_utf8)
        if self._undecoded:
            yield f"{self._undecoded:,} characters could not be read and are question marks now"
        if self._longest_line > max(LONG_LINE_CHARS, self._total_chars / 2):
            yield f"a line of {self._longest_line:,} characters: are its line ends lost?"
        if self._cuts:
            yield f"a document of over {MAX_DOCUMENT_CHARS >> 20} million characters was cut into parts ({self._cuts + 1})"

    def _iter_documents(self) -> Iterator[str]:
        parts: list[str] = []
        size, cut = 0, False
        for part, ends in self._iter_parts():
            self._cuts += cut
            parts.append(part)
            size += len(part)
            if ends or size > MAX_DOCUMENT_CHARS:
                yield "".join(parts).removeprefix(START_OF_TEXT)
                parts, size = [], 0
            cut = not parts and not ends
        if (last := "".join(parts).removeprefix(START_OF_TEXT)).strip():  # behind the last mark there may be nothing
            yield last

    def _iter_parts(self) -> Iterator[tuple[str, bool]]:
        """Lines, or what a mark leaves of them, each with whether the document ends there."""
        divides = self._name.suffix.lower() not in MARKUP_SUFFIXES
        for line in self._iter_lines():
            if divides and line.rstrip() == SAMPLE_SEPARATOR:
                yield "", True
            elif END_OF_TEXT in line:
                *before, last = line.split(END_OF_TEXT)
                yield from ((part, True) for part in before)
                if last.strip():
                    yield last, False
            else:
                yield line, False

    def _iter_lines(self) -> Iterator[str]:
        """With their ends; one that is longer than memory should hold comes in pieces."""
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
        """Raises MemberRefused for a bomb."""
        total = 0
        while chunk := file.read(CHUNK_BYTES):
            total += len(chunk)
            if (
                self._is_xz
                and total > RATIO_CHECK_BYTES
                and total > min(MAX_MEMBER_BYTES, MAX_COMPRESSION_RATIO * self._size)
            ):
                raise MemberError(f"{self._location}: over {total / self._size:.0f} times its packed size: a bomb")
            yield chunk

    def _decode_utf16(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        carry = ""
        for chunk in chain([first], chunks, [b""]):
            text = carry + decoder.decode(chunk, final=not chunk)
            carry = text[-1:] if chunk and text.endswith("\r") else ""  # its line feed is in the next chunk
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
        except UnicodeDecodeError:  # five bytes stand for nothing there
            return line.decode("latin-1")


def _iter_blocks(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes cut behind line ends; a line that is too long before a mark, or else between two characters."""
    held = b""
    for chunk in chain([first], chunks):
        held += chunk
        end = held.rfind(b"\n") + 1
        if not end and len(held) > MAX_DOCUMENT_CHARS:
            end = max(held.rfind(_END_OF_TEXT), 0) or _last_character_start(held)
        yield held[:end]
        held = held[end:]
    yield held


def _last_character_start(held: bytes) -> int:
    """The last place where no character of UTF-8 is cut in two."""
    for end in range(len(held) - 1, len(held) - 5, -1):
        if held[end] & 0xC0 != 0x80:  # a character begins there
            return end
    return len(held)
