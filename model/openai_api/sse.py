"""Bytes of an event stream -> the data of its events, however the bytes were cut. Pure.

Knows the framing alone: lines that end in LF, CR LF or CR, comments, fields of which only `data` matters here. An
event counts when the empty line behind it has come, so half of one is never taken for a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_EVENT_BYTES = 1 << 20  # bytes that an event may have; a server that never ends one must not eat the memory


class MalformedResponse(ValueError):
    """What came is none of the protocol."""


class SseParser:
    """One stream: `push` what came, get the data of the events that are complete with it."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._data: list[str] = []
        self._data_bytes = 0  # bytes of the lines of data
        self._is_after_cr = False
        self._is_first_line = True

    def push(self, data: bytes) -> list[str]:
        """Raises Garbled for what is not UTF-8, or over the bound."""
        return list(self.iter_events(data))

    def iter_events(self, data: bytes) -> Iterator[str]:
        """The same one by one: those before a fault are had before it is raised."""
        if self._is_after_cr and data:
            data = data.removeprefix(b"\n")
            self._is_after_cr = False
        self._is_after_cr = self._is_after_cr or data.endswith(b"\r")
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            self._append_to_line(line)
            whole, self._line = bytes(self._line), bytearray()
            if (event := self._parse_line(whole)) is not None:
                yield event
        self._append_to_line(lines[-1])

    def _append_to_line(self, part: bytes) -> None:
        self._line += part
        if len(self._line) + self._data_bytes > self._max_bytes:
            raise MalformedResponse(f"an event of over {self._max_bytes:,} bytes")

    def _parse_line(self, line: bytes) -> str | None:
        """Take a line; the data of the event that it ends."""
        if self._is_first_line:
            line, self._is_first_line = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            data, self._data, self._data_bytes = self._data, [], 0
            return "\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data_bytes += len(line)
            try:
                self._data.append(value.removeprefix(b" ").decode())
            except UnicodeDecodeError:
                raise MalformedResponse("an event that is not UTF-8") from None
        return None
