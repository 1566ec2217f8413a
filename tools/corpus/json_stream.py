"""Huge JSON out of a binary stream, one element at a time.

It holds one element and one chunk, whatever the size of the file. The standard library's scanner does the work, for
ijson keeps the path to where it is: forty kilobytes of `[[[[` are two gigabytes of path. It does not know what the
elements mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator
from typing import IO, Any

from tools.corpus import archive
from tools.corpus.archive import Member
from tools.corpus.errors import MemberError

CHUNK_BYTES = 1 << 18  # bytes read at a time
MAX_ELEMENT_CHARS = 32 << 20  # characters of one element
ASSIGNMENT_CHARS = 256  # characters in which the `=` of `window.YTD.tweets.part0 = ` is looked for
_decode_value = json.JSONDecoder().raw_decode
_WHITESPACE = " \t\n\r"
_WHITESPACE_RUN = re.compile(f"[{_WHITESPACE}]+")


def iter_array(file: IO[bytes], member: Member) -> Iterator[Any]:
    """The elements of an array, in order; what assigns it to a variable is gone over, as `window.YTD... = [`.

    Raises MemberRefused, after all that could be read, where it is no array, breaks off, or has bytes that are not
    UTF-8 (those stand as U+FFFD in what was given before).
    """
    window = _JsonScanner(file, member)
    window.skip_assignment()
    yield from window.iter_elements()
    window.require_end()


def iter_object(file: IO[bytes], member: Member, array_keys: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """The keys and values of an object, in order; a key among `arrays` comes again with each element of its array.

    So `{"title": "x", "messages": [1, 2]}` by `["messages"]` gives ("title", "x"), ("messages", 1), ("messages", 2).
    Raises MemberRefused as `elements` does.
    """
    window = _JsonScanner(file, member)
    window.skip_assignment()
    for key in window.iter_keys():
        if key in array_keys and window.peek() == "[":
            for element in window.iter_elements():
                yield key, element
        else:
            yield key, window.read_value()
    window.require_end()


class _Utf8Reader:
    """Bytes as text; bytes that are not UTF-8 become U+FFFD, and that is remembered."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file = file
        self._member = member
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._is_utf8 = True
        self._at_end = False

    def read_chunk(self, count: int) -> str:
        """The next characters; empty at the end alone."""
        text = ""
        while not text and not self._at_end:
            raw = archive.read_bytes(self._file, self._member, count)
            self._at_end = not raw
            text = self._decode(raw)
        return text

    def require_utf8(self) -> None:
        """Raises MemberRefused if there were other bytes so far."""
        if not self._is_utf8:
            raise MemberError(
                f"{self._member.location}: not all of it is UTF-8, and what is not stands as \ufffd; "
                "convert it, as with: iconv -f CP1252 -t UTF-8"
            )

    def _decode(self, raw: bytes) -> str:
        try:
            return self._decoder.decode(raw, self._at_end)
        except UnicodeDecodeError:
            self._is_utf8 = False
        self._decoder.errors = "replace"
        text = self._decoder.decode(raw, self._at_end)
        self._decoder.errors = "strict"
        return text


class _JsonScanner:
    """That part of a JSON text which is being read."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._reader = _Utf8Reader(file, member)
        self._location = member.location
        self._buffer = ""
        self._position = 0
        self._dropped_chars = 0  # characters that are no longer held

    def skip_assignment(self) -> None:
        """Go over `NAME = ` if the text begins so."""
        if self.peek() in ("[", "{"):
            return
        while len(self._buffer) < ASSIGNMENT_CHARS and self._fill():
            pass
        equals = self._buffer.find("=", self._position, self._position + ASSIGNMENT_CHARS)
        if equals < 0:
            raise self._error("neither JSON nor an assignment of it")
        self._position = equals + 1

    def require_end(self) -> None:
        """Raises MemberRefused if there is more, but for a semicolon, or if not all was UTF-8."""
        if self.peek() == ";":
            self._position += 1
        if self.peek():
            raise self._error("more than one value")
        self._reader.require_utf8()

    def iter_elements(self) -> Iterator[Any]:
        """The elements of the array that comes next."""
        yield from (self.read_value() for _ in self._iter_items("[", "]"))

    def iter_keys(self) -> Iterator[str]:
        """The keys of the object that comes next; whoever asks must have read the value before he asks again."""
        for _ in self._iter_items("{", "}"):
            key = self.read_value()
            if not isinstance(key, str):
                raise self._error("a key that is no string")
            self._expect(":")
            yield key

    def read_value(self) -> Any:
        """The whole value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _decode_value(self._buffer, self._position)
            except json.JSONDecodeError:
                if len(self._buffer) - self._position > MAX_ELEMENT_CHARS or not self._fill():
                    raise self._error("no JSON from here, or an element too long") from None
                continue
            except (ValueError, RecursionError):  # a number of thousands of digits, or a thousand brackets
                raise self._error("no JSON that anybody meant") from None
            if len(self._buffer) - end <= len("e+") and self._fill():
                continue  # a number may go on
            self._position = end
            return value

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            char = self._buffer[self._position : self._position + 1]
            if char and char not in _WHITESPACE:
                return char
            blank = _WHITESPACE_RUN.match(self._buffer, self._position)
            self._position = blank.end() if blank else self._position
            if self._position == len(self._buffer) and not self._fill():
                return ""

    def _iter_items(self, opening: str, closing: str) -> Iterator[None]:
        self._expect(opening)
        if self.peek() == closing:
            self._position += 1
            return
        while True:
            yield
            char = self.peek()
            if char not in (closing, ","):
                raise self._error(f"neither , nor {closing} where one must be")
            self._position += 1
            if char == closing:
                return

    def _expect(self, char: str) -> None:
        if self.peek() != char:
            raise self._error(f"no {char} where one must be")
        self._position += 1

    def _fill(self) -> bool:
        """Read on, as much as is held: so the scans of a long element, all together, are no more than twice its size.

        At the end of the file nothing moves.
        """
        more = self._reader.read_chunk(max(CHUNK_BYTES, len(self._buffer) - self._position))
        if more:
            self._dropped_chars += self._position
            self._buffer = self._buffer[self._position :] + more
            self._position = 0
        return bool(more)

    def _error(self, fault: str) -> MemberError:
        ended = "" if self.peek() else ", where it breaks off"
        return MemberError(
            f"{self._location}: {fault}, at character {self._dropped_chars + self._position}{ended}; fetch it again"
        )
