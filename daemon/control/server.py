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

from daemon import paths
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
from daemon.errors import ProtocolError
from daemon.session import TeletypeSession
from drivers.errors import DriverError
from drivers.teletype import Teletype

MAX_CONNECTIONS = 8
IDLE_TIMEOUT_S = 600.0  # somebody may be sent to the machine to put a tape in
_MAX_UNREAD_BYTES = 1 << 16  # not yet taken by the caller: progress need not be told
_MAX_NAME_CHARS = 20  # a socket's path may have 108 bytes with its folder - unix(7)
EX_TEMPFAIL, EX_PROTOCOL = 75, 76  # sysexits.h

_log = logging.getLogger("asr33")


def file_name_for_line(port: str) -> str:
    """A file name for a line, the same for the same line."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', port).strip('-')[-_MAX_NAME_CHARS:]}-{zlib.crc32(os.fsencode(port)):08x}"


@asynccontextmanager
async def serve_control(session: TeletypeSession, port: str) -> AsyncIterator[None]:
    """Callers are heard in here. A socket that cannot be is told of, and the daemon goes on without."""
    path = paths.user_socket_folders()[0] / f"{file_name_for_line(port)}.sock"
    calls: set[asyncio.Task[None]] = set()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        task.add_done_callback(calls.discard)
        await _handle_connection(session, port, reader, writer, over_limit=len(calls) > MAX_CONNECTIONS)

    try:
        _prepare_socket_path(path)
        server = await asyncio.start_unix_server(call, path, limit=protocol.MAX_LINE_BYTES)
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


def _prepare_socket_path(path: Path) -> None:
    """A folder that no one else can put anything in, and no socket of a daemon that was killed. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{path.parent} is not a folder that this user alone may write to")
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(os.fspath(path))
        raise OSError("another daemon answers there")
    path.unlink(missing_ok=True)


async def _handle_connection(
    session: TeletypeSession, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, over_limit: bool
) -> None:
    caller = _Connection(session, port, reader, writer)
    try:
        if over_limit:
            caller.send(RefusedReply("too many are asking at once: try again", EX_TEMPFAIL))
        else:
            await caller.serve()
        await writer.drain()
    except (ConnectionError, TimeoutError):
        pass
    except asyncio.CancelledError:  # not raised on: whoever cancels us only waits for the end
        caller.send(RefusedReply("the daemon is leaving", EX_TEMPFAIL))
    finally:
        writer.close()


class _Connection:
    """One connection. An order is answered before the next is read; anything that comes sooner ends it."""

    def __init__(
        self, session: TeletypeSession, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._session, self._port, self._reader, self._writer = session, port, reader, writer
        self._struck_before = 0  # when the last order began

    async def serve(self) -> None:
        """To the end of the call."""
        while line := await self._read_line():
            match self._decode_request(line):
                case StatusRequest():
                    self.send(self._status_report())
                case Acquire(wait=wait):
                    await self._lease_machine(wait)
                case PrintJob() | PunchJob() | ReadTapeJob():
                    self.send(RefusedReply("take the machine first", EX_PROTOCOL))

    def send(self, response: protocol.ControlResponse) -> None:
        if isinstance(response, ProgressReply) and self._writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            return
        self._writer.write(protocol.encode_message(response))

    async def _read_line(self) -> bytes:
        """The next one; nothing when the caller has left, or has said nothing for too long, or too much."""
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                line = await self._reader.readline()
        except ValueError:
            self.send(RefusedReply(f"a line of over {protocol.MAX_LINE_BYTES:,} bytes", EX_PROTOCOL))
            return b""
        return line if line.endswith(b"\n") else b""

    def _decode_request(self, line: bytes) -> protocol.ControlRequest | None:
        try:
            return protocol.decode_request(line)
        except ProtocolError as error:
            self.send(RefusedReply(str(error), EX_PROTOCOL))
            return None

    def _status_report(self) -> StatusReport:
        tty = self._session.tty
        return StatusReport(
            self._port,
            self._session.activity,
            self._busy_reason(),
            self._session.adapter_info,
            asdict(tty.status()),
            asdict(tty.profile),
        )

    def _busy_reason(self) -> str:
        if self._session.is_idle and not self._session.leases:
            return ""
        doing = "somebody types" if self._session.listening.is_set() else f"it is {self._session.activity}"
        return f"the machine is busy ({doing}): try again, or say --wait"

    async def _lease_machine(self, wait: bool) -> None:
        if not wait and (busy := self._busy_reason()):
            self.send(RefusedReply(busy, EX_TEMPFAIL))
            return
        tty = self._session.tty
        with self._session.leases.request_lease() as loan:
            if not self._session.is_idle:
                self.send(QueuedReply())
            if not await self._run_until_caller_speaks(loan.granted.wait()):
                return
            self.send(Acquired())
            self._struck_before = tty.counters.struck
            async with tty.until_break() as scope:
                await self._serve_lease(tty)
            if scope.is_broken:
                self.send(JobEnded("break", tty.counters.struck - self._struck_before))

    async def _serve_lease(self, tty: Teletype) -> None:
        """Those of a caller who has the machine, until he leaves it."""
        while line := await self._read_line():
            match order := self._decode_request(line):
                case StatusRequest():
                    self.send(self._status_report())
                case PrintJob() | PunchJob() | ReadTapeJob():
                    await self._run_job(tty, order)
                case StopJob():
                    return

    async def _run_job(self, tty: Teletype, job: PrintJob | PunchJob | ReadTapeJob) -> None:
        total, rows = job_size(job), b""
        self._struck_before = tty.counters.struck

        async def work() -> None:
            nonlocal rows
            rows = await run_job(tty, job, lambda done: self.send(ProgressReply(done, total)))

        try:
            done = await self._run_until_caller_speaks(work())
        except DriverError as error:
            self.send(RefusedReply(str(error), error.exit_code))
        else:
            self.send(JobEnded("done" if done else "stopped", tty.counters.struck - self._struck_before, rows))

    async def _run_until_caller_speaks(self, work: Coroutine[Any, Any, object]) -> bool:
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
