"""Foreign model servers as processes, with the embedded model: llama-cpp-python and llama-server.

`make peers` installs them once in the folder PEERS_HOME; without it their tests are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
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
    """Writes the embedded model in the format of llama.cpp."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    folder = store.find_model(store.EMBEDDED)
    graph = onnx.load(folder / store.GRAPH_FILE).graph
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    tokenizer = json.loads((folder / store.TOKENIZER_FILE).read_text())["model"]
    tokens = [*sorted(tokenizer["vocab"], key=tokenizer["vocab"].__getitem__), END_OF_TEXT]
    vocabulary = gguf.GgufVocabulary(tokens, [tuple(pair) for pair in tokenizer["merges"]], len(tokens) - 1)
    gguf.write_gguf(weights, store.read_manifest(folder).shape, path, vocabulary)


def llama_cpp_python(model: Path, port: int) -> list[str]:
    options = f"-m llama_cpp.server --host 127.0.0.1 --port {port} --model_alias theirs --n_ctx 512 --n_threads 2"
    return [str(PYTHON), *options.split(), "--model", str(model)]


def llama_server(model: Path, port: int) -> list[str]:
    options = f"--host 127.0.0.1 --port {port} --alias theirs --ctx-size 512 --threads 2 --parallel 1 --metrics --slots"
    return [str(LLAMA_SERVER), *options.split(), "--model", str(model)]


COMMANDS = {"llama-cpp-python": (PYTHON, llama_cpp_python), "llama-server": (LLAMA_SERVER, llama_server)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class PeerServer:
    """A foreign server as a process; each start uses the same port."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, "the server did not start in time"
            time.sleep(0.1)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def fetch(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as reply:
            return bytes(reply.read()).decode()

    def metric(self, name: str) -> float:
        """Returns a metric of llama-server."""
        match = re.search(rf"^llamacpp:{name} (\S+)$", self.fetch("/metrics"), re.MULTILINE)
        assert match, name
        return float(match[1])

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError):
            return bool(json.loads(self.fetch("/v1/models"))["data"])
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
