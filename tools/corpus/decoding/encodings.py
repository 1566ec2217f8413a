"""Makes every text file read as UTF-8: a file in another encoding is recognised, and decoded while it is read.

UTF-8 passes unchanged, and so do files that are no text. A file that is UTF-8 but for some bytes keeps its letters, and
only those bytes are decoded otherwise. Where lines end with a carriage return alone, they get a line feed instead.
Memory holds a chunk.
"""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import lru_cache
from typing import IO, Protocol, cast

from tools.cli.errors import ToolError
from tools.corpus.archive import READ_ERRORS, Member, MemberError
from tools.corpus.decoding.byte_signatures import (
    MARKS,
    NO_TEXT_MAGIC,
    WIDE_ENCODINGS,
    guess_escaped,
    guess_wide,
    has_many_controls,
    has_many_nuls,
    is_text,
    is_utf8_with_nuls,
)
from tools.corpus.decoding.encoding_guess import EncodingEvidence, guess_encoding

CHUNK_BYTES = 1 << 18
SNIFF_BYTES = 4096  # in which UTF-16 without a mark is looked for

_NO_TEXT_CODECS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}


class _Decoder(Protocol):
    def decode(self, data: bytes, final: bool = False) -> str: ...


def read_as_utf8(member: Member, encoding: str = "") -> Member:
    """Returns a member whose content is UTF-8. `encoding` names the encoding of the file; "" lets it be recognised."""
    return replace(member, open_raw=_Utf8Opener(member.open_raw, encoding))


def encoding_warning(member: Member) -> str:
    """Returns what was decoded when a member of `read_as_utf8` was last read, with the cure; "" if nothing was."""
    return member.open_raw.warning() if isinstance(member.open_raw, _Utf8Opener) else ""


def check_encoding(name: str) -> str:
    """Returns Python's name of an encoding. Raises ToolError ("argument") if there is none."""
    try:
        found = codecs.lookup(name).name
        with suppress(UnicodeError):
            b"a".decode(name)  # raises LookupError for a codec that gives no text, such as base64
    except (LookupError, ValueError):
        found = "undefined"
    if found not in _NO_TEXT_CODECS:
        return found
    aliases = encodings.aliases.aliases
    similar = difflib.get_close_matches(name.lower().replace("-", "_"), {*aliases, *aliases.values()}, 1)
    hint = f"did you mean {similar[0]}" if similar else "there are utf-8, cp1252, mac_roman, cp850, cp1251 and others"
    raise ToolError(f"--encoding {name}: no such encoding; {hint}", "argument")


class _Utf8Opener:
    """Opens a file as UTF-8, and counts what was decoded at the last reading.

    `encoding` is what the file was found to be, "" before that. `is_mixed`: UTF-8 but for some bytes, which are
    unreadable if `encoding` is UTF-8 too. `is_raw`: passed unchanged, because it is UTF-8, no text, or unknown.
    """

    def __init__(self, open_raw: Callable[[], IO[bytes]], named: str) -> None:
        self.open_raw = open_raw
        self.named = named
        self.encoding = ""
        self.is_mixed = self.is_raw = self.is_binary = False
        self.decoded = self.unreadable = self.nuls = 0
        self._letters = ""
        self._has_utf8_mark = False

    def __call__(self) -> IO[bytes]:
        self.decoded = self.unreadable = self.nuls = 0
        return cast(IO[bytes], _Utf8Stream(self))

    def recognise(self, head: bytes) -> None:
        """Sets the encoding if the first bytes show it; for others `examine` reads the file."""
        mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
        if mark == codecs.BOM_UTF8:
            self._has_utf8_mark = True
        elif mark and is_text(head[:SNIFF_BYTES], MARKS[mark]):
            self.encoding = MARKS[mark]
        elif head.startswith(NO_TEXT_MAGIC):
            self.is_raw = self.is_binary = True
        elif self.named and (not has_many_nuls(head) or self.named.startswith(("utf-16", "utf-32"))):
            is_wide = self.named in ("utf-16", "utf-32")  # their codecs need a mark
            self.encoding = (guess_wide(head[:SNIFF_BYTES]) or f"{self.named}-le") if is_wide else self.named
        elif escaped := guess_escaped(head):
            self.encoding = escaped
        elif b"\0" in head[:SNIFF_BYTES] and not is_utf8_with_nuls(head[:SNIFF_BYTES]):
            self.encoding = guess_wide(head[:SNIFF_BYTES])
            self.is_raw = self.is_binary = not self.encoding and has_many_controls(head)
        elif has_many_controls(head):
            self.is_raw = self.is_binary = True

    def examine(self) -> None:
        """Reads the file, and sets its encoding by the letters outside ASCII."""
        if _is_utf8(_read_chunks(self.open_raw)):
            self.is_raw = True
            return
        evidence = EncodingEvidence()
        for block in _iter_blocks(_read_chunks(self.open_raw)):
            evidence.add(block)
        guess = guess_encoding(evidence)
        self.encoding, self._letters = guess.encoding or "utf-8", guess.letters
        self.is_mixed = guess.is_mixed or self._has_utf8_mark
        self.is_raw = not guess.encoding and not self.is_mixed

    def drop_nuls(self, data: bytes) -> bytes:
        """Returns the bytes of a text without NULs, which some programs leave in it, and counts them."""
        if self.is_binary or self.encoding.startswith(("utf-16", "utf-32")) or b"\0" not in data:
            return data
        self.nuls += data.count(0)
        return data.replace(b"\0", b"")

    def make_decoder(self) -> _Decoder:
        base = "utf-8" if self.is_mixed else self.encoding
        fallback = "" if self.encoding.startswith("utf") else self.encoding
        return codecs.getincrementaldecoder(base)(_error_handler(fallback).name)

    def count(self, decode: Callable[[], str]) -> str:
        """Returns the text of `decode`, and counts its characters that were not UTF-8 or are unreadable."""
        handler = _error_handler("" if self.encoding.startswith("utf") else self.encoding)
        decoded, unreadable = handler.decoded, handler.unreadable
        text = decode()
        if self.is_mixed or self.encoding.startswith("utf"):
            self.decoded += handler.decoded - decoded
        else:
            self.decoded += len(text) - len(text.encode("ascii", "ignore"))
        self.unreadable += handler.unreadable - unreadable
        return text

    def warning(self) -> str:
        cure = "if its letters are wrong, add it to a new corpus with --encoding NAME"
        parts = []
        if not self.named and self.encoding in WIDE_ENCODINGS:
            parts.append(f"{self.encoding} without its mark; {cure}")
        elif not self.named and self.decoded:
            letters = f" ({self._letters})" if self._letters else ""
            some = _format_characters(self.decoded)
            kind = "UTF-8, but for" if self.is_mixed else "not UTF-8:"
            parts.append(f"{kind} {some} read as {self.encoding}{letters}; {cure}")
        if self.nuls:
            parts.append(f"{_format_characters(self.nuls)} NUL left out")
        if self.unreadable:
            parts.append(f"{_format_characters(self.unreadable)} could not be read and became \ufffd")
        return "; ".join(parts)


def _format_characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count:,} characters"


class _Utf8Stream:
    """A stream of UTF-8 from a file in any encoding."""

    def __init__(self, opener: _Utf8Opener) -> None:
        self._opener = opener
        self._file = opener.open_raw()
        self._decoder: _Decoder | None = None
        self._is_at_start = True
        self._has_old_line_ends: bool | None = None  # those of a Macintosh before OS X; None: not known yet
        self._is_at_end = False
        self._buffer = b""

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()

    def read(self, count: int = -1) -> bytes:
        while not self._is_at_end and (count < 0 or not self._buffer):
            chunk = self._read_chunk()
            if self._has_old_line_ends is None and chunk:
                head = b"" if self._opener.is_binary else chunk[:SNIFF_BYTES].rstrip(b"\r")
                self._has_old_line_ends = b"\r" in head and b"\n" not in head
            self._buffer += chunk.replace(b"\r", b"\n") if self._has_old_line_ends else chunk
        count = len(self._buffer) if count < 0 else count
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _read_chunk(self) -> bytes:
        opener = self._opener
        data = self._file.read(CHUNK_BYTES)
        self._is_at_end = not data
        if self._is_at_start:
            self._is_at_start = False
            if not (opener.is_raw or opener.encoding):
                opener.recognise(data)
        data = opener.drop_nuls(data)
        if opener.is_raw:
            return data
        if self._decoder is None:
            if not opener.encoding:
                if data.isascii():
                    return data
                opener.examine()
                if opener.is_raw:
                    return data
            self._decoder = opener.make_decoder()
        decoder = self._decoder
        text = opener.count(lambda: decoder.decode(data, self._is_at_end))
        return text.encode("utf-8", "surrogatepass")


class _ErrorHandler:
    """Decodes the bytes that a codec refuses, and counts them. `encoding` "" makes each of them U+FFFD."""

    def __init__(self, encoding: str) -> None:
        self.name = f"asr33-{encoding}"
        self._encoding = encoding
        self.decoded = self.unreadable = 0
        codecs.register_error(self.name, self)

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        data = error.object[error.start : error.end]
        is_cut = error.reason == "unexpected end of data" and len(data) > 1
        if not self._encoding or is_cut:
            self.unreadable += 1
            return "\ufffd", error.end
        self.decoded += len(data)
        # Windows-1252 leaves five bytes undefined; they become control characters, which cleaning removes.
        return "".join(_decode_byte(byte, self._encoding) for byte in data), error.end


@lru_cache
def _error_handler(encoding: str) -> _ErrorHandler:
    return _ErrorHandler(encoding)


@lru_cache(1 << 12)
def _decode_byte(byte: int, encoding: str) -> str:
    try:
        return bytes([byte]).decode(encoding)
    except UnicodeDecodeError:
        return chr(byte)


def _read_chunks(open_raw: Callable[[], IO[bytes]]) -> Iterator[bytes]:
    """Yields what can be read; damage is reported by the reading for which this one prepares."""
    with suppress(MemberError, *READ_ERRORS), closing(open_raw()) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _is_utf8(chunks: Iterator[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _iter_blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the bytes, split at line ends or between characters of UTF-8."""
    carry = b""
    for chunk in chunks:
        block = carry + chunk
        end = block.rfind(b"\n") + 1 or _last_character_start(block)
        yield block[:end]
        carry = block[end:]
    yield carry


def _last_character_start(block: bytes) -> int:
    """Returns the last position where no UTF-8 character is split."""
    for end in range(len(block) - 1, max(0, len(block) - 5), -1):
        if block[end] & 0xC0 != 0x80:
            return end
    return len(block)
