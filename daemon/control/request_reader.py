"""Reads the requests of one caller as lines, in order, and bounded: a caller that sends more than is served waits.

It does not parse them, except that it notices a StopJob while a job runs.
"""

from __future__ import annotations

import asyncio
from collections import deque

from daemon.control import protocol
from daemon.errors import ProtocolError

READ_AHEAD_BYTES = 1 << 16  # the reader's buffer; the transport stops reading at twice this size
SHORT_LINE_BYTES = 1 << 16  # the limit while the machine may print for others: a longer line takes long to parse
MAX_LINES_AHEAD = 16  # kept unparsed while a job runs; the caller's next lines wait in its socket


class RequestReader:
    """The lines of one caller. `max_bytes` limits a line; a longer one is skipped and refused.

    A line over `protocol.MAX_LINE_BYTES` ends the connection.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """`reader` has the limit READ_AHEAD_BYTES."""
        self.max_bytes = SHORT_LINE_BYTES
        self._reader = reader
        self._ahead: deque[bytes | ProtocolError] = deque()
        self._parts: list[bytes] = []  # of the line that is being received
        self._size = 0
        self._is_cut_off = False

    async def read_line(self) -> bytes:
        """Returns the next line; an empty one if the caller left. Raises ProtocolError if it is too long."""
        line = self._ahead.popleft() if self._ahead else await self._receive_line(self.max_bytes)
        if isinstance(line, ProtocolError):
            raise line
        if len(line) > self.max_bytes:
            raise ProtocolError(_too_long_reason(len(line), self.max_bytes))
        return line

    async def wait_for_stop(self) -> None:
        """Returns when the caller sends StopJob or leaves; both drop the lines before, which are kept otherwise."""
        while len(self._ahead) < MAX_LINES_AHEAD and self._bytes_ahead() < READ_AHEAD_BYTES:
            line = await self._receive_line(protocol.MAX_LINE_BYTES)
            if not line or _is_stop_job(line):
                self._ahead.clear()
                return
            self._ahead.append(line)
        await asyncio.get_running_loop().create_future()  # until this call is cancelled

    def _bytes_ahead(self) -> int:
        return sum(len(line) for line in self._ahead if isinstance(line, bytes))

    async def _receive_line(self, max_bytes: int) -> bytes | ProtocolError:
        """Returns the next line of the socket. A cancelled call keeps the part of a line that it has received."""
        while not self._is_cut_off:
            try:
                part = await self._reader.readuntil()
            except asyncio.LimitOverrunError as overrun:
                part = await self._reader.readexactly(overrun.consumed)
            except asyncio.IncompleteReadError as end:
                part, self._is_cut_off = end.partial, True
                if self._size + len(part) <= max_bytes:
                    return b""  # a part of a line is no request
            self._size += len(part)
            self._parts = [*self._parts, part] if self._size <= max_bytes else []
            self._is_cut_off |= self._size > protocol.MAX_LINE_BYTES
            if part.endswith(b"\n") or self._is_cut_off:
                line, size = b"".join(self._parts), self._size
                self._parts, self._size = [], 0
                return line or ProtocolError(_too_long_reason(size, max_bytes))
        return b""


def _too_long_reason(size: int, limit: int) -> str:
    if limit < size <= protocol.MAX_LINE_BYTES:
        return f"a line of {size:,} bytes, over {limit:,}: take the machine first"
    return f"a line of over {protocol.MAX_LINE_BYTES:,} bytes"


def _is_stop_job(line: bytes | ProtocolError) -> bool:
    if isinstance(line, ProtocolError) or len(line) > SHORT_LINE_BYTES // 64:
        return False
    try:
        return isinstance(protocol.decode_request(line), protocol.StopJob)
    except ProtocolError:
        return False
