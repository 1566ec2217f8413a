"""Several servers in order of preference: selects the next one to ask, probes those that are down. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from model.client.partial_answer import PartialAnswer
from model.client.server_health import ServerHealth
from model.errors import ModelError, ServerLost
from model.interface import Model, Sampling, TextChunk

SILENCE_LIMIT_S = 5.0  # after which a server counts as lost
PROBE_AFTER_S = 2.0  # of silence, then the server is asked whether it is alive; an asr33 server is not silent so long

TextChunks = AsyncGenerator[TextChunk, None]

_log = logging.getLogger("asr33")


class ServerSilent(ServerLost):
    """A server gave no sign of life in time."""


class RemoteBackend(Model, Protocol):
    """A model on a server: it can continue an answer that another server began."""

    @property
    def vocabulary(self) -> str:
        """The name of the vocabulary: servers with equal names have the same tokens. Empty without tokens."""
        ...

    @property
    def read_ahead_chars(self) -> int:
        """The number of characters to read before they are needed."""
        ...

    def resume(self, prompt: str, sampling: Sampling, partial: PartialAnswer) -> TextChunks: ...

    async def is_alive(self) -> bool:
        """Whether the server replies to a health check; an answer may take longer."""
        ...


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
        within_s = SILENCE_LIMIT_S if has_alternative else None
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
            async with _time_limit(within_s, f"{server.device}: no answer within {SILENCE_LIMIT_S:g} seconds"):
                await server.wait_ready()
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


@asynccontextmanager
async def fail_if_silent(name: str, is_alive: Callable[[], Awaitable[bool]]) -> AsyncIterator[Callable[[], None]]:
    """Raises ServerSilent in the block if no sign of life comes within SILENCE_LIMIT_S.

    Yields a function to call at each sign: a word, a comment, the head of a reply. Some servers send nothing before
    the first word, and proxies hold comments back; so `is_alive` asks a silent server in a second request.
    """

    async def probe() -> None:
        await asyncio.sleep(PROBE_AFTER_S)
        if await is_alive():
            limit.reschedule(None)

    def note_sign() -> None:
        if limit.when() is not None and not limit.expired():
            limit.reschedule(None)
            probing.cancel()

    probing = asyncio.get_running_loop().create_task(probe())
    message = f"{name}: no sign of life for {SILENCE_LIMIT_S:g} seconds: is the server stopped, or too busy?"
    try:
        async with _time_limit(SILENCE_LIMIT_S, message) as limit:
            yield note_sign
    finally:
        probing.cancel()
        await asyncio.wait({probing})


@asynccontextmanager
async def _time_limit(seconds: float | None, message: str) -> AsyncIterator[asyncio.Timeout]:
    """Raises ServerSilent in place of the TimeoutError of this limit."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise ServerSilent(message) from None


def _now() -> float:
    return asyncio.get_running_loop().time()
