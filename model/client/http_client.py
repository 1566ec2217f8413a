"""HTTP to one server: a request, and the bytes that come back. The only door to httpx2.

Holds the key, and where it must not go; holds whose certificates are good. What goes wrong on the way is ServerLost.
Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from model.client.server_url import ServerUrl, is_private_host
from model.errors import AddressWrong, KeyRefused, ServerLost
from model.interface import CompletionRequest, Sampling

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0  # between two reads: our own server sends a comment each ten seconds
FIRST_TOKEN_TIMEOUT_S = 120.0
KEEPALIVE_S = 60.0  # a connection that nobody uses


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How servers are reached. `key`: by which they know us; `about`: an Ask with what is the same in each."""

    api_key: str = field(default="", repr=False)
    allow_plain: bool = False
    ca_file: Path | None = None
    first_token_s: float = FIRST_TOKEN_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    request_template: CompletionRequest = field(default_factory=lambda: CompletionRequest("", Sampling()))


class ResponseTimeout(ServerLost):
    """It took what it was asked, and said nothing."""


class HttpReply:
    """What a server answers: its head, then its body in whatever parts it comes."""

    def __init__(self, response: httpx2.Response, base_url: str) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.retry_after = response.headers.get("retry-after", "")
        self._response, self._base_url = response, base_url

    async def iter_bytes(self) -> AsyncGenerator[bytes, None]:
        """Raises ServerLost."""
        with _raise_server_lost(self._base_url):
            async with contextlib.aclosing(self._response.aiter_bytes()) as parts:
                async for part in parts:
                    yield part

    async def read_body(self, max_bytes: int, limit_s: float) -> bytes:
        """What there is of it in time, up to so many bytes."""
        body = bytearray()
        with contextlib.suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(limit_s), contextlib.aclosing(self.iter_bytes()) as parts:
                async for part in parts:
                    body += part
                    if len(body) > max_bytes:
                        break
        return bytes(body[:max_bytes])


class HttpClient:
    """The way to one server; its connection is kept for the next request."""

    def __init__(self, server_url: ServerUrl, config: ClientConfig) -> None:
        self._server_url, self._config = server_url, config
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def request(self, method: str, path: str, limit_s: float, body: Any = None) -> AsyncIterator[HttpReply]:
        """The reply, its head in time; closed at the end. Raises ServerLost, Silent, KeyRefused, AddressWrong."""
        headers, client, at = await self._headers(), self._get_client(), self._server_url.base_url
        try:
            with _raise_server_lost(at):
                request = client.build_request(method, at + path, json=body, headers=headers)
                async with asyncio.timeout(limit_s):
                    response = await client.send(request, stream=True)
        except TimeoutError:
            raise ResponseTimeout(f"{at}: no answer within {limit_s:g} seconds") from None
        try:
            yield HttpReply(response, at)
        finally:
            await response.aclose()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _get_client(self) -> httpx2.AsyncClient:
        if self._client is None:
            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
            self._client = httpx2.AsyncClient(
                verify=self._ssl_context(),
                trust_env=False,
                timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S, write=self._config.read_timeout_s),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_S),
            )
        return self._client

    def _ssl_context(self) -> ssl.SSLContext:
        """The system's authorities, or those that are named; none are loaded where none are asked."""
        if not self._server_url.is_encrypted:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        file = self._config.ca_file and self._config.ca_file.expanduser()
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            why = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise AddressWrong(f"{file}: {why}: ca_file names a PEM file of certificates") from None

    async def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "asr33",
        }
        if (
            self._config.request_template.conversation
        ):  # a cluster sends it where its cache is: see model.server.ray_cluster
            headers["X-Session-Id"] = self._config.request_template.conversation
        if self._config.api_key:
            if not (self._server_url.is_encrypted or self._config.allow_plain or await self._is_private_host()):
                raise KeyRefused(
                    f"the key does not go to {self._server_url.host} over plain http, where others can read it: "
                    "write https://, or set allow_plain = true"
                )
            headers["Authorization"] = f"Bearer {self._config.api_key}"
        return headers

    async def _is_private_host(self) -> bool:
        """Whether the host is this machine or on a private network, by all the addresses that it has."""
        known = is_private_host(self._server_url.host)
        if known is None:
            with _raise_server_lost(self._server_url.base_url):
                found = await asyncio.get_running_loop().getaddrinfo(self._server_url.host, None)
            known = bool(found) and all(is_private_host(str(entry[4][0])) for entry in found)
        return known


@contextlib.contextmanager
def _raise_server_lost(base_url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise ServerLost(f"{base_url}: {_describe_error(error)}") from None


def _describe_error(error: Exception) -> str:
    """What is wrong, and what mends it, by whatever lies at the bottom of it."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ssl.SSLCertVerificationError):
            return f"its certificate is no good: {at.verify_message}: renew it there, or name who signed it in ca_file"
        if isinstance(at, ssl.SSLError) and at.reason == "WRONG_VERSION_NUMBER":
            return "no answer: it does not speak TLS: write http://, or put a certificate there"
        if isinstance(at, socket.gaierror):
            return f"no answer: nobody knows that name ({at.strerror}): see how it is spelt, or write the address"
        if isinstance(at, ConnectionRefusedError) or (isinstance(at, OSError) and at.errno == errno.ECONNREFUSED):
            return "no answer: nobody listens there: start the server, or see to the port"
        at = at.__cause__ or at.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        return f"no answer: no connection within {CONNECT_TIMEOUT_S:g} seconds: is it on, and on this network?{_proxy_hint()}"
    if isinstance(error, httpx2.RemoteProtocolError):
        return f"no answer: {error}: if it speaks TLS, write https://"
    return f"no answer: {str(error) or type(error).__name__}"


def _proxy_hint() -> str:
    """For those who have one in their environment."""
    set_ = [
        name
        for name in ("https_proxy", "http_proxy", "all_proxy")
        if os.environ.get(name, os.environ.get(name.upper()))
    ]
    return f" ${set_[0]} is not used here" if set_ else ""
