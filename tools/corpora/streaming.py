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

from tools.corpora import members
from tools.corpora.errors import MemberRefused
from tools.corpora.members import Member

CHUNK = 1 << 18  # bytes read at a time
LONGEST = 32 << 20  # characters of one element
PREFIX = 256  # characters in which the `=` of `window.YTD.tweets.part0 = ` is looked for
_scan = json.JSONDecoder().raw_decode
_BLANKS = " \t\n\r"
_SOME_BLANKS = re.compile(f"[{_BLANKS}]+")


def elements(file: IO[bytes], member: Member) -> Iterator[Any]:
    """The elements of an array, in order; what assigns it to a variable is gone over, as `window.YTD... = [`.

    Raises MemberRefused, after all that could be read, where it is no array, breaks off, or has bytes that are not
    UTF-8 (those stand as U+FFFD in what was given before).
    """
    window = _Window(file, member)
    window.pass_assignment()
    yield from window.array()
    window.require_end()


def members_of(file: IO[bytes], member: Member, arrays: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """The keys and values of an object, in order; a key among `arrays` comes again with each element of its array.

    So `{"title": "x", "messages": [1, 2]}` by `["messages"]` gives ("title", "x"), ("messages", 1), ("messages", 2).
    Raises MemberRefused as `elements` does.
    """
    window = _Window(file, member)
    window.pass_assignment()
    for key in window.names():
        if key in arrays and window.peek() == "[":
            for element in window.array():
                yield key, element
        else:
            yield key, window.value()
    window.require_end()


class _Decoded:
    """Bytes as text; bytes that are not UTF-8 become U+FFFD, and that is remembered."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file = file
        self._member = member
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._is_utf8 = True
        self._ended = False

    def chunk(self, count: int) -> str:
        """The next characters; empty at the end alone."""
        text = ""
        while not text and not self._ended:
            raw = members.read(self._file, self._member, count)
            self._ended = not raw
            text = self._text(raw)
        return text

    def require_utf8(self) -> None:
        """Raises MemberRefused if there were other bytes so far."""
        if not self._is_utf8:
            raise MemberRefused(
                f"{self._member.place}: not all of it is UTF-8, and what is not stands as \ufffd; "
                "convert it, as with: iconv -f CP1252 -t UTF-8"
            )

    def _text(self, raw: bytes) -> str:
        try:
            return self._decoder.decode(raw, self._ended)
        except UnicodeDecodeError:
            self._is_utf8 = False
        self._decoder.errors = "replace"
        text = self._decoder.decode(raw, self._ended)
        self._decoder.errors = "strict"
        return text


class _Window:
    """That part of a JSON text which is being read."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._decoded = _Decoded(file, member)
        self._place = member.place
        self._text = ""
        self._at = 0
        self._before = 0  # characters that are no longer held

    def pass_assignment(self) -> None:
        """Go over `NAME = ` if the text begins so."""
        if self.peek() in ("[", "{"):
            return
        while len(self._text) < PREFIX and self._fill():
            pass
        equals = self._text.find("=", self._at, self._at + PREFIX)
        if equals < 0:
            raise self._refused("neither JSON nor an assignment of it")
        self._at = equals + 1

    def require_end(self) -> None:
        """Raises MemberRefused if there is more, but for a semicolon, or if not all was UTF-8."""
        if self.peek() == ";":
            self._at += 1
        if self.peek():
            raise self._refused("more than one value")
        self._decoded.require_utf8()

    def array(self) -> Iterator[Any]:
        """The elements of the array that comes next."""
        yield from (self.value() for _ in self._items("[", "]"))

    def names(self) -> Iterator[str]:
        """The keys of the object that comes next; whoever asks must have read the value before he asks again."""
        for _ in self._items("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise self._refused("a key that is no string")
            self._require(":")
            yield key

    def value(self) -> Any:
        """The whole value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _scan(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > LONGEST or not self._fill():
                    raise self._refused("no JSON from here, or an element too long") from None
                continue
            except (ValueError, RecursionError):  # a number of thousands of digits, or a thousand brackets
                raise self._refused("no JSON that anybody meant") from None
            if len(self._text) - end <= len("e+") and self._fill():
                continue  # a number may go on
            self._at = end
            return value

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            char = self._text[self._at : self._at + 1]
            if char and char not in _BLANKS:
                return char
            blank = _SOME_BLANKS.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at == len(self._text) and not self._fill():
                return ""

    def _items(self, opening: str, closing: str) -> Iterator[None]:
        self._require(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            char = self.peek()
            if char not in (closing, ","):
                raise self._refused(f"neither , nor {closing} where one must be")
            self._at += 1
            if char == closing:
                return

    def _require(self, char: str) -> None:
        if self.peek() != char:
            raise self._refused(f"no {char} where one must be")
        self._at += 1

    def _fill(self) -> bool:
        """Read on, as much as is held: so the scans of a long element, all together, are no more than twice its size.

        At the end of the file nothing moves.
        """
        more = self._decoded.chunk(max(CHUNK, len(self._text) - self._at))
        if more:
            self._before += self._at
            self._text = self._text[self._at :] + more
            self._at = 0
        return bool(more)

    def _refused(self, fault: str) -> MemberRefused:
        ended = "" if self.peek() else ", where it breaks off"
        return MemberRefused(f"{self._place}: {fault}, at character {self._before + self._at}{ended}; fetch it again")
