"""Several servers in order of preference, and at last maybe a model of this machine: one Model that goes on.

When a stream breaks, what is left of the answer is asked of the same server or the next, and the reader sees a pause
at most. When none answers for a while, the local model takes over in the same sentence, and hands back at the next
prompt; without one, the reader is told, and the sentence goes on when a server returns. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from model.base import Model, Piece, Sampling
from model.errors import ModelError, PromptTooLong
from model.far.progress import Progress
from model.far.servers import Server, Servers
from model.far.sign import NoSign, awaited
from model.far.standing import Standing
from model.far.takeover import taken_over
from model.far.tray import Tray

LOCAL_S = 2.0  # of silence, after which the local model takes over
PATIENCE_S = 10.0  # of silence, after which the reader is told
AHEAD = 144  # characters of a local model's: two lines of paper, as in `model.local`

_log = logging.getLogger("asr33")
Clock = Callable[[], float]


class Relay:
    """As `model.base.Model` has it."""

    def __init__(
        self,
        servers: Sequence[Server],
        local: Callable[[], Model] | None = None,
        *,
        chance: random.Random,
        tries: int | None = None,
        local_s: float = LOCAL_S,
        patience_s: float = PATIENCE_S,
        clock: Clock = time.monotonic,
    ) -> None:
        """`local` opens the local model, when that is first needed. `tries`: of each server, before an answer fails."""
        self.servers = Servers(servers, chance, tries)
        self.opener = local
        self.local: Model | None = None
        self.local_s, self.patience_s, self.clock = local_s, patience_s, clock
        self.locally = False  # the reader was told that the local model answers

    @property
    def hasty(self) -> bool:
        """Whether somebody else could answer where one server is silent."""
        return self.opener is not None or len(self.servers) > 1

    @property
    def _current(self) -> Model:
        """Who is likeliest to be asked next."""
        return self.local if self.local is not None and self.locally else self.servers.foremost

    @property
    def name(self) -> str:
        return self._current.name

    @property
    def device(self) -> str:
        return self._current.device

    @property
    def context(self) -> int:
        return self._current.context

    def count(self, text: str) -> int:
        return self._current.count(text)

    async def ready(self) -> None:
        """Return when each server was asked what it has. Raises ModelError where none will ever answer."""
        await self.servers.look(self.hasty)
        if self.servers.usable() is None:
            self.servers.check()
            _log.warning("no server answers yet; they are asked again and again")

    def listen(self, prompt: str) -> None:
        self._current.listen(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The continuation, whoever makes it; closing the generator closes what is open, at once.

        Raises ModelError for what no other try can mend.
        """
        tray = Tray()
        work = asyncio.get_running_loop().create_task(_Answer(self, tray, prompt, sampling).make())
        work.add_done_callback(lambda _: tray.end())
        try:
            while (piece := await tray.take()) is not None:
                yield piece
            work.result()
        finally:
            work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()

    async def close(self) -> None:
        await self.servers.close()
        if self.local is not None:
            await self.local.close()

    async def open_local(self) -> Model | None:
        """The local model, ready; None if there is none after all."""
        try:
            if self.local is None and self.opener is not None:
                self.local = self.opener()
            if self.local is not None:
                await self.local.ready()
        except ModelError as error:
            _log.error("%s", error)
            self.opener = self.local = None
        return self.local


class _Answer:
    """One answer, whoever makes it; its pieces lie on the tray."""

    def __init__(self, relay: Relay, tray: Tray, prompt: str, sampling: Sampling) -> None:
        self._relay, self._servers, self._tray = relay, relay.servers, tray
        self._prompt, self._sampling = prompt, sampling
        self._said = Progress()
        self._since: float | None = None  # nobody answers
        self._telling: asyncio.TimerHandle | None = None
        self._told = False  # of this silence, which ends with the next word
        self._limit = asyncio.timeout(None)
        relay.servers.renew()

    async def make(self) -> None:
        """Raises ModelError."""
        try:
            while not await self._by_servers() and not await self._by_local():
                pass
        finally:
            self._quiet()

    async def _by_servers(self) -> bool:
        """Whether servers brought it to its end; False where the local model is to go on."""
        try:
            async with asyncio.timeout(None) as self._limit:
                if self._servers.silent_since is not None or self._since is not None:
                    self._silent()
                while True:
                    if (chosen := self._servers.usable()) is None:
                        await self._servers.wait()
                    elif await self._from(*chosen):
                        return True
        except TimeoutError:
            if not self._limit.expired():
                raise
            return False

    async def _from(self, server: Server, standing: Standing) -> bool:
        """What this server has of it; whether that was the end."""
        try:
            async with self._signs(server) as heard:
                return await self._all_of(server, standing, heard)
        except PromptTooLong as error:
            if self._said.text:  # with what was said it is: so the context is full
                self._tray.put(Piece("", (), self._relay.clock(), "context"))
                return True
            self._servers.lost(server, standing, error)
        except NoSign as error:
            self._servers.lost(server, standing, error)
            if self._servers.usable() is not None:
                return False  # and that one has its own time
        except ModelError as error:
            self._servers.lost(server, standing, error)
        self._silent()
        return False

    async def _all_of(self, server: Server, standing: Standing, heard: Callable[[], None]) -> bool:
        """True, when it has come to its end. Raises ModelError."""
        async with contextlib.aclosing(server.resume(self._prompt, self._sampling, self._said)) as pieces:
            async for piece in pieces:
                heard()
                self._heard()
                if not (piece.text or piece.tokens or piece.finish or piece.forgotten):
                    continue  # it is there, and at work
                standing.answered()
                self._take(piece, server.vocabulary)
                if piece.finish:
                    return True
                await self._tray.room(server.ahead)
        return False

    def _signs(self, server: Server) -> contextlib.AbstractAsyncContextManager[Callable[[], None]]:
        """Nobody waits for long in silence where another could answer."""
        if self._relay.hasty:
            return awaited(server.device, server.there)
        return contextlib.nullcontext(lambda: None)

    def _take(self, piece: Piece, vocabulary: str) -> None:
        self._since, self._told, self._relay.locally = None, False, False
        self._said = self._said.turned(vocabulary).after(piece, vocabulary)
        self._tray.put(piece)

    def _silent(self) -> None:
        """Nobody answers: after a while somebody else will, or the reader is told."""
        relay, loop, known = self._relay, asyncio.get_running_loop(), self._servers.silent_since
        self._since = loop.time() if self._since is None else self._since
        since = self._since if known is None else min(known, self._since)
        if relay.opener is not None:
            self._limit.reschedule(since + relay.local_s)
        elif self._telling is None and not self._told:
            self._telling = loop.call_at(since + relay.patience_s, self._tell)

    def _tell(self) -> None:
        self._told = True
        self._tray.put(Piece("", (), self._relay.clock(), notice="no server"))

    def _heard(self) -> None:
        """A server is at work."""
        self._quiet()
        if self._limit.when() is not None and not self._limit.expired():
            self._limit.reschedule(None)

    def _quiet(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    async def _by_local(self) -> bool:
        """Whether the local model brought it to its end; False where there is none after all."""
        relay = self._relay
        if (local := await relay.open_local()) is None:
            return False
        if finish := self._said.over(self._sampling):
            self._tray.put(Piece("", (), relay.clock(), finish))
            return True
        if not relay.locally:
            self._tray.put(Piece("", (), relay.clock(), notice="local"))
        relay.locally = True
        async with contextlib.aclosing(taken_over(local, self._prompt, self._sampling, self._said)) as pieces:
            async for piece in pieces:
                self._tray.put(piece)
                await self._tray.room(AHEAD)
        return True
