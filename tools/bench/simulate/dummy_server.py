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

from model.interface import CompletionRequest, TextChunk
from tools.bench import local_server

PORT = 8973  # Ray's proxy does not say which it took
TOKEN_INTERVAL_S = 0.4  # of a word of four characters at ten a second


class DummyBackend:
    """As a batch, at the pace of a Teletype."""

    name, context, device = "parrot", 512, "none"

    def count_tokens(self, text: str) -> int:
        return len(text) // 4

    async def wait_until_loaded(self) -> None:
        pass

    def counters(self) -> dict[str, int]:
        return {}

    async def prefill(self, request: CompletionRequest) -> int:
        return 0

    async def close(self) -> None:
        pass

    async def check_alive(self) -> None:
        pass

    async def stream(self, request: CompletionRequest, key_name: str = "") -> AsyncGenerator[TextChunk, None]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(request.sampling.max_tokens):
            yield TextChunk(" and", (290,), due, "length" if number == request.sampling.max_tokens - 1 else None)
            due += TOKEN_INTERVAL_S
            await asyncio.sleep(due - loop.time())


def create_app() -> Any:
    from model.server import app
    from model.server.limits import RequestLimits

    return app.create_app(
        DummyBackend(), name="parrot", limits=RequestLimits(open_answers=local_server.MAX_CONNECTIONS)
    )


def serve_until_input_ends(kind: str, cert: str = "") -> None:
    """Until its input ends."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    if kind == "ray":
        from model.server import ray_cluster

        with ray_cluster.run_cluster(create_app, ray_cluster.ClusterSize(1, 1, 10_000), host="127.0.0.1", port=PORT):
            _print_port(PORT)
            time.sleep(1e6)
    asyncio.run(_serve_front(cert))


def _print_port(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


async def _serve_front(cert: str) -> None:
    context = None
    if cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert)
    await local_server.serve_locally(DummyBackend(), DummyBackend.name, _print_port, context)


if __name__ == "__main__":
    from tools.bench.simulate import dummy_server  # by the name under which a replica of Ray's finds it

    dummy_server.serve_until_input_ends(*sys.argv[1:])
