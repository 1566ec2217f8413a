"""What lies below a connection: a transport that half-closes, a parser that rejects tiny chunks, an error as bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11

from model.server.refusals import HttpError

FREE_CHUNKS = 32  # chunks of a body that may have any size
MIN_CHUNK_BYTES = 512  # average size of all further chunks


class LingeringTransport:
    """A transport that closes only its sending half while the client still sends: see `HttpConnection._send_final`."""

    def __init__(self, transport: asyncio.Transport, should_linger: Callable[[], bool]) -> None:
        self._transport, self._should_linger = transport, should_linger
        self._has_written_eof = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self._should_linger() and self._transport.can_write_eof() and not self._transport.is_closing():
            self.write_eof()
        else:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Sends data, unless the answer has ended already: uvicorn may still send a 100 Continue then."""
        if not self._has_written_eof:
            self._transport.write(data)

    def write_eof(self) -> None:
        self._has_written_eof = True
        try:
            self._transport.write_eof()
        except OSError:  # the client has gone, which asyncio does not know yet
            self._transport.abort()


class TinyChunkGuard(h11.Connection):
    """h11 that rejects a body in tiny chunks, because a chunk of one byte takes as much time as one of a thousand."""

    _chunk_count = _byte_count = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunk_count += event.chunk_start
            self._byte_count += len(event.data)
            if self._chunk_count > FREE_CHUNKS + self._byte_count // MIN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("a body in tiny chunks", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            self._chunk_count = self._byte_count = 0
        return event


def encode_error(error: HttpError) -> bytes:
    status, body = error.failure.status, json.dumps(error.failure.to_json()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
