"""A server whose engine costs nothing: it repeats a word at the speed of a Teletype. So all that it uses is overhead.

`measure_overheads` starts it as a process of its own. It prints its port, and ends when its input ends.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

from model.interface import CompletionRequest, TextChunk
from tools.bench.load import server_process

PORT = 8973  # fixed: Ray's proxy does not tell which port it took
TOKEN_INTERVAL_S = 0.4  # a word of four characters, at ten per second


class DummyBackend:
    """Has the methods of a batch model. Each answer repeats a word at the speed of a Teletype."""

    name, context, device = "parrot", 512, "none"

    def count_tokens(self, text: str) -> int:
        return len(text) // 4

    def token_bytes(self, token: int) -> bytes:
        return b"word"

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

    limits = RequestLimits(open_answers=server_process.MAX_CONNECTIONS)
    return app.create_app(DummyBackend(), name="parrot", limits=limits)


def serve_until_input_ends(kind: str, cert: str = "") -> None:
    """Serves with our own front, or with Ray's if `kind` is "ray"."""
    server_process.exit_at_end_of_input()
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
    tls = None
    if cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(cert)
    await server_process.serve_locally(DummyBackend(), DummyBackend.name, _print_port, tls)


if __name__ == "__main__":
    from tools.bench.simulate import dummy_server  # the name under which a Ray replica imports it

    dummy_server.serve_until_input_ends(*sys.argv[1:])
