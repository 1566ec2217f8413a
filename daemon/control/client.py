"""Gives a command the machine: through the control socket of the daemon that has its line, or by opening the line.

Both ways run the same jobs with the same results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Protocol, TypeVar

from daemon import paths
from daemon.config import Config
from daemon.control import protocol
from daemon.control.jobs import Job, job_size, run_job
from daemon.errors import EXIT_CODES, ConfigError, DaemonError, DaemonRefused, ProtocolError, StoppedByOperator
from daemon.line_connection import open_and_test_line
from drivers.clock import CHARACTER_S, WallClock
from drivers.line import port_names
from drivers.profile import Profile
from drivers.teletype import Teletype

RESPONSE_TIMEOUT_S = 5.0  # a running daemon answers sooner
OnJobProgress = Callable[[int, int], None]  # done, total: characters or rows
ResponseT = TypeVar("ResponseT", bound=protocol.ControlResponse)


class Machine(Protocol):
    """A machine that runs jobs. `struck`: the characters of all of them; `is_shared`: an operator waits for it."""

    profile: Profile
    is_shared: bool

    @property
    def struck(self) -> int: ...

    async def run_job(self, job: Job, on_progress: OnJobProgress) -> bytes:
        """Runs the job to its end and returns the rows of a tape that was read.

        If it is cancelled, the machine stops within two characters; the CancelledError has the number of struck
        characters. Raises StoppedByOperator, DaemonRefused, DriverError.
        """
        ...


@asynccontextmanager
async def acquire_machine(
    config: Config,
    *,
    wait: bool = False,
    character_s: float = CHARACTER_S,
    on_queued: Callable[[], None] = lambda: None,
) -> AsyncIterator[Machine]:
    """Yields the machine at the configured line; without one, the machine of the only running daemon.

    `on_queued` is called if the command must wait. Raises ConfigError, DaemonError("busy"), DriverError.
    """
    async with AsyncExitStack() as stack:
        daemon = await _find_daemon(config.line.port, stack)
        if daemon is not None:
            await daemon.acquire(wait, on_queued)
            yield daemon
            return
        line, character_s, _ = await open_and_test_line(config, _require_port(config), character_s)
        stack.push_async_callback(line.close)
        tty = Teletype(line, WallClock(), config.machine, character_s=character_s)
        stack.push_async_callback(tty.close)
        yield DirectMachine(tty)


async def check_available(config: Config) -> None:
    """Checks that `acquire_machine` would succeed now. Raises ConfigError, DaemonError("busy"), DriverError."""
    async with AsyncExitStack() as stack:
        daemon = await _find_daemon(config.line.port, stack)
        if daemon is None:
            port_names.port_kind(_require_port(config))
        elif daemon.busy_reason:
            raise DaemonError(daemon.busy_reason, "busy")


@asynccontextmanager
async def connect_to_daemon(config: Config) -> AsyncIterator[DaemonConnection]:
    """Yields a connection to the daemon of the configured line, or to the only one; it may be busy.

    Raises ConfigError, and DaemonRefused if there is none.
    """
    async with AsyncExitStack() as stack:
        daemon = await _find_daemon(config.line.port, stack)
        if daemon is None:
            raise DaemonRefused("no daemon runs at this line: start asr33 run", 69)
        yield daemon


@asynccontextmanager
async def connect_to_all_daemons() -> AsyncIterator[list[DaemonConnection]]:
    """Yields a connection to each daemon that this user can reach."""
    async with AsyncExitStack() as stack:
        yield [daemon for _, daemon in await _connect_to_all(stack)]


def _require_port(config: Config) -> str:
    if config.line.port is None:
        raise ConfigError("no line to print on: name it with --line /dev/serial/by-id/..., or start asr33 run")
    return config.line.port


@asynccontextmanager
async def acquire_daemon(port: str, on_queued: Callable[[], None]) -> AsyncIterator[DaemonConnection]:
    """Yields the machine of the daemon that has this line, when the operator leaves it for a moment.

    Raises DaemonError("busy") if no daemon of this user answers for the line.
    """
    async with AsyncExitStack() as stack:
        daemon = await _find_daemon(port, stack)
        if daemon is None:
            raise DaemonError(f"the session at {port} has its log open, and its daemon does not answer: end it", "busy")
        await daemon.acquire(True, on_queued)
        yield daemon


class DaemonConnection:
    """A machine that is used through its daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.profile = Profile()
        self.struck, self.is_shared = 0, True
        self.busy_reason = ""  # as of the last status

    async def fetch_status(self) -> protocol.StatusReport:
        """Updates `profile` and `busy_reason`. Raises DaemonRefused, ProtocolError, TimeoutError, ConnectionError."""
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            report = _expect(protocol.StatusReport, await self._request(protocol.StatusRequest()))
        self.busy_reason = report.busy
        known = {field.name for field in fields(Profile)}
        self.profile = Profile(**{name: value for name, value in report.machine.items() if name in known})
        return report

    async def request(self, request: protocol.ControlRequest, kind: type[ResponseT]) -> ResponseT:
        """Returns the response to a request about the spool. Raises DaemonRefused, ProtocolError."""
        return _expect(kind, await self._request(request))

    async def acquire(self, wait: bool, on_queued: Callable[[], None]) -> None:
        """Waits for the machine. Raises DaemonError("busy"), DaemonRefused."""
        reply = await self._request(protocol.Acquire(wait))
        while isinstance(reply, protocol.QueuedReply):
            on_queued()
            reply = await self._read_response()
        if isinstance(reply, protocol.RefusedReply) and reply.code == EXIT_CODES["busy"]:
            raise DaemonError(reply.why, "busy")
        _expect(protocol.Acquired, reply)

    async def run_job(self, job: Job, on_progress: OnJobProgress) -> bytes:
        before = self.struck
        try:
            reply = await self._request(job)
            while isinstance(reply, protocol.ProgressReply):
                on_progress(reply.done, reply.total)
                self.struck = before + reply.done  # should the daemon be killed
                reply = await self._read_response()
        except asyncio.CancelledError:
            if (struck := await self._stop_job()) is None:
                raise
            self.struck = before + struck
            raise cancelled_after(struck) from None
        ended = _expect(protocol.JobEnded, reply)
        self.struck = before + ended.struck
        if ended.how == "break":
            raise stopped_by_operator(ended.struck)
        return ended.rows

    async def forget_conversation(self) -> None:
        """Lets the model forget the conversation; the paper says so. Raises DaemonRefused, ProtocolError."""
        _expect(protocol.JobEnded, await self._request(protocol.ForgetConversation()))

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _stop_job(self) -> int | None:
        """Stops the job; returns how many characters were struck, or None if the daemon does not answer."""
        reply: protocol.ControlResponse | None = None
        with contextlib.suppress(TimeoutError, DaemonRefused, ConnectionError):
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                reply = await self._request(protocol.StopJob())
                while isinstance(reply, protocol.ProgressReply):
                    reply = await self._read_response()
        return reply.struck if isinstance(reply, protocol.JobEnded) else None

    async def _request(self, request: protocol.ControlRequest) -> protocol.ControlResponse:
        self._writer.write(protocol.encode_message(request))
        return await self._read_response()

    async def _read_response(self) -> protocol.ControlResponse:
        try:
            line = await self._reader.readline()
        except ValueError:
            raise ProtocolError(f"the daemon sends a line of over {protocol.MAX_LINE_BYTES:,} bytes") from None
        if not line.endswith(b"\n"):
            raise DaemonRefused("the daemon has stopped: see its log", 69)
        return protocol.decode_response(line)


class DirectMachine:
    """A machine whose line this command has opened."""

    def __init__(self, tty: Teletype) -> None:
        self._tty = tty
        self.profile, self.is_shared = tty.profile, False

    @property
    def struck(self) -> int:
        return self._tty.counters.struck

    async def run_job(self, job: Job, on_progress: OnJobProgress) -> bytes:
        struck_before, total, rows = self._tty.counters.struck, job_size(job), b""
        try:
            async with self._tty.until_break() as scope:
                rows = await run_job(self._tty, job, lambda done: on_progress(done, total))
        except asyncio.CancelledError:
            raise cancelled_after(await self._end_line(struck_before)) from None
        if scope.is_broken:
            raise stopped_by_operator(await self._end_line(struck_before))
        return rows

    async def _end_line(self, struck_before: int) -> int:
        """Returns the number of struck characters, after the carriage is back at a clean margin."""
        struck = self._tty.counters.struck - struck_before
        await self._tty.fresh_line()
        await self._tty.finish()
        return struck


def stopped_by_operator(struck: int) -> StoppedByOperator:
    return StoppedByOperator(f"stopped by BREAK after {struck} characters")


def cancelled_after(struck: int) -> asyncio.CancelledError:
    return asyncio.CancelledError(f"stopped after {struck} characters")


def _expect(kind: type[ResponseT], response: protocol.ControlResponse) -> ResponseT:
    """Returns the response if it is of that kind. Raises DaemonRefused, ProtocolError."""
    if isinstance(response, protocol.RefusedReply):
        raise DaemonRefused(response.why, response.code)
    if not isinstance(response, kind):
        raise ProtocolError("a daemon that gives an unexpected response: is it of the same version?")
    return response


async def _find_daemon(port: str | None, stack: AsyncExitStack) -> DaemonConnection | None:
    """Returns the daemon that has this line; without a line, the only one. Raises ConfigError if there are several."""
    daemons = await _connect_to_all(stack)
    if port is not None:
        return next((daemon for report, daemon in daemons if _is_same_line(report.line, port)), None)
    if len(daemons) > 1:
        lines = ", ".join(report.line for report, _ in daemons)
        raise ConfigError(f"several daemons run: choose a line with --line: {lines}")
    return daemons[0][1] if daemons else None


async def _connect_to_all(stack: AsyncExitStack) -> list[tuple[protocol.StatusReport, DaemonConnection]]:
    daemons: list[tuple[protocol.StatusReport, DaemonConnection]] = []
    for path in _find_sockets():
        with contextlib.suppress(OSError, TimeoutError, ProtocolError, DaemonRefused, ValueError):
            daemon = DaemonConnection(*await asyncio.open_unix_connection(path, limit=protocol.MAX_LINE_BYTES))
            stack.push_async_callback(daemon.close)
            daemons.append((await daemon.fetch_status(), daemon))
    return daemons


def _find_sockets() -> list[Path]:
    sockets: list[Path] = []
    for folder in paths.socket_folders():
        with contextlib.suppress(OSError):
            if folder.is_relative_to(tempfile.gettempdir()) and folder.stat().st_uid not in (os.getuid(), 0):
                continue  # another user may have made the folder
            sockets += sorted(path for path in folder.iterdir() if path.suffix == ".sock")
    return list(dict.fromkeys(sockets))


def _is_same_line(first: str, second: str) -> bool:
    """Whether two names lead to the same port; links of /dev/serial/by-id and of a virtual machine are followed."""
    is_url = "://" in first or "://" in second
    return first == second or (not is_url and os.path.realpath(first) == os.path.realpath(second))
