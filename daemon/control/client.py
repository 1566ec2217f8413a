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

from daemon import paths
from daemon.build import open_and_test_line
from daemon.config import Config
from daemon.control import protocol
from daemon.control.jobs import job_size, run_job
from daemon.control.protocol import (
    Acquire,
    Acquired,
    JobEnded,
    PrintJob,
    ProgressReply,
    PunchJob,
    QueuedReply,
    ReadTapeJob,
    RefusedReply,
    StatusReport,
    StatusRequest,
    StopJob,
)
from daemon.errors import ConfigError, DaemonRefused, MachineBusy, ProtocolError, StoppedByOperator
from drivers.clock import CHARACTER_S, WallClock
from drivers.line import port_names
from drivers.profile import Profile
from drivers.teletype import Teletype

NO_LINE_MESSAGE = "no line to print on: name it with --line /dev/serial/by-id/..., or start asr33 run"
RESPONSE_TIMEOUT_S = 5.0  # within which a daemon that lives has answered
OnJobProgress = Callable[[int, int], None]


class Machine(Protocol):
    """A machine that takes orders: `profile` says which one it is."""

    profile: Profile

    async def run_job(self, job: PrintJob | PunchJob | ReadTapeJob, on_progress: OnJobProgress) -> bytes:
        """Back when it is done, with the rows that were read. `tell` hears how much of how much is struck.

        Cancelled, it stops within two characters, and the CancelledError says after how many. Raises BrokenOff,
        OrderRefused, and DriverError.
        """
        ...


@asynccontextmanager
async def acquire_machine(
    config: Config, *, wait: bool = False, character_s: float = CHARACTER_S, on_queued: Callable[[], None] | None = None
) -> AsyncIterator[Machine]:
    """The machine at the configured line; with no line configured, that of the only daemon there is.

    `queued` is told if it must be waited for. Raises ConfigError, MachineBusy, DriverError.
    """
    async with contextlib.AsyncExitStack() as stack:
        call = await _find_daemon(config.line.port, stack)
        if call is not None:
            await call.acquire(wait, on_queued or (lambda: None))
            yield call
        elif config.line.port is None:
            raise ConfigError(NO_LINE_MESSAGE)
        else:
            yield await _open_direct_machine(config, config.line.port, character_s, stack)


async def check_available(config: Config) -> None:
    """Back if `reached` would have the machine now; it is not taken. Raises ConfigError, MachineBusy, DriverError."""
    async with contextlib.AsyncExitStack() as stack:
        call = await _find_daemon(config.line.port, stack)
        if call is not None:
            if call.busy_reason:
                raise MachineBusy(call.busy_reason)
        elif config.line.port is None:
            raise ConfigError(NO_LINE_MESSAGE)
        else:
            port_names.port_kind(config.line.port)


class DaemonConnection:
    """A connection to a daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.profile = Profile()
        self.busy_reason = ""  # when it last reported

    async def fetch_status(self) -> StatusReport:
        """Raises BadOrder, TimeoutError, ConnectionError."""
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            reply = await self._request(StatusRequest())
        if not isinstance(reply, StatusReport):
            raise ProtocolError("a daemon that does not say how it is")
        self.busy_reason = reply.busy
        known = {item.name for item in fields(Profile)}
        self.profile = Profile(**{name: value for name, value in reply.machine.items() if name in known})
        return reply

    async def acquire(self, wait: bool, on_queued: Callable[[], None]) -> None:
        """Raises MachineBusy, OrderRefused."""
        reply = await self._request(Acquire(wait))
        while isinstance(reply, QueuedReply):
            on_queued()
            reply = await self._read_response()
        if isinstance(reply, RefusedReply) and reply.code == MachineBusy.exit_code:
            raise MachineBusy(reply.why)
        self._check_response(reply, Acquired)

    async def run_job(self, job: PrintJob | PunchJob | ReadTapeJob, on_progress: OnJobProgress) -> bytes:
        try:
            reply = await self._request(job)
            while isinstance(reply, ProgressReply):
                on_progress(reply.done, reply.total)
                reply = await self._read_response()
        except asyncio.CancelledError:
            if (struck := await self._stop_job()) is None:
                raise
            raise cancelled_after(struck) from None
        self._check_response(reply, JobEnded)
        assert isinstance(reply, JobEnded)
        if reply.how == "break":
            raise stopped_by_operator(reply.struck)
        return reply.rows

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _stop_job(self) -> int | None:
        """How much was struck, if the daemon still says so."""
        reply: protocol.ControlResponse | None = None
        with contextlib.suppress(TimeoutError, DaemonRefused, ConnectionError):
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                reply = await self._request(StopJob())
                while isinstance(reply, ProgressReply):
                    reply = await self._read_response()
        return reply.struck if isinstance(reply, JobEnded) else None

    async def _request(self, request: protocol.ControlRequest) -> protocol.ControlResponse:
        self._writer.write(protocol.encode_message(request))
        return await self._read_response()

    async def _read_response(self) -> protocol.ControlResponse:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise DaemonRefused("the daemon has left: see its log", 69)
        return protocol.decode_response(line)

    @staticmethod
    def _check_response(response: protocol.ControlResponse, expected: type) -> None:
        if isinstance(response, RefusedReply):
            raise DaemonRefused(response.why, response.code)
        if not isinstance(response, expected):
            raise ProtocolError("a daemon that answers something else than was asked: is it of the same version?")


class DirectMachine:
    """A teletype of our own."""

    def __init__(self, tty: Teletype) -> None:
        self._tty = tty
        self.profile = tty.profile

    async def run_job(self, job: PrintJob | PunchJob | ReadTapeJob, on_progress: OnJobProgress) -> bytes:
        struck, total, rows = self._tty.counters.struck, job_size(job), b""
        try:
            async with self._tty.until_break() as scope:
                rows = await run_job(self._tty, job, lambda done: on_progress(done, total))
        except asyncio.CancelledError:
            struck = self._tty.counters.struck - struck
            await self._return_to_margin()
            raise cancelled_after(struck) from None
        if scope.is_broken:
            struck = self._tty.counters.struck - struck
            await self._return_to_margin()
            raise stopped_by_operator(struck)
        return rows

    async def _return_to_margin(self) -> None:
        """The carriage is left at a clean margin; a second Ctrl-C does not wait for that."""
        await self._tty.fresh_line()
        await self._tty.finish()


def stopped_by_operator(struck: int) -> StoppedByOperator:
    return StoppedByOperator(f"broken off by BREAK after {struck} characters")


def cancelled_after(struck: int) -> asyncio.CancelledError:
    return asyncio.CancelledError(f"stopped after {struck} characters")


async def _open_direct_machine(
    config: Config, port: str, character_s: float, stack: contextlib.AsyncExitStack
) -> DirectMachine:
    line, tried = await open_and_test_line(config, port, character_s)
    stack.push_async_callback(line.close)
    character_s = tried.character_s or character_s if tried else character_s
    tty = Teletype(line, WallClock(), config.machine, character_s=character_s)
    stack.push_async_callback(tty.close)
    return DirectMachine(tty)


async def _find_daemon(port: str | None, stack: contextlib.AsyncExitStack) -> DaemonConnection | None:
    """The daemon that has this line; with no line named, the only one."""
    found: list[tuple[StatusReport, DaemonConnection]] = []
    for path in _find_sockets():
        with contextlib.suppress(OSError, TimeoutError, ProtocolError, DaemonRefused, ValueError):
            call = DaemonConnection(*await asyncio.open_unix_connection(path, limit=protocol.MAX_LINE_BYTES))
            stack.push_async_callback(call.close)
            found.append((await call.fetch_status(), call))
    if port is not None:
        return next((call for report, call in found if is_same_line(report.line, port)), None)
    if len(found) > 1:
        raise ConfigError(f"several daemons run: name one's line with --line: {', '.join(r.line for r, _ in found)}")
    return found[0][1] if found else None


def _find_sockets() -> list[Path]:
    sockets: list[Path] = []
    for folder in paths.socket_folders():
        with contextlib.suppress(OSError):
            if folder.is_relative_to(tempfile.gettempdir()) and folder.stat().st_uid not in (os.getuid(), 0):
                continue  # anybody may have put it there
            sockets += sorted(path for path in folder.iterdir() if path.suffix == ".sock")
    return list(dict.fromkeys(sockets))


def is_same_line(one: str, other: str) -> bool:
    """Whether two names lead to one port: by-id links, and those that a virtual machine makes."""
    if "://" in one or "://" in other:
        return one == other
    return one == other or os.path.realpath(one) == os.path.realpath(other)
