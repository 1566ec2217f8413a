"""The daemon's side of the control socket: `asr33 print` and other commands use the machine while no operator types.

There is one Unix socket for each line, in a private folder of the user. A malformed request is refused with a reason;
the job of a caller that leaves is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import textwrap
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from daemon import paths
from daemon.control import protocol
from daemon.control.forget_messages import ForgetTexts, TextsForgotten
from daemon.control.jobs import Job, job_size, run_job
from daemon.control.request_reader import READ_AHEAD_BYTES, SHORT_LINE_BYTES, RequestReader
from daemon.control.spool_requests import answer_spool_request
from daemon.errors import DaemonError, ProtocolError
from daemon.people import ForgetScope
from daemon.session import TeletypeSession
from drivers.errors import DriverError
from drivers.teletype import Teletype

MAX_CONNECTIONS = 8
IDLE_TIMEOUT_S = 600.0  # the user may have to walk to the machine to put a tape in
CLOSE_TIMEOUT_S = 5.0  # for a caller that does not read its last replies
MAX_REASON_CHARS = 500  # of a refusal, which quotes a part of the request
_MAX_UNREAD_BYTES = 1 << 16  # a caller that has not read more gets no further progress
EX_TEMPFAIL, EX_PROTOCOL = 75, 76  # sysexits.h

_log = logging.getLogger("asr33")


@asynccontextmanager
async def serve_control(session: TeletypeSession, port: str) -> AsyncIterator[None]:
    """Serves callers until the block ends. If the socket cannot be opened, it logs a warning and serves none."""
    path = paths.user_socket_folders()[0] / f"{paths.line_file_name(port)}.sock"
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        await _Connection(session, port, reader, writer).handle(over_limit=len(connections) > MAX_CONNECTIONS)

    try:
        _prepare_socket_path(path)
        server = await asyncio.start_unix_server(handle, path, limit=READ_AHEAD_BYTES)
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
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _prepare_socket_path(path: Path) -> None:
    """Makes the private folder and removes the socket of a killed daemon. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.lstat()
    if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.getuid() or folder.st_mode & 0o022:
        raise OSError(f"{path.parent} is not a folder that this user alone may write to")
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(os.fspath(path))
        raise OSError("another daemon has this socket")
    path.unlink(missing_ok=True)


class _Connection:
    """One caller. Each request is answered before the next is served; StopJob during a job stops the job."""

    def __init__(
        self, session: TeletypeSession, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._session, self._port, self._writer = session, port, writer
        self._requests = RequestReader(reader)
        self._struck_before = 0  # characters struck before the current job

    async def handle(self, *, over_limit: bool) -> None:
        """Serves the caller until it leaves, or refuses it, and closes the connection."""
        try:
            if over_limit:
                self._refuse("the daemon has too many connections: try again", EX_TEMPFAIL)
            else:
                await self._serve()
            self._writer.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()  # also drops the replies that the caller does not read
        except asyncio.CancelledError:  # not raised again: the canceller only waits for the end
            self._refuse("the daemon is stopping", EX_TEMPFAIL)
        finally:
            self._writer.close()

    async def _serve(self) -> None:
        while line := await self._read_line():
            match self._decode_request(line):
                case protocol.StatusRequest():
                    self._send(self._status_report())
                case protocol.Acquire(wait=wait):
                    await self._lease_machine(wait)
                case protocol.SubmitJob() | protocol.ListJobs() | protocol.ChangeJobs() | protocol.ChangePaper() as ask:
                    self._send(await answer_spool_request(self._session.spool.desk, ask))
                case ForgetTexts(person=person, before=before):
                    self._forget_texts(ForgetScope(person, before))
                case protocol.StopJob() | None:
                    pass
                case _:
                    self._refuse("take the machine first", EX_PROTOCOL)

    def _forget_texts(self, scope: ForgetScope) -> None:
        try:
            results = [forget(scope) for forget in self._session.forget_stored]
        except (OSError, DaemonError) as error:
            self._refuse(f"not all is forgotten: {error}; see to the disk and try again", EX_TEMPFAIL)
            return
        files = [str(path) for path, _ in results if path is not None]
        self._send(TextsForgotten(files, sum(count for _, count in results)))

    def _send(self, response: protocol.ControlResponse) -> None:
        unread_bytes = self._writer.transport.get_write_buffer_size()
        if unread_bytes <= _MAX_UNREAD_BYTES or not isinstance(response, protocol.ProgressReply):
            self._writer.write(protocol.encode_message(response))

    def _refuse(self, reason: str, code: int) -> None:
        self._send(protocol.RefusedReply(textwrap.shorten(reason, MAX_REASON_CHARS), code))

    async def _read_line(self) -> bytes:
        """Returns the next line; an empty one if the caller left. Raises TimeoutError, ConnectionError.

        It refuses lines that are too long. A caller that does not read its replies is served no further, and between
        two requests the machine gets its next character.
        """
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            while True:
                await self._writer.drain()
                await asyncio.sleep(0)
                try:
                    return await self._requests.read_line()
                except ProtocolError as error:
                    self._refuse(str(error), EX_PROTOCOL)

    def _decode_request(self, line: bytes) -> protocol.ControlRequest | None:
        try:
            return protocol.decode_request(line)
        except ProtocolError as error:
            self._refuse(str(error), EX_PROTOCOL)
            return None

    def _status_report(self) -> protocol.StatusReport:
        session, tty = self._session, self._session.tty
        status, profile = asdict(tty.status()), asdict(tty.profile)
        busy, chip = self._busy_reason(), session.adapter_info
        return protocol.StatusReport(self._port, session.activity, busy, chip, status, profile)

    def _busy_reason(self) -> str:
        if self._session.is_idle and not self._session.leases:
            return ""
        doing = "the operator types" if self._session.listening.is_set() else f"it is {self._session.activity}"
        return f"the machine is busy ({doing}): try again, or say --wait"

    async def _lease_machine(self, wait: bool) -> None:
        if not wait and (busy := self._busy_reason()):
            self._refuse(busy, EX_TEMPFAIL)
            return
        tty = self._session.tty
        with self._session.leases.request_lease() as lease:
            if not self._session.is_idle:
                self._send(protocol.QueuedReply())
            if not await self._run_until_stopped(lease.granted.wait()):
                return
            self._send(protocol.Acquired())
            self._struck_before = tty.counters.struck
            # The machine prints for no other caller now, so that a long line may take its time to be parsed.
            self._requests.max_bytes = protocol.MAX_LINE_BYTES
            async with tty.until_break() as scope:
                await self._serve_lease(tty)
            self._requests.max_bytes = SHORT_LINE_BYTES
            if scope.is_broken:
                self._send(protocol.JobEnded("break", tty.counters.struck - self._struck_before))

    async def _serve_lease(self, tty: Teletype) -> None:
        """Runs the caller's jobs until it leaves."""
        while line := await self._read_line():
            match request := self._decode_request(line):
                case protocol.StatusRequest():
                    self._send(self._status_report())
                case protocol.PrintJob() | protocol.StrikeJob() | protocol.PunchJob() | protocol.ReadTapeJob():
                    await self._run_job(tty, request)
                case protocol.ForgetConversation():
                    for forget in self._session.forget_listeners:
                        forget()
                    await self._session.forget_conversation()
                    self._send(protocol.JobEnded("done", tty.counters.struck - self._struck_before))
                case protocol.StopJob():
                    return

    async def _run_job(self, tty: Teletype, job: Job) -> None:
        total, rows = job_size(job), b""
        self._struck_before = tty.counters.struck

        async def work() -> None:
            nonlocal rows
            rows = await run_job(tty, job, lambda done: self._send(protocol.ProgressReply(done, total)))

        try:
            is_complete = await self._run_until_stopped(work())
        except DriverError as error:
            self._refuse(str(error), error.exit_code)
        else:
            struck = tty.counters.struck - self._struck_before
            self._send(protocol.JobEnded("done" if is_complete else "stopped", struck, rows))

    async def _run_until_stopped(self, work: Coroutine[Any, Any, object]) -> bool:
        """Runs the work; cancels it if the caller sends StopJob or leaves. Returns whether the work was completed."""
        working, reading = asyncio.ensure_future(work), asyncio.ensure_future(self._requests.wait_for_stop())
        try:
            await asyncio.wait({working, reading}, return_when=asyncio.FIRST_COMPLETED)
            is_complete = working.done()
        finally:
            working.cancel()
            reading.cancel()
            results = await asyncio.gather(working, reading, return_exceptions=True)
        if is_complete and isinstance(results[0], Exception):
            raise results[0]
        return is_complete
