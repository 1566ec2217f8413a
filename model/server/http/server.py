"""uvicorn with a connection limit, small buffers, and timeouts for slow headers, unread answers, refused bodies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from asyncio import sslproto
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.server import refusals
from model.server.http.connections import ConnectionLimiter
from model.server.http.half_close import HalfCloseProbe
from model.server.http.request_parser import RequestParser
from model.server.http.sockets import BACKLOG
from model.server.http.wire import LingeringTransport, encode_error
from model.server.refusals import HttpError

WRITE_BUFFER_BYTES = 16_384  # of an answer, which may wait in this process for a client
READ_BYTES = 8192  # in one read; no more than the largest header
TLS_HANDSHAKE_S = 10.0
TLS_READ_BYTES = 17_408  # in one read: a whole record (RFC 8446 5.2)
ACCEPTS_PER_TURN = 16  # connections that asyncio accepts before other work
FORCED_CLOSE_S = 2  # for answers that are still open at the shutdown

# What a connection waits for; "" while the server computes an answer.
Phase = Literal["", "header", "body", "idle", "linger"]


class HttpConnection(H11Protocol):
    """One connection, with a timeout for each phase."""

    transport: asyncio.Transport

    def __init__(self, limiter: ConnectionLimiter, **options: Any) -> None:
        super().__init__(**options)
        self.conn: RequestParser = RequestParser(limiter.limits.header_bytes)
        self._limiter = limiter
        self._phase: Phase = ""
        self._phase_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._half_close_probe: HalfCloseProbe | None = None
        self._has_received = self._is_closing = self._is_admitted = False

    # The argument is narrower than asyncio's, as uvicorn's is: all connections are streams.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if hasattr(transport, "max_size"):  # of asyncio's socket transports; its default is 256 KB
            transport.max_size = READ_BYTES
        self.transport = cast(asyncio.Transport, LingeringTransport(transport, self._should_linger))
        peer = transport.get_extra_info("peername")
        if self.client is None and isinstance(peer, tuple):  # the client has gone already
            self.client = (str(peer[0]), 0)
        self._is_admitted = self._limiter.admit(self)
        self._enter_phase("header" if self._is_admitted else "linger")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        for timer in (self._phase_timer, self._unread_timer, self._half_close_probe):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._has_received = True
        if not self._is_admitted:
            self._send_final(refusals.CONNECTIONS_FULL.error())
            return
        super().data_received(data)
        if self._is_closing:
            return
        if self._is_answering:
            self._enter_phase("body" if self.conn.their_state is h11.SEND_BODY else "")
        elif self._phase == "idle" and self.conn.trailing_data[0]:
            self._enter_phase("header")

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps the connection while an answer is open, because the client may have closed only its sending half.

        With TLS the end of the client's data ends the connection, because asyncio closes it. So it does for an answer
        that says so in its scope.
        """
        is_tls = self.transport.get_extra_info("sslcontext") is not None
        if self._is_answering and self.scope["state"].get("ends_at_eof"):
            return False
        if is_tls or self._is_closing or not (self._is_answering and self.conn.has_whole_request):
            return False
        if self._half_close_probe is None:
            self._half_close_probe = HalfCloseProbe(self.loop, self._write_probe)
        return True

    def _write_probe(self, may_send_interim: bool) -> bool:
        """Writes what the client ignores, in a stream or before an answer. Returns whether it did."""
        if self.transport.is_closing() or not self._is_answering or self.transport.get_write_buffer_size():
            return False
        event: h11.Data | h11.InformationalResponse
        if self.cycle.response_started and (filler := self.scope["state"].get("filler")):
            event = h11.Data(data=filler)
        elif self.cycle.response_started or not may_send_interim or self.scope["http_version"] == "1.0":
            return False
        else:
            event = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
        self.transport.write(self.conn.send(event) or b"")
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may start the next request
        if self._half_close_probe and not self._is_answering:
            self.transport.close()
            return
        self._enter_phase("" if self._is_answering else "linger" if self.conn.their_state is h11.SEND_BODY else "idle")

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if self._phase == "linger" or (self._is_answering and self.cycle.response_started):
            self.abort()  # a status was sent already
        else:
            if self._is_answering:
                self.cycle.disconnected = True  # so that the application does not wait for the rest of the body
                self.cycle.message_event.set()
            self._send_final(refusals.malformed_http(status))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self._limiter.limits.unread_s, self._abort_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def shutdown(self) -> None:
        if self._is_answering:
            super().shutdown()
        else:
            self.abort()

    def abort(self) -> None:
        """Closes at once. A client that is sending a body gets an error first."""
        if self._phase == "body" and not self._is_closing and not self.cycle.response_started:
            self.transport.write(encode_error(refusals.CONNECTIONS_FULL.error()))
        self._is_closing = True
        self.transport.abort()

    def _should_linger(self) -> bool:
        """Whether the client still sends a body. If so, all further data is discarded."""
        self._is_closing = self.conn.their_state is h11.SEND_BODY
        return self._is_closing

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _enter_phase(self, phase: Phase) -> None:
        """Starts the timeout of a new phase. In an unchanged phase the timeout goes on."""
        if phase == self._phase:
            return
        if self._phase_timer is not None:
            self._phase_timer.cancel()
        self._phase = phase
        limits = self._limiter.limits
        seconds = {"header": limits.header_s, "idle": limits.idle_s, "linger": limits.linger_s}.get(phase)
        if seconds is not None:
            self._phase_timer = self.loop.call_later(seconds, self._on_timeout)
        if phase and self._is_admitted:
            self._limiter.mark_idle(self)
        else:
            self._limiter.mark_active(self)

    def _on_timeout(self) -> None:
        if self._phase == "header" and self._has_received and not self._is_closing:
            self._send_final(refusals.SLOW_HEADER.error())
        else:
            self.abort()

    def _abort_unread(self) -> None:
        self._limiter.aborted_count += 1
        self.abort()

    def _send_final(self, error: HttpError) -> None:
        """Answers without uvicorn, discards all further data, and closes after a while.

        If a socket is closed with unread data, the answer is lost (RFC 9112 9.6).
        """
        self._is_closing = True
        self._limiter.record_refusal(error.failure.status, self.client[0] if self.client else "unix")
        self._enter_phase("linger")
        if not self.transport.is_closing():
            self.transport.write(encode_error(error))
            if self.transport.can_write_eof():
                self.transport.write_eof()


class HardenedServer(uvicorn.Server):
    """uvicorn on open sockets. The caller handles signals and the application's lifespan."""

    def __init__(self, app: Any, limiter: ConnectionLimiter, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=H11Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=limiter.limits.header_bytes,
                timeout_keep_alive=int(limiter.limits.idle_s) + 1,
            )
        )
        self._limiter, self._tls = limiter, tls
        if tls is not None:
            sslproto.SSLProtocol.max_size = TLS_READ_BYTES  # asyncio's 256 KB apply even to unfinished handshakes
        self._stopped = asyncio.Event()
        for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):  # which log paths and addresses
            logging.getLogger(name).disabled = True

    async def serve_sockets(self, sockets: Sequence[socket.socket]) -> None:
        """Serves until `stop`, then gives open answers FORCED_CLOSE_S seconds."""
        await self._serve(list(sockets))

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """Replaces uvicorn's loop, which wakes ten times a second to check for the end."""
        tick = 0
        while not await self.on_tick(tick):
            tick += 10  # because uvicorn renews the Date header at each tenth tick
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Replaces uvicorn's startup, to use `HttpConnection` and a timeout for TLS handshakes."""
        await self.lifespan.startup()
        state = {"server_state": self.server_state, "app_state": self.lifespan.state}
        make_connection = partial(HttpConnection, self._limiter, config=self.config, **state)
        timeout = None if self._tls is None else TLS_HANDSHAKE_S
        tls: dict[str, Any] = {"ssl": self._tls, "ssl_handshake_timeout": timeout, "ssl_shutdown_timeout": timeout}
        loop, self.servers = asyncio.get_running_loop(), []
        for listener in sockets or []:
            options = {"sock": listener, "backlog": ACCEPTS_PER_TURN, **tls}
            self.servers.append(await loop.create_server(make_connection, **options))
            listener.listen(BACKLOG)  # again, because asyncio uses `backlog` for the kernel's queue and for a turn
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Replaces uvicorn's shutdown, which polls ten times a second for the end of the answers."""
        for server in self.servers:
            server.close()
        for connection in self._open_connections():
            connection.shutdown()
        if tasks := set(self.server_state.tasks):
            for unfinished in (await asyncio.wait(tasks, timeout=FORCED_CLOSE_S))[1]:
                unfinished.cancel()
        # Finished connections close in a turn of the event loop; a client that reads slowly needs longer.
        has_unsent = any(connection.transport.get_write_buffer_size() for connection in self._open_connections())
        await asyncio.sleep(FORCED_CLOSE_S if has_unsent else 0)
        for connection in self._open_connections():
            connection.abort()
        await asyncio.sleep(0)

    def _open_connections(self) -> list[HttpConnection]:
        return [cast(HttpConnection, connection) for connection in self.server_state.connections]
