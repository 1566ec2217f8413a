"""What lies below a connection: a transport that half-closes, and an error as bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from model.server.refusals import HttpError


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


def encode_error(error: HttpError) -> bytes:
    status, body = error.failure.status, json.dumps(error.failure.to_json()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
