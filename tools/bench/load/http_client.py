"""The HTTP client of the load generator: a request, and its events as they come, at little cost.

The generator runs hundreds of clients on the machine that it measures. So it speaks HTTP/1.0 over plain streams,
without a connection pool and without chunked encoding. The daemon's own client is `model.client.remote_model`.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

from model.openai_api import response, sse
from model.openai_api.models import ModelInfo, decode_models
from model.openai_api.request import OpenAIRequest

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # asr33 serve sends a keep-alive every ten seconds
MAX_BODY = 1 << 20  # bytes of a response that is not streamed
READ_SIZE = 1 << 16
_COUNTER_LINE = re.compile(r"^asr33_batch_(\w+)_total (\S+)$", re.MULTILINE)


class RequestFailed(Exception):
    """A request without a complete answer; `kind` is the short name that it is counted under."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A server's address; each request has the `key`. Raises ValueError if the URL is not one of HTTP."""

    url: str
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(f"{self.url!r} is no URL of a server: give one such as http://127.0.0.1:8033")

    async def fetch_model_info(self) -> ModelInfo:
        """Returns the first model of the server. Raises RequestFailed."""
        async with self._open_response("GET", "/v1/models") as reader:
            try:
                models = decode_models(json.loads(await _read_body(reader)))
            except ValueError:
                raise RequestFailed("garbled") from None
        if not models:
            raise RequestFailed("no model")
        return models[0]

    async def fetch_counters(self) -> dict[str, float]:
        """Returns the counters of the engine, named as in `model.server.engine.counters`; none of a foreign server."""
        try:
            async with self._open_response("GET", "/metrics") as reader:
                counters = _COUNTER_LINE.findall((await _read_body(reader)).decode())
                return {name.replace("_seconds", "_s"): float(value) for name, value in counters}
        except (RequestFailed, ValueError):
            return {}

    async def prefill(self, request: OpenAIRequest) -> None:
        """Makes the server prefill a prompt. Raises RequestFailed."""
        async with self._open_response("POST", "/v1/completions", request) as reader:
            while await _read_some(reader):
                pass

    async def stream_completion(self, request: OpenAIRequest) -> AsyncGenerator[response.CompletionChunk, None]:
        """Yields the chunks of an answer; closing it hangs up. Raises RequestFailed, also if the stream is cut."""
        async with self._open_response("POST", "/v1/completions", request) as reader:
            events = sse.SseParser()
            while data := await _read_some(reader):
                for text in events.push(data):
                    match response.decode_event(text):
                        case response.StreamEnd():
                            return
                        case response.ErrorInfo() as error:
                            raise RequestFailed(str(error.status))
                        case chunk:
                            yield chunk
        raise RequestFailed("cut")

    @asynccontextmanager
    async def _open_response(
        self, method: str, path: str, request: OpenAIRequest | None = None
    ) -> AsyncIterator[asyncio.StreamReader]:
        """Yields the body of a response with status 200. Raises RequestFailed for another."""
        writer = None
        try:
            reader, writer = await self._connect()
            writer.write(self._encode_request(method, path, request))
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(None, 2)[1].decode("ascii", "replace")
            if status != "200":
                raise RequestFailed(status)
            yield reader
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise RequestFailed(_error_kind(error)) from None
        finally:
            if writer is not None:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        tls = _tls_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(parts.hostname, port, ssl=tls)

    def _encode_request(self, method: str, path: str, request: OpenAIRequest | None) -> bytes:
        parts = urlsplit(self.url)
        target = parts.path.rstrip("/").removesuffix("/v1") + path
        body = b"" if request is None else json.dumps(request.to_json(), separators=(",", ":")).encode()
        head = f"{method} {target} HTTP/1.0\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n"
        if self.key:
            head += f"Authorization: Bearer {self.key}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return (head + "\r\n").encode() + body


@cache
def _tls_context() -> ssl.SSLContext:
    """Returns the same context each time: reading all certificates takes as long as a decode step."""
    return ssl.create_default_context()


async def _read_body(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < MAX_BODY and (data := await _read_some(reader)):
        body += data
    return body


async def _read_some(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(READ_TIMEOUT_S):
        return await reader.read(READ_SIZE)


def _error_kind(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "silence"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError | EOFError):
        return "cut"
    return "garbled" if isinstance(error, ValueError | IndexError) else type(error).__name__
