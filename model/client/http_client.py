"""HTTP requests to one server. The only user of httpx2 in this package.

Decides where the API key may go and which certificates are valid. Raises ServerLost if a connection fails. Knows
nothing of models.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from model.client.reply_head import ReplyHead, follow_head, trace_connection
from model.errors import ModelError, ServerLost
from model.interface import CompletionRequest, Sampling
from model.printable import quote_briefly
from model.server_url import ServerUrl, is_private_host

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0  # between two reads; an asr33 server sends a comment each ten seconds
FIRST_TOKEN_TIMEOUT_S = 120.0
KEEPALIVE_S = 60.0  # after which an idle connection is closed
CREDENTIAL_NAME = "api-key"  # of LoadCredential=api-key:/etc/asr33/key in the systemd unit
MAX_KEY_BYTES = 4096
MAX_BODY_BYTES = 65536  # of a reply that is not a stream
TLS_ALERT = b"\x15\x03"  # how a TLS server begins its answer to plain text
QUOTED_BYTES = re.compile(r"[:,]? *\(?(?:bytearray\()?b['\"]")
BASE_HEADERS = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity", "User-Agent": "asr33"}


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """How to reach the servers. `request_template` has the fields that are the same in every request."""

    api_key: str = field(default="", repr=False)
    allow_plain: bool = False
    ca_file: Path | None = None
    first_token_s: float = FIRST_TOKEN_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    request_template: CompletionRequest = field(default_factory=lambda: CompletionRequest("", Sampling()))


class ResponseTimeout(ServerLost):
    """The server accepted a request and sent no reply in time."""


def read_api_key(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the key in the file, else in systemd's credential, else "". Raises ModelError."""
    if file is None and (folder := environ.get("CREDENTIALS_DIRECTORY")):
        file = Path(folder) / CREDENTIAL_NAME
        if not file.exists():
            return ""
    if file is None:
        return ""
    try:
        key = file.expanduser().read_bytes()[: MAX_KEY_BYTES + 1].decode("ascii").strip()
    except OSError as error:
        message = f"{file}: {error.strerror}: key_file names a file with the server's key in it"
        raise ModelError(message, "denied") from None
    except UnicodeDecodeError:
        key = ""
    if not key or len(key) > MAX_KEY_BYTES or not key.isprintable() or " " in key:
        raise ModelError(f"{file}: no key in it: it should be one line of letters, digits and signs", "denied")
    return key


class HttpReply:
    """A reply whose head has arrived; its body is still to be read."""

    def __init__(self, response: httpx2.Response, base_url: str, read_timeout_s: float) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.retry_after = response.headers.get("retry-after", "")
        self.headers: Mapping[str, str] = response.headers  # names in any case
        self._encoding = response.headers.get("content-encoding", "").strip().lower()
        self._response, self._base_url, self._read_timeout_s = response, base_url, read_timeout_s

    def check_is_plain(self) -> None:
        """Raises ServerLost for a compressed body: a kilobyte may become a megabyte, and none was asked for."""
        if self._encoding not in ("", "identity"):
            reason = f"it sends a compressed reply ({quote_briefly(self._encoding)}), which was not asked for"
            raise ServerLost(f"{self._base_url}: {reason}: is a proxy in between?")

    async def iter_bytes(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it arrives, not decompressed. Raises ServerLost."""
        with _server_lost_errors(self._base_url):
            async with aclosing(self._response.aiter_raw()) as blocks:
                async for block in blocks:
                    yield block

    async def read_body(self, max_bytes: int = MAX_BODY_BYTES, limit_s: float | None = None) -> bytes:
        """Returns what arrives of the body within the limit or the read timeout, cut to `max_bytes`."""
        body, limit_s = bytearray(), self._read_timeout_s if limit_s is None else limit_s
        with suppress(TimeoutError, ServerLost):
            async with asyncio.timeout(limit_s), aclosing(self.iter_bytes()) as blocks:
                async for block in blocks:
                    body += block
                    await asyncio.sleep(0)  # many blocks may have arrived, and strokes are due meanwhile
                    if len(body) > max_bytes:
                        break
        return bytes(body[:max_bytes])


class HttpClient:
    """Requests to one server; keeps the connection for the next request."""

    def __init__(self, server_url: ServerUrl, config: ClientConfig) -> None:
        self._server_url, self._config = server_url, config
        self._client: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        limit_s: float | None = None,
        head: ReplyHead | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[HttpReply]:
        """Yields the reply when its head is there, within `limit_s` or the read timeout; closes the reply at the end.

        `head` follows the head as it arrives. No redirect is followed: the key goes to no other server.
        Raises ServerLost, ResponseTimeout, and ModelError if the key or the certificates cannot be used.
        """
        headers = await self._headers() | dict(extra_headers or {})
        client, base_url = self._get_client(), self._server_url.base_url
        limit_s, head = self._config.read_timeout_s if limit_s is None else limit_s, head or ReplyHead()
        try:
            with _server_lost_errors(base_url, head):
                hooks = {"trace": trace_connection}
                request = client.build_request(method, base_url + path, json=body, headers=headers, extensions=hooks)
                async with asyncio.timeout(limit_s):
                    with follow_head(head):
                        response = await client.send(request, stream=True, follow_redirects=False)
        except TimeoutError:
            raise ResponseTimeout(f"{base_url}: no answer within {limit_s:g} seconds") from None
        client.cookies.clear()  # a server may set any number
        try:
            yield HttpReply(response, base_url, self._config.read_timeout_s)
        finally:
            await response.aclose()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _get_client(self) -> httpx2.AsyncClient:
        if self._client is None:
            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request as INFO
            self._client = httpx2.AsyncClient(
                verify=self._ssl_context(),
                trust_env=False,
                timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S, write=self._config.read_timeout_s),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_S),
            )
        return self._client

    def _ssl_context(self) -> ssl.SSLContext:
        """Returns a context with the system's authorities, or those of ca_file; without any for plain http."""
        if not self._server_url.is_encrypted:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        file = self._config.ca_file and self._config.ca_file.expanduser()
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise ModelError(f"{file}: {reason}: ca_file names a PEM file of certificates", "argument") from None

    async def _headers(self) -> dict[str, str]:
        headers = dict(BASE_HEADERS)
        if conversation := self._config.request_template.conversation:
            headers["X-Session-Id"] = conversation  # a cluster routes it to its cache: model.server.ray_cluster
        if self._config.api_key:
            if not (self._server_url.is_encrypted or self._config.allow_plain or await self._is_private_host()):
                reason = f"the key does not go to {self._server_url.host} over plain http, where others can read it"
                raise ModelError(f"{reason}: write https://, or set allow_plain = true", "denied")
            headers["Authorization"] = f"Bearer {self._config.api_key}"
        return headers

    async def _is_private_host(self) -> bool:
        """Whether all addresses of the host belong to this machine or to a private network."""
        if (is_private := is_private_host(self._server_url.host)) is not None:
            return is_private
        with _server_lost_errors(self._server_url.base_url):
            addresses = await asyncio.get_running_loop().getaddrinfo(self._server_url.host, None)
        return bool(addresses) and all(is_private_host(str(entry[4][0])) for entry in addresses)


@contextmanager
def _server_lost_errors(base_url: str, head: ReplyHead | None = None) -> Iterator[None]:
    """Turns the errors of httpx2 and of the operating system into ServerLost; `head`: of a reply that is awaited."""
    try:
        yield
    except TimeoutError:
        raise
    except httpx2.RemoteProtocolError as error:
        raise ServerLost(f"{base_url}: no answer: {_describe_protocol_error(error, base_url, head)}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise ServerLost(f"{base_url}: {_describe_error(error)}") from None


def _describe_error(error: Exception) -> str:
    """Returns the cause and the cure, from the outermost error of the chain that has a known cure."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not valid: {cause.verify_message}"
            return f"{reason}: renew it on the server, or name the file of its authority in ca_file"
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return "no answer: the server has no TLS: write http://, or give it a certificate"
        if isinstance(cause, socket.gaierror):
            return f"no answer: unknown host name ({cause.strerror}): check its spelling, or write the address"
        if isinstance(cause, ConnectionRefusedError) or getattr(cause, "errno", None) == errno.ECONNREFUSED:
            return "no answer: no program listens there: start the server, or check the port"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        reason = f"no connection within {CONNECT_TIMEOUT_S:g} seconds"
        return f"no answer: {reason}: is the server on, and on this network?{_proxy_hint()}"
    if isinstance(error, httpx2.NetworkError) and not str(error):
        return "no answer: the connection broke"
    return f"no answer: {quote_briefly(str(error)) or type(error).__name__}"


def _describe_protocol_error(error: httpx2.RemoteProtocolError, base_url: str, head: ReplyHead | None) -> str:
    """Returns the cause and the cure; never the bytes that the server sent, which httpx2 quotes."""
    if head is not None and not head.start:
        cure = "if the server uses TLS, write https://" if base_url.startswith("http://") else "is it a model server?"
        return f"it closed the connection without a reply: {cure}"
    if head is not None and not b"HTTP/".startswith(head.start):
        if head.start.startswith(TLS_ALERT) and base_url.startswith("http://"):
            return "the server uses TLS: write https://"
        return "what listens there does not speak HTTP: check the port"
    if "closed connection" in str(error) or "disconnected" in str(error):
        return "the connection ended in the middle of the reply"
    reason = quote_briefly(QUOTED_BYTES.split(str(error))[0])
    return f"its reply breaks the rules of HTTP ({reason}): is it a model server?"


def _proxy_hint() -> str:
    """Returns a remark that the proxy of the environment is not used, "" without such a proxy."""
    for name in ("https_proxy", "http_proxy", "all_proxy"):
        if os.environ.get(name, os.environ.get(name.upper())):
            return f" asr33 does not use ${name}"
    return ""
