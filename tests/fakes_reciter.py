"""A server of /v1/completions that needs nothing but a socket: whatever it is asked, it recites."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from model.far import wire

TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs."


@dataclass
class Reciter:
    """Where it listens, and what it was asked."""

    url: str
    text: str
    wait_s: float
    keys: list[str] = field(default_factory=list)
    asked: list[wire.Request] = field(default_factory=list)


@contextmanager
def reciting(text: str = TEXT, wait_s: float = 0.02) -> Iterator[Reciter]:
    """In here it is at its URL, a word each `wait_s`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Asked)
    server.daemon_threads = True
    _Asked.reciter = Reciter(f"http://127.0.0.1:{server.server_port}", text, wait_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield _Asked.reciter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reciter: Reciter

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(json.dumps(wire.catalogue([wire.Card("reciter", "nobody", 512)])))
        else:
            self._send('{"status": "ok"}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = wire.Request.from_json(body)
        self.reciter.keys.append(self.headers.get("Authorization", ""))
        if request.read:
            return self._send("{}")
        self.reciter.asked.append(request)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(ConnectionError):  # BREAK
            self._recite()
        return None

    def _recite(self) -> None:
        for word in self.reciter.text.split():
            self._event(wire.Chunk("cmpl-1", 0, "reciter", text=f" {word}", bare=True))
            time.sleep(self.reciter.wait_s)
        self._event(wire.Chunk("cmpl-1", 0, "reciter", finish="stop", bare=True))
        self._event(wire.Done())

    def _event(self, said: wire.Event) -> None:
        self.wfile.write(wire.event(said))
        self.wfile.flush()

    def _send(self, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: object) -> None:
        pass
