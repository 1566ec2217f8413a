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

from model.base import Ask, Sampling
from model.errors import AddressWrong, KeyRefused, ServerLost
from model.far.address import Address, near

CONNECT_S = 5.0
BYTES_S = 30.0  # between two reads: our own server sends a comment each ten seconds
FIRST_TOKEN_S = 120.0
KEPT_S = 60.0  # a connection that nobody uses


@dataclass(frozen=True, slots=True)
class Door:
    """How servers are reached. `key`: by which they know us; `about`: an Ask with what is the same in each."""

    key: str = field(default="", repr=False)
    allow_plain: bool = False
    ca_file: Path | None = None
    first_token_s: float = FIRST_TOKEN_S
    bytes_s: float = BYTES_S
    about: Ask = field(default_factory=lambda: Ask("", Sampling()))


class Silent(ServerLost):
    """It took what it was asked, and said nothing."""


class Reply:
    """What a server answers: its head, then its body in whatever parts it comes."""

    def __init__(self, response: httpx2.Response, at: str) -> None:
        self.status = response.status_code
        self.kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.again = response.headers.get("retry-after", "")
        self._response, self._at = response, at

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Raises ServerLost."""
        with _translated(self._at):
            async with contextlib.aclosing(self._response.aiter_bytes()) as parts:
                async for part in parts:
                    yield part

    async def body(self, most: int, limit_s: float) -> bytes:
        """What there is of it in time, up to so many bytes."""
        body = bytearray()
        with contextlib.suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(limit_s), contextlib.aclosing(self.parts()) as parts:
                async for part in parts:
                    body += part
                    if len(body) > most:
                        break
        return bytes(body[:most])


class Transport:
    """The way to one server; its connection is kept for the next request."""

    def __init__(self, address: Address, door: Door) -> None:
        self._address, self._door = address, door
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def asked(self, method: str, path: str, limit_s: float, body: Any = None) -> AsyncIterator[Reply]:
        """The reply, its head in time; closed at the end. Raises ServerLost, Silent, KeyRefused, AddressWrong."""
        headers, client, at = await self._headers(), self._opened(), self._address.base
        try:
            with _translated(at):
                request = client.build_request(method, at + path, json=body, headers=headers)
                async with asyncio.timeout(limit_s):
                    response = await client.send(request, stream=True)
        except TimeoutError:
            raise Silent(f"{at}: no answer within {limit_s:g} seconds") from None
        try:
            yield Reply(response, at)
        finally:
            await response.aclose()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
            self._client = httpx2.AsyncClient(
                verify=self._trust(),
                trust_env=False,
                timeout=httpx2.Timeout(None, connect=CONNECT_S, write=self._door.bytes_s),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEPT_S),
            )
        return self._client

    def _trust(self) -> ssl.SSLContext:
        """The system's authorities, or those that are named; none are loaded where none are asked."""
        if not self._address.secret:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        file = self._door.ca_file and self._door.ca_file.expanduser()
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
        if self._door.about.conversation:  # a cluster sends it where its cache is: see model.serving.cluster
            headers["X-Session-Id"] = self._door.about.conversation
        if self._door.key:
            if not (self._address.secret or self._door.allow_plain or await self._is_near()):
                raise KeyRefused(
                    f"the key does not go to {self._address.host} over plain http, where others can read it: "
                    "write https://, or set allow_plain = true"
                )
            headers["Authorization"] = f"Bearer {self._door.key}"
        return headers

    async def _is_near(self) -> bool:
        """Whether the host is this machine or on a private network, by all the addresses that it has."""
        known = near(self._address.host)
        if known is None:
            with _translated(self._address.base):
                found = await asyncio.get_running_loop().getaddrinfo(self._address.host, None)
            known = bool(found) and all(near(str(entry[4][0])) for entry in found)
        return known


@contextlib.contextmanager
def _translated(at: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise ServerLost(f"{at}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
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
        return f"no answer: no connection within {CONNECT_S:g} seconds: is it on, and on this network?{_past_proxy()}"
    if isinstance(error, httpx2.RemoteProtocolError):
        return f"no answer: {error}: if it speaks TLS, write https://"
    return f"no answer: {str(error) or type(error).__name__}"


def _past_proxy() -> str:
    """For those who have one in their environment."""
    set_ = [
        name
        for name in ("https_proxy", "http_proxy", "all_proxy")
        if os.environ.get(name, os.environ.get(name.upper()))
    ]
    return f" ${set_[0]} is not used here" if set_ else ""
