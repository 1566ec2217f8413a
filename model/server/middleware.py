"""The outermost layer of the application: admits requests, sends refusals, and counts and logs every status.

A line of the access log has the time, the method, the endpoint, the status, the answer's tokens, its milliseconds and
bytes, and the name of the API key; of a refused request also the client's address. It has no text of a client.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.server import refusals
from model.server.key_throttle import KeyThrottle
from model.server.refusals import HttpError, StreamCancelled
from model.server.say_response import refuse
from model.server.streaming import ClientStream

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnects before the response
ENDPOINTS = {
    "/v1/completions": "completions",
    "/v1/chat/completions": "chat",
    "/v1/models": "models",
    "/say": "say",
    "/health": "health",
    "/metrics": "metrics",
    "/robots.txt": "robots",
}
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}  # any other name would be a client's text

log = logging.getLogger("asr33.serve")


class AccessMiddleware:
    """`admit` returns the name of the API key or raises HttpError. `requests` counts by endpoint and status."""

    def __init__(self, app: ASGIApp, admit: Callable[[Scope], str], requests: Counter[tuple[str, int]]) -> None:
        self._app, self._admit, self._request_counts = app, admit, requests
        self._throttle = KeyThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = _AccessRecord(client_address(scope))

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            record.sent_bytes += len(message.get("body", b""))
            await send(message)

        client = ClientStream("")
        scope["path"] = request_path(scope["path"])
        scope.setdefault("state", {})["client"] = client
        try:
            try:
                client.key_name = self._admit(scope)
                await self._app(scope, receive, send_and_note)
            except HttpError as error:
                if error.slows and not await self._throttle.hold(record.address):
                    error = refusals.MANY_WRONG_KEYS.error()
                await refuse(scope, error)(scope, receive, send_and_note)
        except StreamCancelled:
            pass
        except Exception as error:
            if refusals.is_lost_connection(error):
                return
            log.error("asr33: %s", refusals.error_location(error))
            if not record.status:
                await refusals.SERVER_FAILED.error().to_response()(scope, receive, send_and_note)
        finally:
            client.cancel("gone")
            record.status = record.status or CLIENT_CLOSED_REQUEST
            self._log_request(scope, record, client)

    def _log_request(self, scope: Scope, record: _AccessRecord, client: ClientStream) -> None:
        path = scope["path"]
        endpoint = "models" if path.startswith("/v1/models/") else ENDPOINTS.get(path, "other")
        self._request_counts[endpoint, record.status] += 1
        is_probe = endpoint == "health" or (endpoint == "metrics" and record.status < 400)
        log.log(logging.DEBUG if is_probe else logging.INFO, "%s", record.to_line(scope, client))


class _AccessRecord:
    """What the access log says of a request."""

    def __init__(self, address: str) -> None:
        self.address, self.status, self.sent_bytes = address, 0, 0
        self._started_at = time.monotonic()

    def to_line(self, scope: Scope, client: ClientStream) -> str:
        path = scope["path"]
        shown = "/v1/models/" if path.startswith("/v1/models/") else path if path in ENDPOINTS else "(another path)"
        method = scope["method"] if scope["method"] in METHODS else "(another method)"
        milliseconds = (time.monotonic() - self._started_at) * 1000
        key = f", {client.key_name}" if client.key_name else ""
        address = f", from {self.address}" if self.status >= 400 and self.status != CLIENT_CLOSED_REQUEST else ""
        numbers = f"{client.token_count} tokens, {milliseconds:.0f} ms, {self.sent_bytes} bytes"
        return f"{log_time()} {method} {shown} {self.status}, {numbers}{key}{address}"


def log_time() -> str:
    """The local time for a line of the access log, in ISO 8601 with milliseconds and the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def client_address(scope: Scope) -> str:
    """The address of the client's computer; of a Unix socket, which has none, the word "unix"."""
    client = scope.get("client")
    return str(client[0]) if client and client[0] else "unix"


def request_path(target: str) -> str:
    """The path in a request target, which may be a whole URL (RFC 9112 3.2.2)."""
    scheme, colon, host_and_path = target.partition("://")
    return "/" + host_and_path.partition("/")[2] if colon and "/" not in scheme else target


def reject_smuggling(scope: Scope) -> None:
    """Raises HttpError for a body with two lengths: a proxy could use the other length (request smuggling)."""
    headers = Headers(scope=scope)
    if "content-length" in headers and "transfer-encoding" in headers:
        raise refusals.TWO_LENGTHS.error()


def reject_browsers(scope: Scope) -> None:
    """Raises HttpError for a request of a web page. Without keys, any page in a local browser could use the model."""
    headers = Headers(scope=scope)
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        raise refusals.BROWSER.error()


def bearer_key(scope: Scope) -> str:
    """The API key in the Authorization header; empty without a key."""
    kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip(" \t") if kind.lower() == "bearer" else ""
