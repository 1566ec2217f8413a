"""The app of `asr33 serve` for a measurement: at a free port of this computer, for as long as its process lives.

The limits are the system's: ours are not what is measured.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.server.app import ServedModel

MAX_CONNECTIONS = 100_000  # or as many as the system gives


async def serve_locally(
    backend: ServedModel,
    name: str,
    on_listening: Callable[[int], None],
    tls: ssl.SSLContext | None = None,
    **server_options: Any,
) -> None:
    """`told` hears the port when all is open; `more` is as of `model.server.app.Server`."""
    from daemon.systemd import SystemdNotifier
    from model.server.app import CompletionServer
    from model.server.http import lifecycle
    from model.server.http.connections import ConnectionLimiter, ConnectionLimits
    from model.server.http.server import HardenedServer
    from model.server.limits import RequestLimits

    server = CompletionServer(backend, name=name, limits=RequestLimits(open_answers=MAX_CONNECTIONS), **server_options)
    hall = ConnectionLimiter(ConnectionLimits(max_connections=lifecycle.limit_to_descriptors(MAX_CONNECTIONS)))
    sockets = lifecycle.open_sockets("127.0.0.1", 0)

    class Told(SystemdNotifier):
        def ready(self, status: str = "") -> None:
            on_listening(sockets[0].getsockname()[1])

    await lifecycle.serve_until_signal(server, HardenedServer(server.app, hall, tls), sockets, 0.0, "", Told())
