"""A server whose engine costs nothing: one word again and again, at the pace of a Teletype. What it uses is its own.

A process of its own, for `measure`: it says its port and ends with its input.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from model.base import Ask, Piece
from tools.benching import hosting

PORT = 8973  # Ray's proxy does not say which it took
TICK_S = 0.4  # of a word of four characters at ten a second


class Parrot:
    """As a batch, at the pace of a Teletype."""

    name, context, device = "parrot", 512, "none"

    def count(self, text: str) -> int:
        return len(text) // 4

    async def ready(self) -> None:
        pass

    def counters(self) -> dict[str, int]:
        return {}

    async def read(self, ask: Ask) -> int:
        return 0

    async def close(self) -> None:
        pass

    async def sound(self) -> None:
        pass

    async def stream(self, ask: Ask, who: str = "") -> AsyncGenerator[Piece, None]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(ask.sampling.max_tokens):
            yield Piece(" and", (290,), due, "length" if number == ask.sampling.max_tokens - 1 else None)
            due += TICK_S
            await asyncio.sleep(due - loop.time())


def app() -> Any:
    from model.serving import server
    from model.serving.door import Limits

    return server.app(Parrot(), name="parrot", limits=Limits(lines=hosting.CONNECTIONS))


def serve(kind: str, cert: str = "") -> None:
    """Until its input ends."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    if kind == "ray":
        from model.serving import cluster

        with cluster.serving(app, cluster.Size(1, 1, 10_000), host="127.0.0.1", port=PORT):
            _say(PORT)
            time.sleep(1e6)
    asyncio.run(_front(cert))


def _say(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


async def _front(cert: str) -> None:
    context = None
    if cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert)
    await hosting.serve(Parrot(), Parrot.name, _say, context)


if __name__ == "__main__":
    from tools.benching.scale import parrot  # by the name under which a replica of Ray's finds it

    parrot.serve(*sys.argv[1:])
