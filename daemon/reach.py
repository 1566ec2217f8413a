"""The machine, for a command: through the daemon that has its line, or else by opening that line here.

Either way the same orders, and the same end of them. Knows the daemon's socket from the caller's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from daemon import folders, orders
from daemon.app import opened
from daemon.config import Config
from daemon.errors import BadOrder, BrokenOff, ConfigError, MachineBusy, OrderRefused
from daemon.orders import AskStatus, Ended, Print, Progress, Punch, Queued, Read, Refused, Report, Stop, Take, Taken
from daemon.work import carry_out, size
from drivers import ports
from drivers.clock import CHARACTER_S, WallClock
from drivers.profile import Profile
from drivers.teletype import Teletype

NO_LINE = "no line to print on: name it with --line /dev/serial/by-id/..., or start asr33 run"
ANSWER_S = 5.0  # within which a daemon that lives has answered
Tell = Callable[[int, int], None]


class Machine(Protocol):
    """A machine that takes orders: `profile` says which one it is."""

    profile: Profile

    async def do(self, order: Print | Punch | Read, tell: Tell) -> bytes:
        """Back when it is done, with the rows that were read. `tell` hears how much of how much is struck.

        Cancelled, it stops within two characters, and the CancelledError says after how many. Raises BrokenOff,
        OrderRefused, and DriverError.
        """
        ...


@asynccontextmanager
async def reached(
    config: Config, *, wait: bool = False, character_s: float = CHARACTER_S, queued: Callable[[], None] | None = None
) -> AsyncIterator[Machine]:
    """The machine at the configured line; with no line configured, that of the only daemon there is.

    `queued` is told if it must be waited for. Raises ConfigError, MachineBusy, DriverError.
    """
    async with contextlib.AsyncExitStack() as stack:
        call = await _found(config.line.port, stack)
        if call is not None:
            await call.take(wait, queued or (lambda: None))
            yield call
        elif config.line.port is None:
            raise ConfigError(NO_LINE)
        else:
            yield await _opened(config, config.line.port, character_s, stack)


async def glance(config: Config) -> None:
    """Back if `reached` would have the machine now; it is not taken. Raises ConfigError, MachineBusy, DriverError."""
    async with contextlib.AsyncExitStack() as stack:
        call = await _found(config.line.port, stack)
        if call is not None:
            if call.busy:
                raise MachineBusy(call.busy)
        elif config.line.port is None:
            raise ConfigError(NO_LINE)
        else:
            ports.kind_of(config.line.port)


class Call:
    """A connection to a daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.profile = Profile()
        self.busy = ""  # when it last reported

    async def report(self) -> Report:
        """Raises BadOrder, TimeoutError, ConnectionError."""
        async with asyncio.timeout(ANSWER_S):
            reply = await self._ask(AskStatus())
        if not isinstance(reply, Report):
            raise BadOrder("a daemon that does not say how it is")
        self.busy = reply.busy
        known = {item.name for item in fields(Profile)}
        self.profile = Profile(**{name: value for name, value in reply.machine.items() if name in known})
        return reply

    async def take(self, wait: bool, queued: Callable[[], None]) -> None:
        """Raises MachineBusy, OrderRefused."""
        reply = await self._ask(Take(wait))
        while isinstance(reply, Queued):
            queued()
            reply = await self._reply()
        if isinstance(reply, Refused) and reply.code == MachineBusy.exit_code:
            raise MachineBusy(reply.why)
        self._unrefused(reply, Taken)

    async def do(self, order: Print | Punch | Read, tell: Tell) -> bytes:
        try:
            reply = await self._ask(order)
            while isinstance(reply, Progress):
                tell(reply.done, reply.total)
                reply = await self._reply()
        except asyncio.CancelledError:
            if (struck := await self._stop()) is None:
                raise
            raise stopped(struck) from None
        self._unrefused(reply, Ended)
        assert isinstance(reply, Ended)
        if reply.how == "break":
            raise broken_off(reply.struck)
        return reply.rows

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _stop(self) -> int | None:
        """How much was struck, if the daemon still says so."""
        reply: orders.Reply | None = None
        with contextlib.suppress(TimeoutError, OrderRefused, ConnectionError):
            async with asyncio.timeout(ANSWER_S):
                reply = await self._ask(Stop())
                while isinstance(reply, Progress):
                    reply = await self._reply()
        return reply.struck if isinstance(reply, Ended) else None

    async def _ask(self, order: orders.Order) -> orders.Reply:
        self._writer.write(orders.encode(order))
        return await self._reply()

    async def _reply(self) -> orders.Reply:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise OrderRefused("the daemon has left: see its log", 69)
        return orders.reply_of(line)

    @staticmethod
    def _unrefused(reply: orders.Reply, wanted: type) -> None:
        if isinstance(reply, Refused):
            raise OrderRefused(reply.why, reply.code)
        if not isinstance(reply, wanted):
            raise BadOrder("a daemon that answers something else than was asked: is it of the same version?")


class OwnLine:
    """A teletype of our own."""

    def __init__(self, tty: Teletype) -> None:
        self._tty = tty
        self.profile = tty.profile

    async def do(self, order: Print | Punch | Read, tell: Tell) -> bytes:
        struck, total, rows = self._tty.counters.struck, size(order), b""
        try:
            async with self._tty.until_break() as scope:
                rows = await carry_out(self._tty, order, lambda done: tell(done, total))
        except asyncio.CancelledError:
            struck = self._tty.counters.struck - struck
            await self._to_margin()
            raise stopped(struck) from None
        if scope.broken:
            struck = self._tty.counters.struck - struck
            await self._to_margin()
            raise broken_off(struck)
        return rows

    async def _to_margin(self) -> None:
        """The carriage is left at a clean margin; a second Ctrl-C does not wait for that."""
        await self._tty.fresh_line()
        await self._tty.finish()


def broken_off(struck: int) -> BrokenOff:
    return BrokenOff(f"broken off by BREAK after {struck} characters")


def stopped(struck: int) -> asyncio.CancelledError:
    return asyncio.CancelledError(f"stopped after {struck} characters")


async def _opened(config: Config, port: str, character_s: float, stack: contextlib.AsyncExitStack) -> OwnLine:
    line, tried = await opened(config, port, character_s)
    stack.push_async_callback(line.close)
    character_s = tried.character_s or character_s if tried else character_s
    tty = Teletype(line, WallClock(), config.machine, character_s=character_s)
    stack.push_async_callback(tty.close)
    return OwnLine(tty)


async def _found(port: str | None, stack: contextlib.AsyncExitStack) -> Call | None:
    """The daemon that has this line; with no line named, the only one."""
    found: list[tuple[Report, Call]] = []
    for path in _sockets():
        with contextlib.suppress(OSError, TimeoutError, BadOrder, OrderRefused, ValueError):
            call = Call(*await asyncio.open_unix_connection(path, limit=orders.LINE_BYTES))
            stack.push_async_callback(call.close)
            found.append((await call.report(), call))
    if port is not None:
        return next((call for report, call in found if same_line(report.line, port)), None)
    if len(found) > 1:
        raise ConfigError(f"several daemons run: name one's line with --line: {', '.join(r.line for r, _ in found)}")
    return found[0][1] if found else None


def _sockets() -> list[Path]:
    paths: list[Path] = []
    for folder in folders.sockets():
        with contextlib.suppress(OSError):
            if folder.is_relative_to(tempfile.gettempdir()) and folder.stat().st_uid not in (os.getuid(), 0):
                continue  # anybody may have put it there
            paths += sorted(path for path in folder.iterdir() if path.suffix == ".sock")
    return list(dict.fromkeys(paths))


def same_line(one: str, other: str) -> bool:
    """Whether two names lead to one port: by-id links, and those that a virtual machine makes."""
    if "://" in one or "://" in other:
        return one == other
    return one == other or os.path.realpath(one) == os.path.realpath(other)
