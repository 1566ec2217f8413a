"""Server-sent events: turns the bytes of a stream, cut anywhere, into the data of its events. Pure.

Lines end in LF, CR LF or CR. The parser ignores comments and all fields but `data`. An event counts only with the empty
line after it, so that half an event is never taken for a whole one. A character beyond U+FFFF may come in two halves,
in two events: `SurrogateJoiner`.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_EVENT_BYTES = 1 << 20  # so that a server that never ends an event cannot fill the memory


class MalformedResponse(ValueError):
    """A server's bytes do not follow the protocol."""


class SseParser:
    """Parses one stream: give it bytes with `push` or `iter_events`."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._data: list[str] = []
        self._data_bytes = 0
        self._is_after_cr = False
        self._is_first_line = True
        self.completed = 0  # events and comments

    @property
    def is_unfinished(self) -> bool:
        """Whether an event or a comment has begun and is not complete."""
        return bool(self._line or self._data)

    def push(self, data: bytes) -> list[str]:
        """Returns the data of the events that these bytes complete.

        Raises MalformedResponse for bytes that are not UTF-8 and for an event that is too long.
        """
        return list(self.iter_events(data))

    def iter_events(self, data: bytes) -> Iterator[str]:
        """As `push`, but yields the events before a malformed one, then raises."""
        if self._is_after_cr and data:
            data = data.removeprefix(b"\n")
            self._is_after_cr = False
        self._is_after_cr = self._is_after_cr or data.endswith(b"\r")
        *line_ends, line_start = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line_end in line_ends:
            self._append_to_line(line_end)
            line, self._line = bytes(self._line), bytearray()
            if (event := self._parse_line(line)) is not None:
                yield event
        self._append_to_line(line_start)

    def _append_to_line(self, data: bytes) -> None:
        self._line += data
        if len(self._line) + self._data_bytes > self._max_bytes:
            raise MalformedResponse(f"an event of over {self._max_bytes:,} bytes")

    def _parse_line(self, line: bytes) -> str | None:
        """Returns the data of the event that this line ends, else None."""
        if self._is_first_line:
            line, self._is_first_line = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            self.completed += 1
            data, self._data, self._data_bytes = self._data, [], 0
            return "\n".join(data) if data else None
        name, _, value = line.partition(b":")
        self.completed += name == b""
        if name == b"data":
            self._data_bytes += len(line)
            try:
                self._data.append(value.removeprefix(b" ").decode())
            except UnicodeDecodeError:
                raise MalformedResponse("an event is not UTF-8") from None
        return None


class SurrogateJoiner:
    """Joins the halves of characters (surrogates of UTF-16, as JSON has them) over the texts of a stream."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Returns the text with whole characters. A half at its end waits for the next text, any other is dropped."""
        text, self._half = self._half + text, ""
        if text[-1:] and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
