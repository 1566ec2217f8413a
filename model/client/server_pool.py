"""Several servers in order of preference: who may be asked now; who is down is asked in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from model.client.liveness import SILENCE_LIMIT_S, ServerSilent
from model.client.partial_answer import PartialAnswer
from model.client.server_health import ServerHealth
from model.errors import ModelError, ServerLost
from model.interface import Model, Sampling, TextChunk

_log = logging.getLogger("asr33")


class RemoteBackend(Model, Protocol):
    """What is asked of a server: a model that can go on in the middle."""

    @property
    def vocabulary(self) -> str:
        """Servers with the same have the same tokens; empty where tokens are not to be had."""
        ...

    @property
    def read_ahead_chars(self) -> int:
        """How many characters it is well to take before they are needed."""
        ...

    def resume(self, prompt: str, sampling: Sampling, partial: PartialAnswer) -> AsyncGenerator[TextChunk, None]: ...

    async def is_alive(self) -> bool:
        """Whether it answers at all, however long it takes over what it was asked."""
        ...


class ServerPool:
    def __init__(self, servers: Sequence[RemoteBackend], rng: random.Random, max_tries: int | None) -> None:
        """`tries`: of each, before there is none; None: for ever."""
        self._servers = [(server, ServerHealth()) for server in servers]
        self._rng, self._max_tries = rng, max_tries
        self._changed = asyncio.Event()
        self._probes: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def preferred(self) -> RemoteBackend:
        """Who is likeliest to be asked next."""
        return (self._first_healthy() or self._servers[0])[0]

    @property
    def silent_since(self) -> float | None:
        """Since when all of them are known not to answer."""
        since = [
            standing.failing_since
            for _, standing in self._servers
            if standing.is_down and standing.failing_since is not None
        ]
        return max(since) if since and len(since) == len(self._servers) else None

    def select_server(self) -> tuple[RemoteBackend, ServerHealth] | None:
        """Whom to ask now: the first that answers, also where it broke off a moment ago, for it knows the text."""
        chosen = self._first_healthy()
        return chosen if chosen and chosen[1].retry_at <= _now() else None

    def _first_healthy(self) -> tuple[RemoteBackend, ServerHealth] | None:
        return next((pair for pair in self._servers if not pair[1].is_down and pair[1].refusal is None), None)

    def clear_refusals(self) -> None:
        """A new prompt: what refused the last may take this one."""
        for _, standing in self._servers:
            standing.refusal = None

    async def check_all(self, has_alternative: bool) -> None:
        """Ask each what it has; those that do not answer are asked again in the background."""
        within_s = SILENCE_LIMIT_S if has_alternative else None
        await asyncio.gather(*(self._check_server(server, standing, within_s) for server, standing in self._servers))
        for server, standing in self._servers:
            self._start_probe(server, standing)

    async def wait_for_server(self) -> None:
        """Until one may be asked. Raises ModelError where none will be."""
        self.raise_if_none_left()
        self._changed.clear()
        chosen = self._first_healthy()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(chosen[1].retry_at if chosen else None):
                await self._changed.wait()

    def raise_if_none_left(self) -> None:
        """Raise what is wrong where every one has refused, or was asked too often in vain."""
        refused = [standing.refusal for _, standing in self._servers if standing.refusal]
        lost = [standing.last_error for _, standing in self._servers if standing.last_error and not standing.refusal]
        if refused and len(refused) == len(self._servers):
            raise refused[0]
        enough = self._max_tries
        if enough and all(standing.refusal or standing.failures >= enough for _, standing in self._servers):
            raise (refused + lost)[0]

    def record_failure(self, server: RemoteBackend, health: ServerHealth, error: ModelError) -> None:
        """Note what one did instead of answering; one that is down is asked again in the background."""
        if isinstance(error, ServerLost):
            if str(health.last_error) != str(error):
                _log.warning("%s", error)
            health.record_failure(error, _now(), self._rng.random())
            if isinstance(error, ServerSilent):  # no reader shall wait for that twice
                health.is_down, health.failing_since = (
                    True,
                    min(health.failing_since or _now(), _now() - SILENCE_LIMIT_S),
                )
            self._start_probe(server, health)
        else:
            _log.error("%s", error)
            health.is_down, health.refusal = False, error

    async def close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        if self._probes:
            await asyncio.wait(self._probes.values())
        for server, _ in self._servers:
            await server.close()

    async def _check_server(self, server: RemoteBackend, health: ServerHealth, within_s: float | None = None) -> None:
        try:
            await _wait_until_ready(server, within_s)
        except ModelError as error:
            self.record_failure(server, health, error)
            health.is_down = isinstance(error, ServerLost)
        else:
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


async def _wait_until_ready(server: RemoteBackend, within_s: float | None) -> None:
    try:
        async with asyncio.timeout(within_s) as limit:
            await server.wait_ready()
    except TimeoutError:
        if not limit.expired():
            raise
        raise ServerSilent(f"{server.device}: no answer within {within_s:g} seconds") from None


def _now() -> float:
    return asyncio.get_running_loop().time()
