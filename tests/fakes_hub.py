"""A hub on loopback, as huggingface_hub speaks to one: a listing with hashes, files with ranges, large ones by way of
another server; and faults on purpose."""

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
PIECE = 1 << 14
LARGE = (".safetensors", ".bin")  # in git's large-file store


@dataclass
class HubRequest:
    """A request, and how many bytes of its file went out."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    sent: int = 0


@dataclass
class FakeHub:
    """Repositories by name, each a table of files; `commits` says which revisions there are besides main."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    licence: str = "mit"
    gated: bool = False
    status: int = 0  # this and no other answer
    garbled: bool = False  # a page of a hotel's network instead of the listing
    cut_at: int = 0  # of a large file: the connection breaks there, once
    wait_at: int = 0  # of a large file: not a byte more until `going_on`
    wrong: str = ""  # the last byte of this file comes wrong
    longer: str = ""  # of this file more comes than was told
    missing: str = ""  # the listing tells of this file, and it is not there
    ranges: bool = True
    requests: list[HubRequest] = field(default_factory=list)
    going_on: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    ports: tuple[int, int] = (0, 0)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def requests_for(self, end: str, method: str = "GET") -> list[HubRequest]:
        """The requests that carried a file of this name."""
        return [asked for asked in self.requests if asked.path.endswith(end) and asked.method == method and asked.sent]


def add_repository(hub: FakeHub, repository: str, folder: Path, *, without: tuple[str, ...] = ()) -> None:
    hub.repositories[repository] = {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in without
    }


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """A hub, and beside it, at another port, the store that its large files lead to."""
    hub = FakeHub()
    servers = [_Server(("127.0.0.1", 0), _answering(hub)) for _ in range(2)]
    hub.ports = (servers[0].server_address[1], servers[1].server_address[1])
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.going_on.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Whoever asked has gone away: that is no fault of ours."""


def _answering(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Answering(BaseHTTPRequestHandler):
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
            asked = HubRequest(self.command, path, self.headers["Authorization"], self.headers["Range"])
            hub.requests.append(asked)
            words = path.strip("/").split("/")
            if hub.status:
                self._refuse(hub.status, "")
            elif words[0] == "store":
                self._file(asked, "/".join(words[1:3]), words[-1])
            elif words[:2] == ["api", "models"]:
                self._listing("/".join(words[2:4]), words[5] if len(words) > 5 else "main")
            else:
                self._resolve(asked, "/".join(words[:2]), words[3], words[-1])

        def _listing(self, repository: str, revision: str) -> None:
            files = hub.repositories.get(repository)
            if hub.garbled:
                self._body(200, b"<html>Welcome to our hotel</html>")
            elif files is None:
                self._refuse(401, "RepoNotFound")
            elif (commit := _commit(hub, revision)) is None:
                self._refuse(404, "RevisionNotFound")
            else:
                told = {"id": repository, "sha": commit, "cardData": {"license": hub.licence}}
                siblings = [_sibling(name, data) for name, data in files.items()]
                self._body(200, json.dumps(told | {"siblings": siblings}).encode())

        def _resolve(self, asked: HubRequest, repository: str, revision: str, name: str) -> None:
            files = hub.repositories.get(repository, {})
            commit = _commit(hub, revision)
            if hub.gated:
                self._refuse(401, "GatedRepo")
            elif name not in files or name == hub.missing or commit is None:
                self._refuse(404, "EntryNotFound")
            elif name.endswith(LARGE):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{hub.ports[1]}/store/{repository}/{name}")
                for key, value in _tells(commit, files[name], linked=True).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._file(asked, repository, name)

        def _file(self, asked: HubRequest, repository: str, name: str) -> None:
            data = hub.repositories[repository][name]
            if name == hub.wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            if name == hub.longer:
                data += bytes(1000)
            begin = int(asked.range.removeprefix("bytes=").split("-")[0]) if asked.range and hub.ranges else 0
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data) - begin))
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            for key, value in _tells(COMMIT, data, linked=False).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self._send(asked, data[begin:], large=name.endswith(LARGE))

        def _send(self, asked: HubRequest, data: bytes, large: bool) -> None:
            try:
                for at in range(0, len(data), PIECE):
                    if large and hub.cut_at and at >= hub.cut_at:
                        hub.cut_at = 0
                        self.close_connection = True
                        return
                    if large and hub.wait_at and at >= hub.wait_at:
                        hub.waiting.set()
                        hub.going_on.wait(60)
                    self.wfile.write(data[at : at + PIECE])
                    asked.sent += len(data[at : at + PIECE])
            except OSError:  # whoever asked is dead
                self.close_connection = True

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _body(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Answering


def _commit(hub: FakeHub, revision: str) -> str | None:
    return revision if revision in hub.commits.values() else hub.commits.get(revision)


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    told = {"rfilename": name, "size": len(data), "blobId": _git(data)}
    large = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return told | ({"lfs": large} if name.endswith(LARGE) else {})


def _tells(commit: str, data: bytes, linked: bool) -> dict[str, str]:
    if linked:
        told = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"'}
    else:
        told = {"ETag": f'"{_git(data)}"'}
    return told | {"X-Repo-Commit": commit}


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
