"""JSON over HTTP to one server: its limits of rate, its refusals, and a login page in place of JSON.

It knows no network. No error has a secret: neither a header nor a body of a request is in one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from daemon.bridges.mentions.network import NetworkTrouble
from daemon.errors import ConfigError
from model.client.http_client import ClientConfig, HttpClient
from model.errors import ModelError
from model.printable import quote_briefly
from model.server_url import is_private_host, parse_server_url

MAX_REPLY_BYTES = 4 << 20
READ_TIMEOUT_S = 30.0
MAX_LIMIT_WAIT_S = 3_600.0  # a server's clock may be wrong
DEFAULT_LIMIT_WAIT_S = 300.0
LOGIN_PAGE_WAIT_S = 60.0
_RESET_HEADERS = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
_REMAINING_HEADERS = ("x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining")


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A reply: `data` is None if the body has no JSON. A status of 5xx or 429 never comes here."""

    status: int
    data: Any

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300 and self.data is not None


class JsonClient:
    """Requests to one server, which `network` names in every message."""

    def __init__(
        self, network: str, url: str, ca_file: Path | None = None, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """Raises ConfigError for a URL to which no secret may go."""
        try:
            address = parse_server_url(url)
        except ModelError:
            raise ConfigError(f'[mentions] {network}: {url!r} is no server: write "https://HOST"') from None
        if not address.is_encrypted and not is_private_host(address.host):
            raise ConfigError(f'[mentions] {network}: the token does not go over plain http: write "https://HOST"')
        self._network, self._host, self._wall_clock = network, address.host, wall_clock
        config = ClientConfig(ca_file=ca_file, read_timeout_s=READ_TIMEOUT_S)
        self._http = HttpClient(address, config)
        self.base_url = address.base_url
        self._blocked_until: dict[str, float] = {}  # by the first parts of a path

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        bucket: str = "",
    ) -> JsonReply:
        """Returns the reply. `bucket`: the requests that share a limit of rate. Raises NetworkTrouble."""
        bucket = bucket or path
        wait_s = self._blocked_until.get(bucket, 0.0) - self._wall_clock()
        if wait_s > 0:
            wait_s = min(wait_s, MAX_LIMIT_WAIT_S)
            raise NetworkTrouble(f"{self._network}: the limit of requests is reached", wait_s, is_certain=True)
        target = f"{path}?{urlencode(query)}" if query else path
        shown = {"Accept": "application/json", **(headers or {})}
        try:
            async with self._http.request(method, target, body, extra_headers=shown) as reply:
                reply.check_is_plain()
                data = await reply.read_body(MAX_REPLY_BYTES + 1)
                status, kind, answered = reply.status, reply.content_type, reply.headers
        except ModelError as error:  # ServerLost is one
            raise NetworkTrouble(f"{self._network}: {error}") from None
        self._note_limit(bucket, answered)
        self._check_status(status, kind, data, answered, bucket)
        try:
            return JsonReply(status, json.loads(data))
        except ValueError:
            if status < 400:
                raise NetworkTrouble(
                    f"{self._network}: {self._host} sends a reply that is cut off or no JSON"
                ) from None
            return JsonReply(status, None)

    async def close(self) -> None:
        await self._http.close()

    def _check_status(self, status: int, kind: str, data: bytes, headers: Mapping[str, str], bucket: str) -> None:
        if status == 429:
            wait_s = find_wait(headers, self._wall_clock())
            wait_s = DEFAULT_LIMIT_WAIT_S if wait_s is None else wait_s
            self._blocked_until[bucket] = self._wall_clock() + wait_s
            raise NetworkTrouble(f"{self._network}: the limit of requests is reached", wait_s, is_certain=True)
        is_page = kind == "text/html" or data.lstrip()[:1] == b"<"
        if 300 <= status < 400 or status == 511 or (is_page and status < 300):
            message = f"{self._host} answers with a web page: does this network want a login in a browser?"
            raise NetworkTrouble(f"{self._network}: {message}", LOGIN_PAGE_WAIT_S)
        if status >= 500 or status in (408, 425):
            raise NetworkTrouble(f"{self._network}: {self._host} has a fault of its own (status {status})")

    def _note_limit(self, bucket: str, headers: Mapping[str, str]) -> None:
        """Makes no request that would be refused: the last one of a limit says when the next is welcome."""
        remaining = next((headers[name] for name in _REMAINING_HEADERS if name in headers), "")
        if remaining.strip() == "0" and (wait_s := find_wait(headers, self._wall_clock())) is not None:
            self._blocked_until[bucket] = self._wall_clock() + wait_s


def find_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Returns the seconds until a server allows requests again, 1 to an hour; None if it does not say."""
    waits = [_parse_time(headers[name], now) for name in _RESET_HEADERS if name in headers]
    after = headers.get("retry-after", "").strip()
    if after.isdecimal():
        waits.append(float(after[:9]))
    elif after:
        waits.append(_parse_time(after, now))
    known = [wait for wait in waits if wait is not None]
    return min(max(1.0, *known), MAX_LIMIT_WAIT_S) if known else None


def _parse_time(text: str, now: float) -> float | None:
    """Returns the seconds until a time, as ISO 8601, as seconds of the epoch, or as HTTP has it."""
    text = text.strip()
    if text.isdecimal():
        return float(text[:12]) - now
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text).timestamp() - now
        except (ValueError, OverflowError, OSError):
            continue
    return None


def describe_refusal(data: Any, *secrets: str) -> str:
    """Returns what a server says about a refusal, briefly and without a secret that it may repeat."""
    if not isinstance(data, dict):
        return "no reason"
    said = next((data[name] for name in ("message", "detail", "error", "title") if isinstance(data.get(name), str)), "")
    for secret in filter(None, secrets):
        said = said.replace(secret, "***")
    return quote_briefly(said) or "no reason"
