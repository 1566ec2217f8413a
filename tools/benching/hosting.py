"""The app of `asr33 serve` for a measurement: at a free port of this computer, for as long as its process lives.

The limits are the system's: ours are not what is measured.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.serving.server import Batched

CONNECTIONS = 100_000  # or as many as the system gives


async def serve(
    batch: Batched, name: str, told: Callable[[int], None], context: ssl.SSLContext | None = None, **more: Any
) -> None:
    """`told` hears the port when all is open; `more` is as of `model.serving.server.Server`."""
    from daemon.notify import Notify
    from model.serving.door import Limits
    from model.serving.server import Server
    from tools import opening
    from tools.hall import Hall, Patience
    from tools.porch import Porch

    server = Server(batch, name=name, limits=Limits(lines=CONNECTIONS), **more)
    hall = Hall(Patience(connections=opening.descriptors(CONNECTIONS)))
    sockets = opening.sockets("127.0.0.1", 0)

    class Told(Notify):
        def ready(self, status: str = "") -> None:
            told(sockets[0].getsockname()[1])

    await opening.life(server, Porch(server.app, hall, context), sockets, 0.0, "", Told())
