"""Several servers in order of preference: who may be asked now; who is down is asked in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from model.base import Model, Piece, Sampling
from model.errors import ModelError, ServerLost
from model.far.progress import Progress
from model.far.sign import SIGN_S, NoSign
from model.far.standing import Standing

_log = logging.getLogger("asr33")


class Server(Model, Protocol):
    """What is asked of a server: a model that can go on in the middle."""

    @property
    def vocabulary(self) -> str:
        """Servers with the same have the same tokens; empty where tokens are not to be had."""
        ...

    @property
    def ahead(self) -> int:
        """How many characters it is well to take before they are needed."""
        ...

    def resume(self, prompt: str, sampling: Sampling, said: Progress) -> AsyncGenerator[Piece, None]: ...

    async def there(self) -> bool:
        """Whether it answers at all, however long it takes over what it was asked."""
        ...


class Servers:
    def __init__(self, servers: Sequence[Server], chance: random.Random, tries: int | None) -> None:
        """`tries`: of each, before there is none; None: for ever."""
        self._all = [(server, Standing()) for server in servers]
        self._chance, self._tries = chance, tries
        self._changed = asyncio.Event()
        self._probes: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def foremost(self) -> Server:
        """Who is likeliest to be asked next."""
        return (self._chosen() or self._all[0])[0]

    @property
    def silent_since(self) -> float | None:
        """Since when all of them are known not to answer."""
        since = [standing.since for _, standing in self._all if standing.down and standing.since is not None]
        return max(since) if since and len(since) == len(self._all) else None

    def usable(self) -> tuple[Server, Standing] | None:
        """Whom to ask now: the first that answers, also where it broke off a moment ago, for it knows the text."""
        chosen = self._chosen()
        return chosen if chosen and chosen[1].not_before <= _now() else None

    def _chosen(self) -> tuple[Server, Standing] | None:
        return next((pair for pair in self._all if not pair[1].down and pair[1].refused is None), None)

    def renew(self) -> None:
        """A new prompt: what refused the last may take this one."""
        for _, standing in self._all:
            standing.refused = None

    async def look(self, hasty: bool) -> None:
        """Ask each what it has; those that do not answer are asked again in the background."""
        within_s = SIGN_S if hasty else None
        await asyncio.gather(*(self._look(server, standing, within_s) for server, standing in self._all))
        for server, standing in self._all:
            self._probe(server, standing)

    async def wait(self) -> None:
        """Until one may be asked. Raises ModelError where none will be."""
        self.check()
        self._changed.clear()
        chosen = self._chosen()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(chosen[1].not_before if chosen else None):
                await self._changed.wait()

    def check(self) -> None:
        """Raise what is wrong where every one has refused, or was asked too often in vain."""
        refused = [standing.refused for _, standing in self._all if standing.refused]
        lost = [standing.error for _, standing in self._all if standing.error and not standing.refused]
        if refused and len(refused) == len(self._all):
            raise refused[0]
        enough = self._tries
        if enough and all(standing.refused or standing.failures >= enough for _, standing in self._all):
            raise (refused + lost)[0]

    def lost(self, server: Server, standing: Standing, error: ModelError) -> None:
        """Note what one did instead of answering; one that is down is asked again in the background."""
        if isinstance(error, ServerLost):
            if str(standing.error) != str(error):
                _log.warning("%s", error)
            standing.lost(error, _now(), self._chance.random())
            if isinstance(error, NoSign):  # no reader shall wait for that twice
                standing.down, standing.since = True, min(standing.since or _now(), _now() - SIGN_S)
            self._probe(server, standing)
        else:
            _log.error("%s", error)
            standing.down, standing.refused = False, error

    async def close(self) -> None:
        for probe in self._probes.values():
            probe.cancel()
        if self._probes:
            await asyncio.wait(self._probes.values())
        for server, _ in self._all:
            await server.close()

    async def _look(self, server: Server, standing: Standing, within_s: float | None = None) -> None:
        try:
            await _asked(server, within_s)
        except ModelError as error:
            self.lost(server, standing, error)
            standing.down = isinstance(error, ServerLost)
        else:
            standing.down = False
        self._changed.set()

    def _probe(self, server: Server, standing: Standing) -> None:
        probe = self._probes.get(id(standing))
        if standing.down and (probe is None or probe.done()):
            self._probes[id(standing)] = asyncio.get_running_loop().create_task(self._wait_for(server, standing))

    async def _wait_for(self, server: Server, standing: Standing) -> None:
        while standing.down:
            await asyncio.sleep(standing.not_before - _now())
            await self._look(server, standing)


async def _asked(server: Server, within_s: float | None) -> None:
    try:
        async with asyncio.timeout(within_s) as limit:
            await server.ready()
    except TimeoutError:
        if not limit.expired():
            raise
        raise NoSign(f"{server.device}: no answer within {within_s:g} seconds") from None


def _now() -> float:
    return asyncio.get_running_loop().time()
