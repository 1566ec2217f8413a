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

from model.base import END_OF_TEXT
from tools.corpora.errors import MemberRefused
from tools.corpora.lines import as_windows
from tools.corpora.members import HEAD, LARGEST, SWELLING, SWOLLEN, Member
from tools.corpora.record import Found, Record, Skipped, Warned
from tools.corpora.threads import told

KIND = "text"

START_OF_TEXT = "<|startoftext|>"  # gpt-2-simple puts it before each row of a CSV
SAMPLES = "=" * 20  # a line of these stands behind each sample in gpt-2-simple's files
MARKED_UP = frozenset({".md", ".markdown", ".rst"})  # where such a line underlines a heading
# What programs read is taken for a text only by `--as text`.
DATA = re.compile(
    r"\.(js|jsonl?|ndjson|[ct]sv|x?html?|xml|css|svg|sql|ya?ml|toml|ini|cfg|lock|vcf|ics|srt|vtt|plist|py|sh|ipynb|pem|key"
    r"|rtf|e?ps|tex|sbf)",
    re.IGNORECASE,
)
CALLED_SO = frozenset({".txt", ".text", ".md", ".asc"})
ASCII = 0.8  # of the characters of a western text, at least
LONGEST = 16 << 20  # characters of one document; a longer one is cut, so that memory holds it
LINE = 20_000  # characters in a line that is most of a file: nobody wrote that
CHUNK = 1 << 20

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_XZ = b"\xfd7zXZ\x00"
_NOT_TEXT = (codecs.BOM_UTF32_LE, b"{\\rtf", b"%!PS", b"%PDF-")
_CONTROL = re.compile("[\0-\6\x0e-\x19\x1c-\x1f]")  # BEL, BS, TAB, LF, VT, FF, CR, SUB and ESC do occur in texts
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_END = END_OF_TEXT.encode()


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Those whose first bytes are text and whose names are not those of what programs read."""
    suffixes = ((member, PurePosixPath(member.name).suffix.lower()) for member in members)
    return [member for member, suffix in suffixes if not DATA.fullmatch(suffix) and _reads(member, suffix in CALLED_SO)]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """Each file's documents in order."""
    for member in members:
        yield from told(_reading(member), member)


def _reading(member: Member) -> Iterator[Found]:
    yield from _Reading(member).found()


def _reads(member: Member, called_so: bool) -> bool:
    try:
        head = member.head()
        if head.startswith(_XZ):
            head = _unpacked(member).head()
    except MemberRefused:
        return False
    if head.startswith(_NOT_TEXT):
        return False
    if head.startswith(_UTF16):
        return True
    try:
        return not _CONTROL.search(codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD))
    except UnicodeDecodeError:
        return called_so and _of_windows(head)


def _of_windows(head: bytes) -> bool:
    """Whether it may be text of an old computer in the west: mostly ASCII, and every byte a character there."""
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(text) and sum(map(str.isascii, text)) > ASCII * len(text)


def _unpacked(member: Member) -> Member:
    return replace(member, opened=lambda: cast(IO[bytes], lzma.open(member.open())))


class _Reading:
    """One file on its way: what was odd about it is told when it is over."""

    def __init__(self, member: Member) -> None:
        self._name = PurePosixPath(member.name)
        self._place = member.place
        self._packed = member.head(len(_XZ)) == _XZ
        self._size = member.size
        self._member = _unpacked(member) if self._packed else member
        self._not_utf8 = self._lost = self._longest = self._whole = self._cut = 0

    def found(self) -> Iterator[Found]:
        number = 0
        for text in self._documents():
            if not text.strip():
                yield Skipped(self._place, "a blank document")
                continue
            number += 1
            yield Record(self._place, str(self._name) if number == 1 else f"{self._name} {number}", text)
        if not number:
            yield Skipped(self._place, "a file without text")
        yield from (Warned(self._place, what) for what in self._oddities())

    def _oddities(self) -> Iterator[str]:
        if DATA.fullmatch(self._name.suffix):
            yield f"taken as it stands, marks and all, although its name ends in {self._name.suffix}"
        if self._not_utf8:
            yield as_windows(self._not_utf8)
        if self._lost:
            yield f"{self._lost:,} characters could not be read and are question marks now"
        if self._longest > max(LINE, self._whole / 2):
            yield f"a line of {self._longest:,} characters: are its line ends lost?"
        if self._cut:
            yield f"a document of over {LONGEST >> 20} million characters was cut into parts ({self._cut + 1})"

    def _documents(self) -> Iterator[str]:
        parts: list[str] = []
        size, cut = 0, False
        for part, ends in self._parts():
            self._cut += cut
            parts.append(part)
            size += len(part)
            if ends or size > LONGEST:
                yield "".join(parts).removeprefix(START_OF_TEXT)
                parts, size = [], 0
            cut = not parts and not ends
        if (last := "".join(parts).removeprefix(START_OF_TEXT)).strip():  # behind the last mark there may be nothing
            yield last

    def _parts(self) -> Iterator[tuple[str, bool]]:
        """Lines, or what a mark leaves of them, each with whether the document ends there."""
        divides = self._name.suffix.lower() not in MARKED_UP
        for line in self._lines():
            if divides and line.rstrip() == SAMPLES:
                yield "", True
            elif END_OF_TEXT in line:
                *before, last = line.split(END_OF_TEXT)
                yield from ((part, True) for part in before)
                if last.strip():
                    yield last, False
            else:
                yield line, False

    def _lines(self) -> Iterator[str]:
        """With their ends; one that is longer than memory should hold comes in pieces."""
        length = 0
        for text in self._texts():
            for line in _LINE.findall(text.replace("\r\n", "\n")):
                length += len(line)
                self._whole += len(line)
                self._longest = max(self._longest, length)
                yield line
                length = 0 if line.endswith("\n") else length

    def _texts(self) -> Iterator[str]:
        with self._member.open() as file:
            chunks = self._chunks(file)
            first = next(chunks, b"")
            if first.startswith(_UTF16):
                yield from self._utf16(first, chunks)
                return
            for block in _blocks(first.removeprefix(codecs.BOM_UTF8), chunks):
                yield self._decoded(block)

    def _chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Raises MemberRefused for a bomb."""
        total = 0
        while chunk := file.read(CHUNK):
            total += len(chunk)
            if self._packed and total > SWOLLEN and total > min(LARGEST, SWELLING * self._size):
                raise MemberRefused(f"{self._place}: over {total / self._size:.0f} times its packed size: a bomb")
            yield chunk

    def _utf16(self, first: bytes, chunks: Iterator[bytes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        carry = ""
        for chunk in chain([first], chunks, [b""]):
            text = carry + decoder.decode(chunk, final=not chunk)
            carry = text[-1:] if chunk and text.endswith("\r") else ""  # its line feed is in the next chunk
            text = text.removesuffix(carry)
            self._lost += text.count("\ufffd")
            yield text

    def _decoded(self, block: bytes) -> str:
        try:
            return block.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(map(self._line, block.splitlines(keepends=True)))

    def _line(self, line: bytes) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self._not_utf8 += 1
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:  # five bytes stand for nothing there
            return line.decode("latin-1")


def _blocks(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes cut behind line ends; a line that is too long before a mark, or else between two characters."""
    held = b""
    for chunk in chain([first], chunks):
        held += chunk
        end = held.rfind(b"\n") + 1
        if not end and len(held) > LONGEST:
            end = max(held.rfind(_END), 0) or _between_characters(held)
        yield held[:end]
        held = held[end:]
    yield held


def _between_characters(held: bytes) -> int:
    """The last place where no character of UTF-8 is cut in two."""
    for end in range(len(held) - 1, len(held) - 5, -1):
        if held[end] & 0xC0 != 0x80:  # a character begins there
            return end
    return len(held)
