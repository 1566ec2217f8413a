"""Clients that harm a server if it lets them: mutated requests, and every way to leave a connection. All have seeds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

from fakes_completion_server import get, post

AT_ONCE = 40  # open connections of a crowd
REPLY_TIMEOUT_S = 20.0
MAX_READ_BYTES = 2000  # of a stream, before the client leaves

NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    0.5,
    -0.0,
    1e-300,
    1e308,
    10**30,
    -(10**30),
    2**31,
    2**63,
    float("nan"),
    float("inf"),
]
TEXTS = [
    "",
    "The sea",
    "\u0000",
    "\x1b[31m",
    "é" * 50,
    "\ud800",
    "a" * 3000,
    "<|endoftext|>",
    "🙂",
    "\u202e",
    "\r\n\r\n",
]
FIELDS = [
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p"),
    *("seed", "stop", "stream", "stream_options", "n", "best_of", "echo", "suffix", "logprobs", "top_logprobs"),
    *("logit_bias", "user", "presence_penalty", "frequency_penalty", "repetition_penalty", "asr33", "tools"),
    *("response_format", "min_tokens", "guided_json", "stop_token_ids", "ignore_eos", "unheard_of"),
]
EXTENSION_FIELDS = ["said", "alphabet", "pace", "conversation", "read", "length", "no_repeat_ngram", "logprobs", "x"]
PATHS = ["/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/models/tiny", "/health", "/metrics", "/", "*"]
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PRI", "\x1b[2J"]
HEADERS = [
    *("Host: y", "Host:", "Connection: close", "Connection: keep-alive, upgrade", "Upgrade: websocket", "Upgrade: h2c"),
    *("Expect: 100-continue", "Expect: 200-ok", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked"),
    *("Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: 0x10"),
    *("Content-Type: text/plain", "Content-Encoding: gzip", "Authorization: Bearer x", "Authorization: Basic eA=="),
    *("Origin: http://evil.example", "Cookie: a=b", "X-Forwarded-For: 1.2.3.4", "Range: bytes=0-0", "TE: trailers"),
    *("X-Long: " + "x" * 7000, "X: \x1b]0;title\x07", "X\u00e9: y", " folded: z", "Accept: */*", "Accept-Encoding: br"),
]


def mutate_request(rng: random.Random) -> bytes:
    """The bytes of a request that is valid, slightly wrong in one or two places, or nonsense."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(300))
    data = b"".join(_make_request(rng) for _ in range(rng.choice([1, 1, 1, 1, 1, 2, 5])))
    for _ in range(rng.choice([0, 0, 0, 0, 0, 0, 1, 3, 10])):
        data = _mutate_bytes(rng, data)
    return data


def _make_request(rng: random.Random) -> bytes:
    wrong = set(rng.choices(["line", "headers", "framing", "fields", "json", ""], [1, 2, 1, 5, 1, 3], k=2))
    is_chat = rng.random() < 0.3
    body = _make_body(rng, wrong, is_chat)
    method, version, end = "POST", "HTTP/1.1", "\r\n"
    path = "/v1/chat/completions" if is_chat else "/v1/completions"
    if "line" in wrong:
        method, path = rng.choice(["GET", *METHODS]), rng.choice(PATHS)
        path += rng.choice(["", "", "?a=b", "#x", "/..", "%00", "%2e%2e/", "//", "\u00e9", " "])
        version = rng.choice(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.1 x", ""])
        end = rng.choice(["\r\n"] * 6 + ["\n", "\r"])
    headers = [] if "framing" in wrong and rng.random() < 0.2 else ["Host: x"]
    headers += rng.sample(HEADERS, rng.choice([1, 1, 2, 4])) if "headers" in wrong else []
    if rng.random() < 0.2:
        headers.append("Transfer-Encoding: chunked")
        body = _chunk(rng, body, is_wrong="framing" in wrong)
    else:
        headers.append(f"Content-Length: {len(body) + (rng.choice([0, 1, -1, 1000]) if 'framing' in wrong else 0)}")
    rng.shuffle(headers)
    return end.join([f"{method} {path} {version}", *headers, "", ""]).encode("utf-8", "replace") + body


def _make_body(rng: random.Random, wrong: set[str], is_chat: bool) -> bytes:
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]} if is_chat else {"prompt": "The sea"}
    fields |= {"max_tokens": rng.choice([1, 2, 8]), "stream": rng.random() < 0.5}
    if rng.random() < 0.4:
        fields["asr33"] = {
            "pace": rng.choice([0, 5, 10, 300.0]),
            "conversation": rng.choice("ab"),
            "read": rng.random() < 0.3,
        }
    if "fields" in wrong:
        for _ in range(rng.choice([1, 1, 2, 4])):
            fields[rng.choice(FIELDS)] = _make_value(rng, 3)
        if rng.random() < 0.4:
            fields["asr33"] = {name: _make_value(rng, 1) for name in rng.sample(EXTENSION_FIELDS, rng.randrange(4))}
    text = json.dumps(fields, ensure_ascii=rng.random() < 0.7)
    if "json" in wrong:
        text = rng.choice(["[" * 60_000, '{"a":' * 9_000, '{"prompt": "' + "x" * 70_000, "1" * 9_000, "", "null", "{}"])
    return text.encode("utf-8", "surrogatepass")


def _make_value(rng: random.Random, depth: int) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(TEXTS),
    ]
    if depth:
        kinds.append(lambda: [_make_value(rng, depth - 1) for _ in range(rng.randrange(4))])
        kinds.append(lambda: {rng.choice(TEXTS): _make_value(rng, depth - 1) for _ in range(rng.randrange(3))})
    return rng.choice(kinds)()


def _chunk(rng: random.Random, body: bytes, is_wrong: bool) -> bytes:
    parts, last = [], b"0\r\n\r\n"
    if is_wrong:
        last = rng.choice([last, b"0\r\nTrailer: x\r\n\r\n", b"", b"-1\r\n\r\n", b"ffffffffff\r\n"])
    while body:
        size = rng.choice([1, 7, 100, 5000])
        part, body = body[:size], body[size:]
        extension = rng.choice([b""] * 8 + [b";a=b", b" ", b";" + b"x" * 300])
        parts.append(b"%x%s\r\n%s\r\n" % (len(part) + (is_wrong and rng.random() < 0.1), extension, part))
    return b"".join(parts) + last


def _mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    match rng.randrange(5):
        case 0:
            return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
        case 1:
            return data[:at] + data[min(end, at + 20) :]
        case 2:
            return data[:end] + data[at:end] + data[end:]
        case 3:
            return data[:at]
        case _:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


class Crowd:
    """Sends requests from many clients to one port. `statuses` counts the first status of each connection."""

    def __init__(self, port: int, seed: int, tls: ssl.SSLContext | None = None) -> None:
        self.statuses = Counter[int]()
        self._port, self._seed, self._tls = port, seed, tls

    def run(self, count: int, behave: Callable[[random.Random], bytes]) -> Counter[int]:
        """Runs `count` clients in an event loop of their own. Each sends what `behave` returns."""
        asyncio.run(self._run(count, behave))
        return self.statuses

    async def _run(self, count: int, behave: Callable[[random.Random], bytes]) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def visit(number: int) -> None:
            async with places:
                rng = random.Random(self._seed * 1_000_003 + number)
                try:
                    async with asyncio.timeout(REPLY_TIMEOUT_S):
                        await self._visit(rng, behave(rng))
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    self.statuses[0] += 1  # the server closed the connection, or waits for more

        await asyncio.gather(*(visit(number) for number in range(count)))
        await asyncio.sleep(0.1)  # until the last transports are closed

    async def _visit(self, rng: random.Random, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        try:
            at = rng.randrange(len(data) + 1) if rng.random() < 0.2 else len(data)
            writer.write(data[:at])
            if data[at:]:
                await asyncio.sleep(rng.random() * 0.01)
                writer.write(data[at:])
            if rng.random() < 0.8:
                head = await asyncio.wait_for(reader.read(MAX_READ_BYTES), 0.5)
                status = re.match(rb"HTTP/1\.1 (\d+) ", head)
                self.statuses[int(status[1]) if status else 0] += 1
                if rng.random() < 0.5:
                    await asyncio.wait_for(reader.read(MAX_READ_BYTES), 0.1)
        except TimeoutError:
            self.statuses[0] += 1
        finally:
            await leave(rng, writer)


async def leave(rng: random.Random, writer: asyncio.StreamWriter) -> None:
    """Ends a connection in one of the ways that clients have: close, reset, half-close, power off in the middle."""
    transport = writer.transport
    with contextlib.suppress(OSError, TimeoutError):  # the server was first
        match rng.randrange(4):
            case 0:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # for a reset
            case 1 if transport.can_write_eof() and not transport.is_closing():
                transport.write_eof()
                await asyncio.sleep(rng.random() * 0.05)
            case 2:
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), 1)
    transport.abort()


STREAM = post({"prompt": "The sea", "max_tokens": 300, "stream": True})
WHOLE = post({"prompt": "The sea", "max_tokens": 30})
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"


def request_to_leave(rng: random.Random) -> bytes:
    """A request whose client goes in the middle: of the header, the body, the answer, the wait, the next request."""
    return rng.choice(
        [
            STREAM,
            STREAM[: rng.randrange(1, len(STREAM))],
            STREAM * 3,
            WHOLE,
            WHOLE + get("/health") * rng.randrange(40),
            post({"prompt": "The sea" * 30, "asr33": {"read": True, "conversation": "x"}}),
            get("/health") + b"GET /heal",
            HEAD + b"Content-Length: 999999\r\n\r\n" + b"x" * rng.randrange(100_000),
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * rng.randrange(200),
            HEAD + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",
            b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" * rng.randrange(1, 50),
            b"nonsense\r\n\r\n" + b"x" * rng.randrange(50_000),
            b"",
        ]
    )


# The only lines that a server may write while clients do their worst.
ACCESS_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d (?:[A-Z]+|\(another method\)) (?:/[a-z0-9/_]*|\(another path\)) \d{3}, "
    r"\d+ tokens, \d+ ms, \d+ bytes(?:, from 127\.0\.0\.1)?"
)
REFUSAL_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d \(no request\) \d{3}, from 127\.0\.0\.1")
SERVER_LINE = re.compile(
    r"asr33: (https?://127\.0\.0\.1:\d+, model |loading |going down; |\d+ (lines are missing|answers are cancelled))"
)


def unexpected_lines(log: str) -> list[str]:
    """The lines of a server's log that are neither of the access log nor of a normal life: tracebacks and errors."""
    known = (ACCESS_LINE.fullmatch, REFUSAL_LINE.fullmatch, SERVER_LINE.match)
    return [line for line in log.splitlines() if not any(match(line) for match in known)]
