"""Tables and JSON in UTF-16, as programs of Windows write them, read as if they were UTF-8.

It goes by the byte-order mark and the ending of the name; what is a text to no program but `sources/text.py` is left
to that.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, cast

from tools.corpus.archive import Member
from tools.corpus.errors import MemberError

SUFFIXES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".js"})
CHUNK_BYTES = 1 << 18
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def transcode_to_utf8(member: Member) -> Member:
    """The same, its bytes UTF-8 whatever they were."""
    if PurePosixPath(member.name).suffix.lower() not in SUFFIXES:
        return member
    try:
        wide = member.read_head(2) in _BYTE_ORDER_MARKS
    except MemberError:  # it will be told when it is read
        return member
    return replace(member, open_raw=lambda: cast(IO[bytes], _TranscodedStream(member.open_raw()))) if wide else member


class _TranscodedStream:
    """A stream in UTF-16, in UTF-8; half a character becomes U+FFFD."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._buffer = b""
        self._at_end = False
        self.close = file.close

    def seekable(self) -> bool:
        return False

    def read(self, count: int = -1) -> bytes:
        while not self._at_end and (count < 0 or len(self._buffer) < count):
            raw = self._file.read(CHUNK_BYTES)
            self._at_end = not raw
            self._buffer += self._decoder.decode(raw, final=self._at_end).encode("utf-8", "replace")
        count = len(self._buffer) if count < 0 else count
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data
