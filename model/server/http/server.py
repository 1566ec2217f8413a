"""What stands before the app: connections, how many, and how long each may dawdle. The only file that knows uvicorn.

uvicorn has no patience to lose with a header that never ends, an answer that nobody takes, or a body after a no; here
each has its time. Where all places are taken, the one who has waited longest without asking makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import sys
from asyncio import sslproto
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.openai_api.response import ErrorInfo
from model.server.http.connections import ConnectionLimiter
from model.server.limits import http_error

WRITE_BUFFER_BYTES = 16_384  # bytes that wait for a reader, in this process
READ_BYTES = 8192  # bytes taken at once: a header that comes whole is no larger than one that comes in parts
TLS_HANDSHAKE_S = 10.0
TLS_READ_BYTES = 17_408  # bytes read at once: a record with all around it (RFC 8446 5.2)
BACKLOG = 4096  # connections that the kernel holds until they are taken in
ACCEPTS_PER_TURN = 16  # that asyncio takes in at one go, before it does anything else
FREE_CHUNKS, MIN_CHUNK_BYTES = (
    32,
    512,
)  # chunks that a body may have however small they are, and the least bytes of all others
FORCED_CLOSE_S = 2  # for what is still open when all is over


class _LingeringTransport:
    """A connection that stays open for a while when something comes that was not read: see `Visitor._say`."""

    def __init__(self, below: asyncio.Transport, linger: Callable[[], bool]) -> None:
        self._transport, self._should_linger = below, linger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self._should_linger() and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        else:
            self._transport.close()


class _TinyChunkGuard(h11.Connection):
    """h11, but not for a body in crumbs: a chunk of one byte costs as much as one of a thousand."""

    _chunk_count = _byte_count = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunk_count += event.chunk_start
            self._byte_count += len(event.data)
            if self._chunk_count > FREE_CHUNKS + self._byte_count // MIN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("a body in crumbs", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            self._chunk_count = self._byte_count = 0
        return event


class HttpConnection(H11Protocol):
    """One connection, and its clock."""

    transport: asyncio.Transport

    def __init__(self, limiter: ConnectionLimiter, **more: Any) -> None:
        super().__init__(**more)
        self.conn = _TinyChunkGuard(h11.SERVER, limiter.limits.header_bytes)
        self._limiter = limiter
        self._phase = ""  # header, body, idle, rest; nothing while an answer is made
        self._phase_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._has_received = self._is_closing = self._is_admitted = False

    # uvicorn narrows the argument as well: a connection of ours is a stream.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if hasattr(transport, "max_size"):  # a socket's own; asyncio would take 256 KB
            transport.max_size = READ_BYTES
        self.transport = cast(asyncio.Transport, _LingeringTransport(transport, self._should_linger))
        self._is_admitted = self._limiter.admit(self)
        self._enter_phase("header" if self._is_admitted else "rest")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        for clock in (self._phase_timer, self._unread_timer):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._has_received = True
        if not self._is_admitted:
            self._send_final(http_error(503, "all lines are taken", "busy").failure)
            return
        super().data_received(data)
        if self._is_closing:
            return
        if self._is_answering:
            self._enter_phase("body" if self.conn.their_state is h11.SEND_BODY else "")
        elif self._phase == "idle":
            self._enter_phase("header")

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may begin the next request
        self._enter_phase("" if self._is_answering else "rest" if self.conn.their_state is h11.SEND_BODY else "idle")

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if self._phase == "rest" or (self._is_answering and self.cycle.response_started):
            self.abort()  # what was said cannot be taken back
        else:
            if self._is_answering:
                self.cycle.disconnected = True  # for the app, which waits for the rest of a body
                self.cycle.message_event.set()
            self._send_final(http_error(status, HTTPStatus(status).phrase.lower(), "not_http").failure)

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
        """At once; who is in mid-body hears why."""
        if self._phase == "body" and not self._is_closing and not self.cycle.response_started:
            self.transport.write(_encode_failure(http_error(503, "all lines are taken", "busy").failure))
        self._is_closing = True
        self.transport.abort()

    def _should_linger(self) -> bool:
        """Whether something still comes; what does is not heard any more."""
        self._is_closing = self.conn.their_state is h11.SEND_BODY
        return self._is_closing

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _enter_phase(self, phase: str) -> None:
        """The clock begins anew for something else, and only then."""
        if phase == self._phase:
            return
        if self._phase_timer is not None:
            self._phase_timer.cancel()
        self._phase = phase
        patience = self._limiter.limits
        seconds = {"header": patience.header_s, "idle": patience.idle_s, "rest": patience.linger_s}.get(phase)
        if seconds is not None:
            self._phase_timer = self.loop.call_later(seconds, self._on_timeout)
        if phase and self._is_admitted:
            self._limiter.mark_idle(self)
        else:
            self._limiter.mark_active(self)

    def _on_timeout(self) -> None:
        if self._phase == "header" and self._has_received and not self._is_closing:
            self._send_final(http_error(408, "a header that took too long", "slow_header").failure)
        else:
            self.abort()

    def _abort_unread(self) -> None:
        self._limiter.aborted_count += 1
        self.abort()

    def _send_final(self, failure: ErrorInfo) -> None:
        """The last word, past uvicorn; then nothing is heard any more, but for a moment the door is held open.

        To close with something unread would take back what was said (RFC 9112 9.6).
        """
        self._is_closing = True
        self._enter_phase("rest")
        if not self.transport.is_closing():
            self.transport.write(_encode_failure(failure))
            if self.transport.can_write_eof():
                self.transport.write_eof()


def _encode_failure(failure: ErrorInfo) -> bytes:
    body = json.dumps(failure.to_json()).encode()
    again = "Retry-After: 5\r\n" if failure.status == 503 else ""
    return (
        f"HTTP/1.1 {failure.status} {HTTPStatus(failure.status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{again}Connection: close\r\n\r\n"
    ).encode() + body


class HardenedServer(uvicorn.Server):
    """uvicorn at sockets that are open already; signals, and what the app does first and last, are not its business."""

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
            sslproto.SSLProtocol.max_size = (
                TLS_READ_BYTES  # asyncio has 256 KB for each, handshakes that never end among them
            )
        self._stopped = asyncio.Event()
        for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):  # which would say what was asked for
            logging.getLogger(name).disabled = True

    async def serve_sockets(self, sockets: Sequence[socket.socket]) -> None:
        """Until `leave`; then what is open has a moment."""
        await self._serve(list(sockets))

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """As uvicorn's own, which looks ten times a second whether it is over."""
        tick = 0
        while not await self.on_tick(tick):
            tick += 10  # it dates the answers anew at each tenth
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, with our visitors and an end to handshakes."""
        await self.lifespan.startup()
        made = partial(
            HttpConnection,
            self._limiter,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop, context = asyncio.get_running_loop(), self._tls
        seconds = None if context is None else TLS_HANDSHAKE_S
        self.servers = [
            await loop.create_server(
                made,
                sock=each,
                ssl=context,
                backlog=ACCEPTS_PER_TURN,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
            for each in sockets or []
        ]
        for each in sockets or []:
            each.listen(BACKLOG)  # again: to asyncio both are one number
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What is under way has a moment; uvicorn's own would look ten times a second whether it is done."""
        for server in self.servers:
            server.close()
        for visitor in self._open_connections():
            visitor.shutdown()
        if tasks := set(self.server_state.tasks):
            for late in (await asyncio.wait(tasks, timeout=FORCED_CLOSE_S))[1]:
                late.cancel()
        # Once round, in which what has ended is closed; longer where there is somebody who reads slowly.
        unsent = any(visitor.transport.get_write_buffer_size() for visitor in self._open_connections())
        await asyncio.sleep(FORCED_CLOSE_S if unsent else 0)
        for visitor in self._open_connections():
            visitor.abort()
        await asyncio.sleep(0)

    def _open_connections(self) -> list[HttpConnection]:
        return [cast(HttpConnection, each) for each in self.server_state.connections]
