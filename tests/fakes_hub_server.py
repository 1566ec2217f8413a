"""A hub on loopback for huggingface_hub: a listing with hashes, files with ranges, and faults that a test switches on.

A redirect leads to large files on another server.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"
BLOCK_BYTES = 1 << 14
LARGE = (".safetensors", ".bin")  # in git's large file storage


@dataclass
class HubRequest:
    """A request; `sent` counts the bytes of its file that were sent."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    sent: int = 0


@dataclass
class FakeHub:
    """Repositories by name, each a table of files; `commits` maps revisions to commits."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    licence: str = "mit"
    gated: bool = False
    status: int = 0  # answer every request with this status
    has_login_page: bool = False  # in place of the listing
    cut_at: int = 0  # the connection breaks once at this byte of a large file
    wait_at: int = 0  # a large file pauses at this byte until `resume` is set
    corrupted_file: str = ""  # sent with a wrong last byte
    longer_file: str = ""  # sent with more bytes than listed
    missing_file: str = ""  # listed but absent
    accepts_ranges: bool = True
    requests: list[HubRequest] = field(default_factory=list)
    resume: threading.Event = field(default_factory=threading.Event)
    is_waiting: threading.Event = field(default_factory=threading.Event)
    ports: tuple[int, int] = (0, 0)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def requests_for(self, end: str, method: str = "GET") -> list[HubRequest]:
        """Returns the requests that sent bytes of a file whose path ends so."""
        requests = [request for request in self.requests if request.method == method and request.sent]
        return [request for request in requests if request.path.endswith(end)]


def add_repository(hub: FakeHub, repository: str, folder: Path, *, without: tuple[str, ...] = ()) -> None:
    hub.repositories[repository] = {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in without
    }


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """Runs a hub, and at another port the store for its large files."""
    hub = FakeHub()
    servers = [_Server(("127.0.0.1", 0), _make_handler(hub)) for _ in range(2)]
    hub.ports = (servers[0].server_address[1], servers[1].server_address[1])
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.resume.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Ignores the error: the client closed the connection."""


def _make_handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            request = HubRequest(self.command, path, self.headers["Authorization"], self.headers["Range"])
            hub.requests.append(request)
            parts = path.strip("/").split("/")
            if hub.status:
                self._refuse(hub.status, "")
            elif parts[0] == "store":
                self._send_file(request, "/".join(parts[1:3]), parts[-1])
            elif parts[:2] == ["api", "models"]:
                self._send_listing("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            else:
                self._resolve(request, "/".join(parts[:2]), parts[3], parts[-1])

        def _send_listing(self, repository: str, revision: str) -> None:
            files = hub.repositories.get(repository)
            if hub.has_login_page:
                self._send_body(200, b"<html>Please log in</html>")
            elif files is None:
                self._refuse(401, "RepoNotFound")
            elif (commit := _find_commit(hub, revision)) is None:
                self._refuse(404, "RevisionNotFound")
            else:
                fields = {"id": repository, "sha": commit, "cardData": {"license": hub.licence}}
                siblings = [_listing_entry(name, data) for name, data in files.items()]
                self._send_body(200, json.dumps(fields | {"siblings": siblings}).encode())

        def _resolve(self, request: HubRequest, repository: str, revision: str, name: str) -> None:
            files = hub.repositories.get(repository, {})
            commit = _find_commit(hub, revision)
            if hub.gated:
                self._refuse(401, "GatedRepo")
            elif name not in files or name == hub.missing_file or commit is None:
                self._refuse(404, "EntryNotFound")
            elif name.endswith(LARGE):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{hub.ports[1]}/store/{repository}/{name}")
                for key, value in _file_headers(commit, files[name], linked=True).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send_file(request, repository, name)

        def _send_file(self, request: HubRequest, repository: str, name: str) -> None:
            data = hub.repositories[repository][name]
            if name == hub.corrupted_file:
                data = data[:-1] + bytes([data[-1] ^ 1])
            if name == hub.longer_file:
                data += bytes(1000)
            begin = (
                int(request.range.removeprefix("bytes=").split("-")[0]) if request.range and hub.accepts_ranges else 0
            )
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data) - begin))
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            for key, value in _file_headers(COMMIT, data, linked=False).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self._send_data(request, data[begin:], large=name.endswith(LARGE))

        def _send_data(self, request: HubRequest, data: bytes, large: bool) -> None:
            try:
                for at in range(0, len(data), BLOCK_BYTES):
                    if large and hub.cut_at and at >= hub.cut_at:
                        hub.cut_at = 0
                        self.close_connection = True
                        return
                    if large and hub.wait_at and at >= hub.wait_at:
                        hub.is_waiting.set()
                        hub.resume.wait(60)
                    self.wfile.write(data[at : at + BLOCK_BYTES])
                    request.sent += len(data[at : at + BLOCK_BYTES])
            except OSError:  # the client is gone
                self.close_connection = True

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_body(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _find_commit(hub: FakeHub, revision: str) -> str | None:
    return revision if revision in hub.commits.values() else hub.commits.get(revision)


def _listing_entry(name: str, data: bytes) -> dict[str, Any]:
    fields = {"rfilename": name, "size": len(data), "blobId": _git_blob_hash(data)}
    large = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return fields | ({"lfs": large} if name.endswith(LARGE) else {})


def _file_headers(commit: str, data: bytes, linked: bool) -> dict[str, str]:
    if linked:
        fields = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"'}
    else:
        fields = {"ETag": f'"{_git_blob_hash(data)}"'}
    return fields | {"X-Repo-Commit": commit}


def _git_blob_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
