"""Runs `asr33 serve` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ServeProcess:
    """A running server and its log."""

    def __init__(self, *options: str, port: int | None = 0, **environ: str) -> None:
        address = [] if port is None else ["--port", str(port)]
        command = [sys.executable, "-m", "tools.main", "serve", *address, "--rows", "4", *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, **environ},
            start_new_session=True,
        )
        self.output = ""
        self.port = 0
        self.connections: list[http.client.HTTPConnection] = []

    def wait_for_output(self, pattern: str, seconds: float = 30) -> re.Match[str]:
        assert self.process.stdout
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.output)):
            ready = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, self.output
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.output
            self.output += data.decode()
        return match

    def wait_until_open(self) -> ServeProcess:
        self.port = int(self.wait_for_output(r"http://127\.0\.0\.1:(\d+), model").group(1))
        return self

    def wait_for_exit(self) -> int:
        assert self.process.stdout
        self.output += self.process.stdout.read().decode()
        return self.process.wait(30)

    def kill(self) -> None:
        assert self.process.stdout
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        for connection in self.connections:
            connection.close()

    def resident_bytes(self) -> int:
        """Returns the memory in use."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, prompt: str, key: str = "", **fields: Any) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.connections.append(connection)
        body = json.dumps({"prompt": prompt, "max_tokens": 20, "temperature": 0, **fields})
        connection.request("POST", "/v1/completions", body, {"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse()


@contextmanager
def serve_process(*options: str, **environ: str) -> Iterator[ServeProcess]:
    process = ServeProcess(*options, **environ)
    try:
        yield process
    finally:
        process.kill()
