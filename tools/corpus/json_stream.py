"""Reads huge JSON, one element at a time.

Memory holds one element and one chunk. The standard library's scanner is used because ijson keeps the path to the
current element: 40 kB of `[[[[` take 2 GB there. This module does not know what the elements mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from tools.corpus.archive import Member, MemberError

CHUNK_BYTES = 1 << 18  # bytes per read
MAX_ELEMENT_CHARS = 32 << 20  # in one element
ASSIGNMENT_CHARS = 256  # in which `window.YTD.tweets.part0 = ` must end
_decode_value = json.JSONDecoder().raw_decode
_WHITESPACE = " \t\n\r"
_WHITESPACE_RUN = re.compile(f"[{_WHITESPACE}]+")


def iter_array(member: Member) -> Iterator[Any]:
    """Yields the elements of an array. A leading assignment to a variable, `window.YTD... = [`, is skipped.

    Raises MemberError, after all readable elements, if the text is no array, is incomplete or is not UTF-8. Bytes that
    are not UTF-8 become U+FFFD.
    """
    with member.open() as file:
        scanner = _JsonScanner(file, member.location)
        scanner.skip_assignment()
        yield from scanner.iter_elements()
        scanner.require_end()


def iter_object(member: Member, array_keys: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """Yields (key, value) of an object. A key of `array_keys` is yielded once with each element of its array.

    So `{"title": "x", "messages": [1, 2]}` with `["messages"]` gives ("title", "x"), ("messages", 1), ("messages", 2).
    Raises MemberError as `iter_array` does.
    """
    with member.open() as file:
        scanner = _JsonScanner(file, member.location)
        scanner.skip_assignment()
        for key in scanner.iter_keys():
            if key in array_keys and scanner.peek() == "[":
                yield from ((key, element) for element in scanner.iter_elements())
            else:
                yield key, scanner.read_value()
        scanner.require_end()


JsonPath = tuple[str | int, ...]  # keys, and numbers of elements


def iter_paths(member: Member, is_container: Callable[[JsonPath], bool]) -> Iterator[tuple[JsonPath, Any]]:
    """Yields (path, value) of a tree of objects and arrays. Those for which `is_container` are yielded part by part.

    Raises MemberError as `iter_array` does.
    """
    with member.open() as file:
        scanner = _JsonScanner(file, member.location)
        scanner.skip_assignment()
        yield from scanner.iter_parts((), is_container)
        scanner.require_end()


class _Utf8Reader:
    """Decodes a file; bytes that are not UTF-8 become U+FFFD, and `require_utf8` reports them."""

    def __init__(self, file: IO[bytes], location: str) -> None:
        self._file = file
        self._location = location
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._is_utf8 = True
        self._at_end = False

    def read_chunk(self, count: int) -> str:
        """Returns the next characters; "" only at the end."""
        text = ""
        while not text and not self._at_end:
            raw = self._file.read(count)
            self._at_end = not raw
            text = self._decode(raw)
        return text

    def require_utf8(self) -> None:
        """Raises MemberError if any byte so far was not UTF-8."""
        if not self._is_utf8:
            raise MemberError(
                f"{self._location}: partly not UTF-8; unreadable bytes became \ufffd; "
                "convert it, for example: iconv -f CP1252 -t UTF-8"
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
    """Scans a JSON text of which only a part is in memory."""

    def __init__(self, file: IO[bytes], location: str) -> None:
        self._reader = _Utf8Reader(file, location)
        self._location = location
        self._buffer = ""
        self._position = 0
        self._dropped_chars = 0  # characters removed from the start of the buffer

    def skip_assignment(self) -> None:
        """Skips `NAME = ` at the start of the text."""
        if self.peek() in ("[", "{"):
            return
        while len(self._buffer) < ASSIGNMENT_CHARS and self._fill():
            pass
        equals = self._buffer.find("=", self._position, self._position + ASSIGNMENT_CHARS)
        if equals < 0:
            raise self._error("neither JSON nor an assignment")
        self._position = equals + 1

    def require_end(self) -> None:
        """Raises MemberError if more than a semicolon follows, or if any byte was not UTF-8."""
        if self.peek() == ";":
            self._position += 1
        if self.peek():
            raise self._error("more than one value")
        self._reader.require_utf8()

    def iter_elements(self) -> Iterator[Any]:
        """Yields the elements of the array that follows."""
        yield from (self.read_value() for _ in self._iter_items("[", "]"))

    def iter_keys(self) -> Iterator[str]:
        """Yields the keys of the object that follows. The caller reads each value before the next key."""
        for _ in self._iter_items("{", "}"):
            key = self.read_value()
            if not isinstance(key, str):
                raise self._error("a key that is not a string")
            self._expect(":")
            yield key

    def iter_parts(self, path: JsonPath, is_container: Callable[[JsonPath], bool]) -> Iterator[tuple[JsonPath, Any]]:
        """Yields (path, value) of the value that follows; the parts of a container come one by one."""
        opening = self.peek() if is_container(path) else ""
        if opening == "{":
            for key in self.iter_keys():
                yield from self.iter_parts((*path, key), is_container)
        elif opening == "[":
            for number, _ in enumerate(self._iter_items("[", "]")):
                yield from self.iter_parts((*path, number), is_container)
        else:
            yield path, self.read_value()

    def read_value(self) -> Any:
        """Returns the complete value that follows."""
        self.peek()
        while True:
            try:
                value, end = _decode_value(self._buffer, self._position)
            except json.JSONDecodeError:
                if len(self._buffer) - self._position > MAX_ELEMENT_CHARS or not self._fill():
                    raise self._error("not JSON, or an element that is too long") from None
                continue
            except (ValueError, RecursionError):  # thousands of digits, or of nested brackets
                raise self._error("not JSON that a program wrote") from None
            if len(self._buffer) - end <= len("e+") and self._fill():
                continue  # a number may continue in the next chunk
            self._position = end
            return value

    def peek(self) -> str:
        """Returns the next character that is not blank; "" at the end."""
        while True:
            char = self._buffer[self._position : self._position + 1]
            if char and char not in _WHITESPACE:
                return char
            blanks = _WHITESPACE_RUN.match(self._buffer, self._position)
            self._position = blanks.end() if blanks else self._position
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
                raise self._error(f"expected , or {closing}")
            self._position += 1
            if char == closing:
                return

    def _expect(self, char: str) -> None:
        if self.peek() != char:
            raise self._error(f"expected {char}")
        self._position += 1

    def _fill(self) -> bool:
        """Reads at least as much as the buffer holds, so scanning takes linear time. Returns False at the end."""
        chunk = self._reader.read_chunk(max(CHUNK_BYTES, len(self._buffer) - self._position))
        if chunk:
            self._dropped_chars += self._position
            self._buffer = self._buffer[self._position :] + chunk
            self._position = 0
        return bool(chunk)

    def _error(self, reason: str) -> MemberError:
        at_end = "" if self.peek() else ", where the file ends"
        return MemberError(
            f"{self._location}: {reason}, at character {self._dropped_chars + self._position}{at_end}; fetch it again"
        )
