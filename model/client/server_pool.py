"""Several servers in order of preference: selects the next one to ask, probes those that are down. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Protocol

from model.client.liveness import SILENCE_LIMIT_S, ServerSilent, WatchedServer, limit_silence
from model.client.partial_answer import PartialAnswer
from model.client.server_health import ServerHealth
from model.errors import ModelError, ServerLost
from model.interface import Model, Sampling, TextChunk

START_LIMIT_S = 10.0  # that the start of the daemon waits for the only server

TextChunks = AsyncGenerator[TextChunk, None]

_log = logging.getLogger("asr33")


class RemoteBackend(Model, WatchedServer, Protocol):
    """A model on a server: it can continue an answer that another server began."""

    @property
    def vocabulary(self) -> str:
        """The name of the vocabulary: servers with equal names have the same tokens. Empty without tokens."""
        ...

    @property
    def known_speakers(self) -> tuple[tuple[str, ...], str]:
        """The speakers of its model, and the one who answers, or ""."""
        ...

    @property
    def read_ahead_chars(self) -> int:
        """The number of characters to read before they are needed."""
        ...

    def resume(self, prompt: str, sampling: Sampling, partial: PartialAnswer) -> TextChunks: ...


class ServerPool:
    def __init__(self, servers: Sequence[RemoteBackend], rng: random.Random, max_tries: int | None) -> None:
        """`max_tries`: attempts at each server before an answer fails; None: no limit."""
        self._servers = [(server, ServerHealth()) for server in servers]
        self._rng, self._max_tries = rng, max_tries
        self._changed = asyncio.Event()
        self._probes: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def preferred(self) -> RemoteBackend:
        """The server that is likeliest to get the next request."""
        return (self._first_healthy() or self._servers[0])[0]

    def count_healthy(self) -> int:
        return sum(not health.is_down and health.refusal is None for _, health in self._servers)

    @property
    def silent_since(self) -> float | None:
        """When the last server went down; None if a server is up."""
        times = [health.failing_since for _, health in self._servers if health.is_down]
        down_times = [time for time in times if time is not None]
        return max(down_times) if down_times and len(down_times) == len(self._servers) else None

    def select_server(self) -> tuple[RemoteBackend, ServerHealth] | None:
        """Returns the first healthy server, None while its retry is not due.

        A server that just broke off stays the first, as its cache has the text.
        """
        first = self._first_healthy()
        return first if first and first[1].retry_at <= _now() else None

    def _first_healthy(self) -> tuple[RemoteBackend, ServerHealth] | None:
        return next((pair for pair in self._servers if not pair[1].is_down and pair[1].refusal is None), None)

    def clear_refusals(self) -> None:
        """Call for a new prompt: a server that refused the last prompt may accept this one."""
        for _, health in self._servers:
            health.refusal = None

    async def check_all(self, has_alternative: bool) -> None:
        """Asks each server for its models; starts background probes of those that do not answer."""
        within_s = SILENCE_LIMIT_S if has_alternative else START_LIMIT_S
        await asyncio.gather(*(self._check_server(server, health, within_s) for server, health in self._servers))
        for server, health in self._servers:
            self._start_probe(server, health)

    async def wait_for_server(self) -> None:
        """Returns when the state changed or a retry is due. Raises ModelError if no server will ever answer."""
        self.raise_if_none_left()
        self._changed.clear()
        first = self._first_healthy()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(first[1].retry_at if first else None):
                await self._changed.wait()

    def raise_if_none_left(self) -> None:
        """Raises the error of a server if all refused, or all failed `max_tries` times."""
        refusals = [health.refusal for _, health in self._servers if health.refusal]
        errors = [health.last_error for _, health in self._servers if health.last_error and not health.refusal]
        if refusals and len(refusals) == len(self._servers):
            raise refusals[0]
        limit = self._max_tries
        if limit and all(health.refusal or health.failures >= limit for _, health in self._servers):
            raise (refusals + errors)[0]

    def record_failure(self, server: RemoteBackend, health: ServerHealth, error: ModelError) -> None:
        """Notes and logs an error; starts a background probe of a server that is down."""
        if not isinstance(error, ServerLost):
            _log.error("%s", error)
            health.is_down, health.refusal = False, error
            return
        if str(health.last_error) != str(error):
            _log.warning("%s", error)
        health.record_failure(error, _now(), self._rng.random())
        if isinstance(error, ServerSilent):  # so the next answer does not wait for this server
            health.is_down = True
            health.failing_since = min(health.failing_since or _now(), _now() - SILENCE_LIMIT_S)
        self._start_probe(server, health)

    async def close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        if self._probes:
            await asyncio.wait(self._probes.values())
        for server, _ in self._servers:
            await server.close()

    async def _check_server(self, server: RemoteBackend, health: ServerHealth, within_s: float | None = None) -> None:
        try:
            async with limit_silence(within_s, f"{server.device}: no answer within {within_s or 0:g} seconds"):
                await server.wait_ready()
        except ModelError as error:
            self.record_failure(server, health, error)
            health.is_down = isinstance(error, ServerLost)
        else:
            if health.is_down:
                _log.info("%s: the server answers", server.device)
            health.is_down = False
        self._changed.set()

    def _start_probe(self, server: RemoteBackend, health: ServerHealth) -> None:
        probe = self._probes.get(id(health))
        if health.is_down and (probe is None or probe.done()):
            self._probes[id(health)] = asyncio.get_running_loop().create_task(self._probe_until_up(server, health))

    async def _probe_until_up(self, server: RemoteBackend, health: ServerHealth) -> None:
        while health.is_down:
            await asyncio.sleep(health.retry_at - _now())
            await self._check_server(server, health)


def _now() -> float:
    return asyncio.get_running_loop().time()
