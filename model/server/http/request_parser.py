"""h11 with two rules more: it skips empty lines before a request, and rejects a body in tiny chunks."""

from __future__ import annotations

import re
from typing import Any

import h11

FREE_CHUNKS = 32  # chunks of a body that may have any size
MIN_CHUNK_BYTES = 512  # average size of all further chunks

_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")


class RequestParser(h11.Connection):
    """The server's end of a connection.

    A chunk of one byte takes as much time as one of a thousand; therefore a body must not have many. Some clients send
    an empty line behind a body or before a request line, which a server ought to skip (RFC 9112 2.2).
    """

    _chunk_count = _byte_count = 0

    def __init__(self, header_bytes: int) -> None:
        super().__init__(h11.SERVER, header_bytes)

    @property
    def has_whole_request(self) -> bool:
        """Whether the body of the current request has arrived."""
        return self.their_state in (h11.DONE, h11.MUST_CLOSE)

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE and not self._skip_empty_lines():
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunk_count += event.chunk_start
            self._byte_count += len(event.data)
            if self._chunk_count > FREE_CHUNKS + self._byte_count // MIN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("a body in tiny chunks", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            self._chunk_count = self._byte_count = 0
        return event

    def _skip_empty_lines(self) -> bool:
        """Whether the data may begin a request line, and is not the first half of an empty line."""
        data = self.trailing_data[0]
        if data[:1] not in (b"\r", b"\n"):
            return True
        match = _EMPTY_LINES.match(data)
        if match and match.end():
            self._receive_buffer.maybe_extract_at_most(match.end())
        return data[match.end() if match else 0 :] != b"\r"
