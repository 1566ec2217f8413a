"""The server under test: the app of `asr33 serve` on a free port, with any backend, in a process of its own.

The backends are our own batch engine, and peers to compare it with.

The load test starts the process like a worker and sends one request, a line of JSON. The process replies with its port,
and ends when its input ends. Only the system limits its connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, get_args

from drivers.profile import TypeWheel
from tools.bench.candidates import BACKEND_NAMES
from tools.bench.load.peer_backend import EngineSettings, PeerBackend
from tools.bench.worker import error_reply, open_replies, write_reply

TYPE_WHEELS: tuple[TypeWheel, ...] = get_args(TypeWheel)
ROOT = Path(__file__).resolve().parents[3]
# In a foreign environment asr33's paths come last: Python looks there only for the modules that it lacks.
BOOTSTRAP = "import sys; sys.path += {paths!r}; from tools.bench.load.server_process import main; main()"
MAX_CONNECTIONS = 100_000  # or as many as the system allows

if TYPE_CHECKING:
    from model.server.app import ServedModel

    class Backend(ServedModel, Protocol):
        """A model that the app can serve, with its name and device for the load test."""

        @property
        def name(self) -> str: ...

        @property
        def device(self) -> str: ...


def bootstrap_code() -> str:
    """Returns the Python program of the server process; it runs in any environment."""
    return BOOTSTRAP.format(paths=[str(ROOT), *(path for path in sys.path if path.endswith("-packages"))])


def main() -> None:
    replies = open_replies()
    request = json.loads(sys.stdin.readline())
    exit_at_end_of_input()
    try:
        backend = open_backend(request["engine"], Path(request["folder"]), EngineSettings(**request["settings"]))
        asyncio.run(_serve_backend(backend, replies))
    except Exception as error:  # a foreign library may raise anything
        write_reply(replies, error_reply(error))


async def _serve_backend(backend: Backend, replies: IO[str]) -> None:
    await backend.wait_until_loaded()

    def on_listening(port: int) -> None:
        write_reply(replies, {"port": port, "device": backend.device})

    await serve_locally(backend, backend.name, on_listening, alphabets=TYPE_WHEELS)


async def serve_locally(
    model: ServedModel,
    name: str,
    on_listening: Callable[[int], None],
    tls: ssl.SSLContext | None = None,
    **server_options: Any,
) -> None:
    """Serves on a free port of this computer; `on_listening` gets the port. `server_options`: of CompletionServer."""
    from daemon.systemd import SystemdNotifier
    from model.server.app import CompletionServer
    from model.server.http import sockets
    from model.server.http.connections import ConnectionLimiter, ConnectionLimits
    from model.server.http.lifecycle import serve_until_signal
    from model.server.http.server import HardenedServer
    from model.server.limits import RequestLimits

    server = CompletionServer(model, name=name, limits=RequestLimits(open_answers=MAX_CONNECTIONS), **server_options)
    limits = ConnectionLimits(max_connections=sockets.limit_to_descriptors(MAX_CONNECTIONS))
    listeners = sockets.open_sockets("127.0.0.1", 0)

    class PortNotifier(SystemdNotifier):
        def send_ready(self, status: str = "") -> None:
            on_listening(listeners[0].getsockname()[1])

    hardened = HardenedServer(server.app, ConnectionLimiter(limits), tls)
    await serve_until_signal(server, hardened, listeners, 0.0, "", PortNotifier())


def exit_at_end_of_input() -> None:
    """Ends the process when its input ends, from a thread: so it never outlives its parent."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


def open_backend(name: str, folder: Path, settings: EngineSettings) -> Backend:
    """Opens a backend. Raises ModuleNotFoundError if a peer is not installed, ModelError if the folder is no model."""
    match name:
        case "ours" | "arrival":
            return _open_asr33_backend(name, folder, settings)
        case "llama":
            from tools.bench.peers.llama_runner import LlamaCppEngine

            return PeerBackend(folder, settings, LlamaCppEngine)
        case "ctranslate2":
            from tools.bench.peers.ctranslate2_runner import CTranslate2Engine

            return PeerBackend(folder, settings, CTranslate2Engine)
        case _:
            raise ValueError(f"no engine {name!r}: one of {', '.join(BACKEND_NAMES)}")


def _open_asr33_backend(name: str, folder: Path, settings: EngineSettings) -> Backend:
    from drivers.text.charset import is_printable
    from model.server.engine.engine_thread import BatchModel

    alphabets: dict[str, Callable[[str], bool]] = {w: partial(is_printable, wheel=w) for w in TYPE_WHEELS}
    return BatchModel(
        folder,
        batch_size=settings.batch_size,
        memory=settings.cache_bytes,
        context=settings.context,
        alphabets=alphabets,
        threads=settings.threads,
        device="cpu",
        order="arrival" if name == "arrival" else "paper",
    )
