"""Servers that nobody here wrote, with the embedded model in them: llama-cpp-python's, and llama.cpp's own.

`make peers` makes what they need, once, in the folder that PEERS_HOME names; without it there are none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.interface import END_OF_TEXT
from model.store import store
from tools.bench.peers import gguf

PEERS_HOME = Path(os.environ.get("PEERS_HOME", "~/.cache/asr33-peers")).expanduser()
PYTHON, LLAMA_SERVER = PEERS_HOME / "venv/bin/python", PEERS_HOME / "llama/bin/llama-server"
START_TIMEOUT_S = 60.0


def write_embedded_gguf(path: Path) -> None:
    """The embedded model as llama.cpp reads it."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    folder = store.find_model(store.EMBEDDED)
    graph = onnx.load(folder / store.GRAPH_FILE).graph
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    words = json.loads((folder / store.TOKENIZER_FILE).read_text())["model"]
    tokens = [*sorted(words["vocab"], key=words["vocab"].__getitem__), END_OF_TEXT]
    vocabulary = gguf.GgufVocabulary(tokens, [tuple(pair) for pair in words["merges"]], len(tokens) - 1)
    gguf.write_gguf(weights, store.read_manifest(folder).shape, path, vocabulary)


def llama_cpp_python(model: Path, port: int) -> list[str]:
    words = f"-m llama_cpp.server --host 127.0.0.1 --port {port} --model_alias theirs --n_ctx 512 --n_threads 2"
    return [str(PYTHON), *words.split(), "--model", str(model)]


def llama_server(model: Path, port: int) -> list[str]:
    words = f"--host 127.0.0.1 --port {port} --alias theirs --ctx-size 512 --threads 2 --parallel 1 --metrics --slots"
    return [str(LLAMA_SERVER), *words.split(), "--model", str(model)]


COMMANDS = {"llama-cpp-python": (PYTHON, llama_cpp_python), "llama-server": (LLAMA_SERVER, llama_server)}


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@dataclass
class PeerServer:
    """One of them, as a process; the same port each time that it is started."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            assert self.running.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, "it did not start in time"
            time.sleep(0.1)

    def kill(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGKILL)
            self.running.wait()
            self.running = None

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as reply:
            body: bytes = reply.read()
            return body.decode()

    def metric(self, name: str) -> float:
        """A number of llama-server's own."""
        found = re.search(rf"^llamacpp:{name} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert found, name
        return float(found[1])

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError):
            return bool(json.loads(self.get("/v1/models"))["data"])
        return False


@contextlib.contextmanager
def run_peer(name: str, model: Path, folder: Path) -> Iterator[PeerServer]:
    port = free_port()
    peer = PeerServer(name, COMMANDS[name][1](model, port), port, folder / f"{name}.log")
    try:
        peer.start()
        yield peer
    finally:
        peer.kill()
