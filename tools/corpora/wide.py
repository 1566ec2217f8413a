"""Tables and JSON in UTF-16, as programs of Windows write them, read as if they were UTF-8.

It goes by the byte-order mark and the ending of the name; what is a text to no program but `sources/text.py` is left
to that.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, cast

from tools.corpora.errors import MemberRefused
from tools.corpora.members import Member

ENDINGS = frozenset({".csv", ".tsv", ".json", ".jsonl", ".js"})
CHUNK = 1 << 18
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def narrowed(member: Member) -> Member:
    """The same, its bytes UTF-8 whatever they were."""
    if PurePosixPath(member.name).suffix.lower() not in ENDINGS:
        return member
    try:
        wide = member.head(2) in _MARKS
    except MemberRefused:  # it will be told when it is read
        return member
    return replace(member, opened=lambda: cast(IO[bytes], _Narrowed(member.opened()))) if wide else member


class _Narrowed:
    """A stream in UTF-16, in UTF-8; half a character becomes U+FFFD."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._rest = b""
        self._ended = False
        self.close = file.close

    def seekable(self) -> bool:
        return False

    def read(self, count: int = -1) -> bytes:
        while not self._ended and (count < 0 or len(self._rest) < count):
            raw = self._file.read(CHUNK)
            self._ended = not raw
            self._rest += self._decoder.decode(raw, final=self._ended).encode("utf-8", "replace")
        count = len(self._rest) if count < 0 else count
        data, self._rest = self._rest[:count], self._rest[count:]
        return data
