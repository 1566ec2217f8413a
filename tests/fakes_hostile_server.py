"""A model server on a real socket that means harm or is broken: it sends bytes as a script says, without end.

It runs in threads of its own, so that it serves a daemon in another process and never waits for the test. A server on
the test's own loop plays the same scripts where the time of the loop jumps.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Script = Iterator[bytes | float]  # bytes to send, and pauses in seconds
Play = Callable[[], Script]

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
LATENCY_S = 0.001  # from a request to the reply, where no time passes on the network
SLICE_S = 0.05  # of a pause, after which a stopped server ends


def event(text: str, **fields: object) -> bytes:
    """Returns an event with this text; json.dumps writes each half of a character by itself."""
    return b"data: " + json.dumps({"choices": [{"index": 0, "text": text}], **fields}).encode() + b"\n\n"


def end_event() -> bytes:
    return b'data: {"choices": [{"text": "", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def json_reply(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\nConnection: close\r\n\r\n" + data


def models_reply(*names: str, owner: str = "x") -> bytes:
    return json_reply({"data": [{"id": name, "owned_by": owner} for name in names or ("m",)]})


def play(*parts: bytes | float) -> Play:
    """Sends these bytes, with pauses, and closes the connection."""
    return lambda: iter(parts)


def play_forever(*parts: bytes | float, start: bytes = STREAM_HEAD) -> Play:
    """Sends `start`, then the parts again and again."""
    return lambda: itertools.chain([start], itertools.cycle(parts))


def trickle(data: bytes, start: bytes = b"", pause_s: float = 1.0) -> Play:
    """Sends `start` at once, and the data one byte after each pause."""

    def script() -> Script:
        yield start
        for byte in data:
            yield pause_s
            yield bytes([byte])

    return script


def stream_of(*texts: str) -> bytes:
    """Returns a whole stream with an event for each text."""
    return STREAM_HEAD + b"".join(map(event, texts)) + end_event()


def redirect(status: int, location: str) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def gzip_bomb(megabytes: int) -> bytes:
    """Returns a stream whose body is compressed to a thousandth of its size."""
    packer = zlib.compressobj(wbits=31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class HostileServer:
    """`with` runs the server. A script answers each kind of request; the last of `posts` answers all later ones."""

    posts: list[Play]
    models: Play = field(default_factory=lambda: play(models_reply()))
    health: Play | None = field(default_factory=lambda: play(json_reply({"status": "ok"})))  # None: no answer at all
    requests: list[bytes] = field(default_factory=list)
    sent_bytes: int = 0
    frozen: threading.Event = field(default_factory=threading.Event)  # set: like a process that is stopped

    def __enter__(self) -> HostileServer:
        self._stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which close alone does not
        self._accepting.join()
        self._socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def post_count(self) -> int:
        return sum(request.startswith(b"POST /v1/completions") for request in self.requests)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(60.0)
            if (request := _read_request(connection)) and (script := self._script_for(request)) is not None:
                for part in script:
                    self._wait(part if isinstance(part, float) else 0.0)
                    if isinstance(part, bytes):
                        connection.sendall(part)
                        self.sent_bytes += len(part)

    def _wait(self, pause_s: float) -> None:
        """Waits, and as long as the server is frozen. Raises OSError if the server is stopped."""
        end = time.monotonic() + pause_s
        while not self._stopped.is_set() and ((left := end - time.monotonic()) > 0 or self.frozen.is_set()):
            time.sleep(min(SLICE_S, max(left, SLICE_S if self.frozen.is_set() else 0.0)))
        if self._stopped.is_set():
            raise OSError("stopped")

    def _script_for(self, request: bytes) -> Script | None:
        self.requests.append(request)
        if request.startswith(b"POST"):
            return self.posts[min(self.post_count, len(self.posts)) - 1]()
        if b"/health" in request.partition(b"\r\n")[0]:
            self._wait(3600.0 if self.health is None else 0.0)
            return self.health and self.health()
        return self.models()


@dataclass
class HostileServerOnLoop:
    """The same as HostileServer, on the running loop: a pause of a script takes the time of the loop."""

    posts: list[Play]
    models: Play = field(default_factory=lambda: play(models_reply()))
    health: Play | None = field(default_factory=lambda: play(json_reply({"status": "ok"})))  # None: no answer at all
    post_count: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> HostileServerOnLoop:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(LATENCY_S)
            for part in await self._script_for(request):
                await asyncio.sleep(part if isinstance(part, float) else 0.0)
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _script_for(self, request: bytes) -> Script:
        if request.startswith(b"POST"):
            self.post_count += 1
            return self.posts[min(self.post_count, len(self.posts)) - 1]()
        if b"/health" in request.partition(b"\r\n")[0]:
            if self.health is None:
                await asyncio.sleep(3600.0)
                return iter(())
            return self.health()
        return self.models()


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (block := connection.recv(65536)):
            return b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
