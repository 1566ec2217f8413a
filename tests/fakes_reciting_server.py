"""A server of /v1/completions that answers every prompt with the same text; it needs only the standard library."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from model.openai_api import response
from model.openai_api.models import ModelInfo, encode_models
from model.openai_api.request import OpenAIRequest

TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs."


@dataclass
class RecitingServer:
    """The server's URL, and the requests that it received."""

    url: str
    text: str
    word_interval_s: float
    authorizations: list[str] = field(default_factory=list)
    requests: list[OpenAIRequest] = field(default_factory=list)


@contextmanager
def start_reciting_server(text: str = TEXT, word_interval_s: float = 0.02) -> Iterator[RecitingServer]:
    """Runs the server; it sends one word per `word_interval_s`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _RequestHandler)
    server.daemon_threads = True
    _RequestHandler.reciter = RecitingServer(f"http://127.0.0.1:{server.server_port}", text, word_interval_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield _RequestHandler.reciter
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reciter: RecitingServer

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send_json(json.dumps(encode_models([ModelInfo("reciter", "fake", 512)])))
        else:
            self._send_json('{"status": "ok"}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = OpenAIRequest.from_json(body)
        self.reciter.authorizations.append(self.headers.get("Authorization", ""))
        if request.prefill_only:
            return self._send_json("{}")
        self.reciter.requests.append(request)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(ConnectionError):  # the client closes at BREAK
            self._recite()
        return None

    def _recite(self) -> None:
        for word in self.reciter.text.split():
            self._send_event(response.CompletionChunk("cmpl-1", 0, "reciter", text=f" {word}", is_plain=True))
            time.sleep(self.reciter.word_interval_s)
        self._send_event(response.CompletionChunk("cmpl-1", 0, "reciter", finish_reason="stop", is_plain=True))
        self._send_event(response.StreamEnd())

    def _send_event(self, event: response.StreamEvent) -> None:
        self.wfile.write(response.encode_event(event))
        self.wfile.flush()

    def _send_json(self, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: object) -> None:
        pass
