"""Before all else: who is it; and after all else: what became of it, in a number and a line of the log.

Knows no model and no text: the log has a path's kind, a status, numbers, and the name of a key.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.server import limits
from model.server.keepalive import ClientStream
from model.server.limits import HttpError

CLIENT_CLOSED_REQUEST = 499  # nginx's number for a client who has left before there was a status
ENDPOINTS = {"/v1/completions": "completions", "/v1/models": "models", "/health": "health", "/metrics": "metrics"}

log = logging.getLogger("asr33.serve")


class AccessMiddleware:
    """Lets in whom `admit` has a name for; what is refused, and what fails, is answered here."""

    def __init__(self, app: ASGIApp, admit: Callable[[Scope], str], requests: Counter[tuple[str, int]]) -> None:
        self._app, self._admit, self._request_counts = app, admit, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        line = ClientStream("")
        scope["path"] = limits.request_path(scope["path"])
        scope.setdefault("state", {})["line"] = line
        try:
            line.key_name = self._admit(scope)
            await self._app(scope, receive, watched)
        except HttpError as no:
            await no.to_response()(scope, receive, watched)
        except limits.Gone:
            pass
        except Exception as error:
            log.error("asr33: %s", error_location(error))
            if not status:
                failed = limits.http_error(500, "the server failed; its log says where", "server_failed")
                await failed.to_response()(scope, receive, watched)
        finally:
            line.cancel("gone")
            self._log_request(scope["path"], status or CLIENT_CLOSED_REQUEST, line, time.monotonic() - begun)

    def _log_request(self, path: str, status: int, client: ClientStream, seconds: float) -> None:
        what = "models" if path.startswith("/v1/models/") else ENDPOINTS.get(path, "other")
        self._request_counts[what, status] += 1
        level = logging.DEBUG if what in ("health", "metrics") else logging.INFO
        log.log(
            level,
            "%s %d, %d tokens, %.2f s%s",
            what,
            status,
            client.token_count,
            seconds,
            client.key_name and f", {client.key_name}",
        )


def error_location(error: BaseException) -> str:
    """Kind and place of what nobody foresaw; its words might be a reader's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
