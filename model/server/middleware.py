"""The outermost layer of the application: admits requests, sends refusals, and counts and logs every status."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.server import refusals
from model.server.refusals import HttpError, StreamCancelled
from model.server.streaming import ClientStream

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnects before the response
ENDPOINTS = {"/v1/completions": "completions", "/v1/models": "models", "/health": "health", "/metrics": "metrics"}

log = logging.getLogger("asr33.serve")


class AccessMiddleware:
    """`admit` returns the name of the API key or raises HttpError. `requests` counts by endpoint and status."""

    def __init__(self, app: ASGIApp, admit: Callable[[Scope], str], requests: Counter[tuple[str, int]]) -> None:
        self._app, self._admit, self._request_counts = app, admit, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at, status = time.monotonic(), 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        client = ClientStream("")
        scope["path"] = request_path(scope["path"])
        scope.setdefault("state", {})["client"] = client
        try:
            client.key_name = self._admit(scope)
            await self._app(scope, receive, send_and_note_status)
        except HttpError as error:
            await error.to_response()(scope, receive, send_and_note_status)
        except StreamCancelled:
            pass
        except Exception as error:
            log.error("asr33: %s", refusals.error_location(error))
            if not status:
                await refusals.SERVER_FAILED.error().to_response()(scope, receive, send_and_note_status)
        finally:
            client.cancel("gone")
            self._log_request(scope["path"], status or CLIENT_CLOSED_REQUEST, client, time.monotonic() - started_at)

    def _log_request(self, path: str, status: int, client: ClientStream, seconds: float) -> None:
        """Counts and logs the endpoint, the status, numbers, and the name of the API key; no text and no address."""
        endpoint = "models" if path.startswith("/v1/models/") else ENDPOINTS.get(path, "other")
        self._request_counts[endpoint, status] += 1
        level = logging.DEBUG if endpoint in ("health", "metrics") else logging.INFO
        key = f", {client.key_name}" if client.key_name else ""
        log.log(level, "%s %d, %d tokens, %.2f s%s", endpoint, status, client.token_count, seconds, key)


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
    if "origin" in Headers(scope=scope):
        raise refusals.BROWSER.error()


def bearer_key(scope: Scope) -> str:
    """The API key in the Authorization header; empty without a key."""
    kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip(" \t") if kind.lower() == "bearer" else ""
