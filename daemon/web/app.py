"""The HTTP application of the live page: files, the stream of the paper, lines of visitors, kept sessions.

All addresses are relative to the page, and only their last parts count: the page works under any prefix of a proxy.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from daemon.errors import DaemonError
from daemon.web.access import POST_HEADER, Access, make_cookie
from daemon.web.archive_pages import ArchivePages
from daemon.web.paper_hub import PaperHub
from daemon.web.say_page import SayPage, SayReply
from daemon.web.visitor_lines import LineRefused, VisitorLines
from model.server.key_throttle import KeyThrottle
from model.server.refusals import NO_KEY, Refusal
from model.server.say_response import refuse, robots_response

MAX_BODY_BYTES = 8192
MAX_VIEWERS = 500
STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_OPEN_FILES = ("page.css", "favicon.svg")  # of the form that asks for the key
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_log = logging.getLogger("asr33.web")


class LivePage:
    """The ASGI application. `visitors` is None while viewers may only read, and `archive` if no session is shown."""

    def __init__(
        self, hub: PaperHub, table: Mapping[str, Any], access: Access, archive: ArchivePages | None = None
    ) -> None:
        self.visitors: VisitorLines | None = None
        self.say: SayPage | None = None
        self._hub, self._access, self._archive = hub, access, archive
        self._throttle = KeyThrottle()
        self._files = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES}
        self._table = json.dumps(table, separators=(",", ":")).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        *_, folder, name = ("", "", *request.url.path.split("/"))
        if request.method == "POST":
            return await self._post(request, name)
        if request.method not in ("GET", "HEAD"):
            return _error(405, "the page takes GET and POST")
        if folder == "static" and name in _OPEN_FILES:
            return self._file(request, name)
        if name == "robots.txt":
            return robots_response()
        if name == "say":
            return self._answer_caller(request)
        if not self._access.allows(request.headers):
            return self._refuse(request, name)
        match folder, name:
            case _, "":
                return self._file(request, "index.html")
            case "static", _:
                return self._file(request, name)
            case _, "events":
                return self._stream(request)
            case _, "glyphs":
                return Response(self._table, media_type="application/json")
            case (_, "archive" | "sessions") | ("sessions", _):
                return await self._show_archive(request, folder, name)
        return _error(404, "the page has no such address")

    def _refuse(self, request: Request, name: str) -> Response:
        if self._access.accepts_key is None:
            return _error(421, "this page is for this computer only: open it at http://localhost, or give it a key")
        if name in ("", "archive"):
            return self._file(request, "key.html", 401)
        return _error(401, "the page needs its key")

    def _answer_caller(self, request: Request) -> Response:
        """Answers `/say` for a caller who may type: with the key, and not from a page of another site."""
        headers = request.headers
        if not self._access.allows(headers):
            keyless = Refusal(421, "host", "this page is for this computer only: ask at http://localhost")
            return refuse(request.scope, (keyless if self._access.accepts_key is None else NO_KEY).error())
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return refuse(request.scope, Refusal(403, "browser", "not for pages of other sites").error())
        if self.say is None:
            closed = Refusal(403, "closed", "this page is to read only: [web] typing = true lets callers ask")
            return refuse(request.scope, closed.error())
        return SayReply(self.say)

    def _file(self, request: Request, name: str, status: int = 200) -> Response:
        if name not in self._files:
            return _error(404, "the page has no such file")
        tag = f'"{hashlib.sha256(self._files[name]).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if status == 200 and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(self._files[name], status, headers, _TYPES[Path(name).suffix])

    def _stream(self, request: Request) -> Response:
        if self._hub.viewer_count >= MAX_VIEWERS:
            return _error(503, "the page has too many viewers: try again later")
        events = self._hub.stream(request.headers.get("last-event-id", ""))
        # Without X-Accel-Buffering nginx would hold the events back.
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def _show_archive(self, request: Request, folder: str, name: str) -> Response:
        if self._archive is None:
            return _error(404, "the kept sessions are not shown: [web] archive = true shows them")
        try:
            if name == "archive":
                return self._file(request, "archive.html")
            if name == "sessions":
                data = await self._archive.list_sessions(request.query_params.get("before", ""))
            else:
                data = await self._archive.session(name)
        except DaemonError as error:
            return _error(404, str(error))
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(data, headers={"Content-Encoding": "gzip"}, media_type="application/json")
        return Response(gzip.decompress(data), media_type="application/json")

    async def _post(self, request: Request, name: str) -> Response:
        body = await _read_body(request)
        if body is None:
            return _error(413, f"a request has at most {MAX_BODY_BYTES:,} bytes")
        if name == "key":
            return await self._take_key(request, body)
        if not self._access.allows(request.headers):
            return self._refuse(request, name)
        if POST_HEADER not in request.headers:  # a page of another site
            return _error(403, f"a POST needs the header {POST_HEADER}")
        if name not in ("type", "break"):
            return _error(404, "the page has no such address")
        if self.visitors is None:
            return _error(403, "this page is to read only: [web] typing = true lets viewers type")
        try:
            if name == "type":
                fields = json.loads(body)
                line = self.visitors.parse(fields if isinstance(fields, dict) else {})
                number = self.visitors.submit(line)
                return Response(json.dumps({"typed": line.text, "number": number}), 202, media_type="application/json")
            self.visitors.press_break()
        except LineRefused as error:
            return _error(error.status, str(error))
        except (ValueError, RecursionError):
            return _error(400, "the request is not JSON")
        return Response(status_code=204)

    async def _take_key(self, request: Request, body: bytes) -> Response:
        """Answers the form that sends the key: with a cookie, and the page; a wrong key waits."""
        key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        if self._access.accepts_key is None or self._access.accepts_key(key):
            is_https = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
            headers = {"Location": "./", "Set-Cookie": make_cookie(key, is_https=is_https)}
            return Response(status_code=303, headers=headers)
        address = request.client.host if request.client else ""
        if not await self._throttle.hold(address):
            return _error(429, "too many wrong keys: try again later")
        return self._file(request, "key.html", 401)


def _error(status: int, message: str) -> Response:
    return Response(json.dumps({"error": message}) + "\n", status, media_type="application/json")


async def _read_body(request: Request) -> bytes | None:
    """Returns the body, or None if it is too long. Raises ClientDisconnect."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return body
