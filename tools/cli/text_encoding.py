"""Decodes a text in the encoding that the user names or that its mark tells; UTF-8 otherwise.

A text may come in pieces, as from a pipe. It reads no file.
"""

from __future__ import annotations

import codecs

from tools.cli.errors import ToolError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
MAX_MARK_BYTES = max(map(len, MARKS))
MAX_NUL_SHARE = 0.1  # more NULs are no text: a device, a program, or UTF-16 without its mark


class TextDecoder:
    """Decodes one text in pieces. `is_strict`: bytes that the encoding lacks are an error, otherwise U+FFFD."""

    def __init__(self, source: str, encoding: str | None = None) -> None:
        """`source` names the text in messages; without an encoding its mark or UTF-8 decides."""
        self.is_strict, self.has_replaced = True, False
        self._source, self._encoding, self._is_named = source, encoding, encoding is not None
        self._head = b""  # until the encoding is known
        self._decoder: codecs.IncrementalDecoder | None = None
        self._fed = 0

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """Returns the text of this piece, and of the bytes held back before it. Raises ToolError."""
        if self._decoder is None:
            data = self._head + data
            if not final and any(mark.startswith(data) and mark != data for mark in MARKS):
                self._head = data
                return ""
            self._encoding, self._head = _choose_encoding(data, self._encoding), b""
            self._decoder = codecs.getincrementaldecoder(self._encoding)()
        start = self._fed - len(self._decoder.getstate()[0])
        self._fed += len(data)
        self._decoder.errors = "strict" if self.is_strict else "replace"
        try:
            text = self._decoder.decode(data, final)
        except UnicodeError as error:
            if not self.is_strict:  # a codec that raises all the same
                self.has_replaced = True
                return "\ufffd"
            at = start + (error.start if isinstance(error, UnicodeDecodeError) else 0)
            raise self._damaged(data, at) from None
        if self.is_strict and text.count("\0") > MAX_NUL_SHARE * len(text):
            raise self._binary()
        self.has_replaced |= not self.is_strict and "\ufffd" in text
        return text

    def _damaged(self, data: bytes, at: int) -> ToolError:
        if data.count(b"\0") > MAX_NUL_SHARE * MAX_NUL_SHARE * len(data):
            return self._binary()
        name = (self._encoding or "").removesuffix("-sig").upper()
        cure = "name its encoding, as with --encoding latin-1, or convert it: iconv -f LATIN1 -t UTF-8"
        if self._is_named:
            cure = "name another encoding, or none for UTF-8 or a text with a mark"
        return ToolError(f"{self._source} is not {name} at byte {at:,}: {cure}", "damaged")

    def _binary(self) -> ToolError:
        cure = "name a text; UTF-16 without its mark takes --encoding utf-16-le"
        return ToolError(f"{self._source} is binary, not a text: {cure}", "damaged")


def _choose_encoding(head: bytes, chosen: str | None) -> str:
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if chosen is None:
        return marked or "utf-8"
    return "utf-8-sig" if codecs.lookup(chosen).name == "utf-8" else chosen
