"""A daemon's socket: where `asr33 print` and the like ask for the machine, while nobody types at it.

One Unix socket for each line, in a folder of the user's own. Whatever comes over it, the daemon goes on: a bad line
is answered with a reason, a caller who leaves takes his work with him. Knows orders; prints nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import stat
import zlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon import folders, orders
from daemon.errors import BadOrder
from daemon.orders import AskStatus, Ended, Print, Progress, Punch, Queued, Read, Refused, Report, Stop, Take, Taken
from daemon.turns import App
from daemon.work import carry_out, size
from drivers.errors import DriverError
from drivers.teletype import Teletype

CALLERS = 8
SILENCE_S = 600.0  # somebody may be sent to the machine to put a tape in
_SLOW_BYTES = 1 << 16  # not yet taken by the caller: progress need not be told
_NAME = 20  # a socket's path may have 108 bytes with its folder - unix(7)
TEMPFAIL, PROTOCOL = 75, 76  # sysexits.h

_log = logging.getLogger("asr33")


def name_of(port: str) -> str:
    """A file name for a line, the same for the same line."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', port).strip('-')[-_NAME:]}-{zlib.crc32(os.fsencode(port)):08x}"


@asynccontextmanager
async def serving(app: App, port: str) -> AsyncIterator[None]:
    """Callers are heard in here. A socket that cannot be is told of, and the daemon goes on without."""
    path = folders.own_sockets()[0] / f"{name_of(port)}.sock"
    calls: set[asyncio.Task[None]] = set()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        task.add_done_callback(calls.discard)
        await _answer(app, port, reader, writer, crowded=len(calls) > CALLERS)

    try:
        _make_room(path)
        server = await asyncio.start_unix_server(call, path, limit=orders.LINE_BYTES)
    except OSError as error:
        _log.warning("%s: %s; asr33 print and punch will not find this daemon", path, error.strerror or error)
        yield
        return
    try:
        path.chmod(0o600)
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def _make_room(path: Path) -> None:
    """A folder that no one else can put anything in, and no socket of a daemon that was killed. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{path.parent} is not a folder that this user alone may write to")
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(os.fspath(path))
        raise OSError("another daemon answers there")
    path.unlink(missing_ok=True)


async def _answer(
    app: App, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, crowded: bool
) -> None:
    caller = _Caller(app, port, reader, writer)
    try:
        if crowded:
            caller.say(Refused("too many are asking at once: try again", TEMPFAIL))
        else:
            await caller.hear()
        await writer.drain()
    except (ConnectionError, TimeoutError):
        pass
    except asyncio.CancelledError:  # not raised on: whoever cancels us only waits for the end
        caller.say(Refused("the daemon is leaving", TEMPFAIL))
    finally:
        writer.close()


class _Caller:
    """One connection. An order is answered before the next is read; anything that comes sooner ends it."""

    def __init__(self, app: App, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app, self._port, self._reader, self._writer = app, port, reader, writer
        self._struck_before = 0  # when the last order began

    async def hear(self) -> None:
        """To the end of the call."""
        while line := await self._line():
            match self._order(line):
                case AskStatus():
                    self.say(self._report())
                case Take(wait=wait):
                    await self._lend(wait)
                case Print() | Punch() | Read():
                    self.say(Refused("take the machine first", PROTOCOL))

    def say(self, reply: orders.Reply) -> None:
        if isinstance(reply, Progress) and self._writer.transport.get_write_buffer_size() > _SLOW_BYTES:
            return
        self._writer.write(orders.encode(reply))

    async def _line(self) -> bytes:
        """The next one; nothing when the caller has left, or has said nothing for too long, or too much."""
        try:
            async with asyncio.timeout(SILENCE_S):
                line = await self._reader.readline()
        except ValueError:
            self.say(Refused(f"a line of over {orders.LINE_BYTES:,} bytes", PROTOCOL))
            return b""
        return line if line.endswith(b"\n") else b""

    def _order(self, line: bytes) -> orders.Order | None:
        try:
            return orders.order_of(line)
        except BadOrder as error:
            self.say(Refused(str(error), PROTOCOL))
            return None

    def _report(self) -> Report:
        tty = self._app.tty
        return Report(
            self._port, self._app.doing, self._busy(), self._app.chip, asdict(tty.status()), asdict(tty.profile)
        )

    def _busy(self) -> str:
        if self._app.idle and not self._app.loans:
            return ""
        doing = "somebody types" if self._app.listening.is_set() else f"it is {self._app.doing}"
        return f"the machine is busy ({doing}): try again, or say --wait"

    async def _lend(self, wait: bool) -> None:
        if not wait and (busy := self._busy()):
            self.say(Refused(busy, TEMPFAIL))
            return
        tty = self._app.tty
        with self._app.loans.ask() as loan:
            if not self._app.idle:
                self.say(Queued())
            if not await self._unless_stopped(loan.granted.wait()):
                return
            self.say(Taken())
            self._struck_before = tty.counters.struck
            async with tty.until_break() as scope:
                await self._orders(tty)
            if scope.broken:
                self.say(Ended("break", tty.counters.struck - self._struck_before))

    async def _orders(self, tty: Teletype) -> None:
        """Those of a caller who has the machine, until he leaves it."""
        while line := await self._line():
            match order := self._order(line):
                case AskStatus():
                    self.say(self._report())
                case Print() | Punch() | Read():
                    await self._work(tty, order)
                case Stop():
                    return

    async def _work(self, tty: Teletype, order: Print | Punch | Read) -> None:
        total, rows = size(order), b""
        self._struck_before = tty.counters.struck

        async def work() -> None:
            nonlocal rows
            rows = await carry_out(tty, order, lambda done: self.say(Progress(done, total)))

        try:
            done = await self._unless_stopped(work())
        except DriverError as error:
            self.say(Refused(str(error), error.exit_code))
        else:
            self.say(Ended("done" if done else "stopped", tty.counters.struck - self._struck_before, rows))

    async def _unless_stopped(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether it came to its end; a caller who says anything meanwhile, or leaves, ends it."""
        doing, heard = asyncio.ensure_future(work), asyncio.ensure_future(self._reader.readline())
        try:
            await asyncio.wait({doing, heard}, return_when=asyncio.FIRST_COMPLETED)
            done = doing.done()
        finally:
            doing.cancel()
            heard.cancel()
            results = await asyncio.gather(doing, heard, return_exceptions=True)
        if done and isinstance(results[0], Exception):
            raise results[0]
        return done
