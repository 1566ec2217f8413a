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

from model.far.wire import Failure
from model.serving.door import refused
from tools.hall import Hall

HIGH_WATER = 16_384  # bytes that wait for a reader, in this process
READ = 8192  # bytes taken at once: a header that comes whole is no larger than one that comes in parts
HANDSHAKE_S = 10.0
TLS = 17_408  # bytes read at once: a record with all around it (RFC 8446 5.2)
BACKLOG = 4096  # connections that the kernel holds until they are taken in
AT_ONCE = 16  # that asyncio takes in at one go, before it does anything else
CRUMBS, CHUNK = 32, 512  # chunks that a body may have however small they are, and the least bytes of all others
FORCED_S = 2  # for what is still open when all is over


class _Lingering:
    """A connection that stays open for a while when something comes that was not read: see `Visitor._say`."""

    def __init__(self, below: asyncio.Transport, linger: Callable[[], bool]) -> None:
        self._below, self._linger = below, linger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def close(self) -> None:
        if self._linger() and self._below.can_write_eof() and not self._below.is_closing():
            self._below.write_eof()
        else:
            self._below.close()


class _Crumbs(h11.Connection):
    """h11, but not for a body in crumbs: a chunk of one byte costs as much as one of a thousand."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > CRUMBS + self._bytes // CHUNK:
                raise h11.RemoteProtocolError("a body in crumbs", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            self._chunks = self._bytes = 0
        return event


class Visitor(H11Protocol):
    """One connection, and its clock."""

    transport: asyncio.Transport

    def __init__(self, hall: Hall, **more: Any) -> None:
        super().__init__(**more)
        self.conn = _Crumbs(h11.SERVER, hall.patience.header)
        self._hall = hall
        self._waits_for = ""  # header, body, idle, rest; nothing while an answer is made
        self._clock: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._heard = self._leaving = self._admitted = False

    # uvicorn narrows the argument as well: a connection of ours is a stream.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        if hasattr(transport, "max_size"):  # a socket's own; asyncio would take 256 KB
            transport.max_size = READ
        self.transport = cast(asyncio.Transport, _Lingering(transport, self._linger))
        self._admitted = self._hall.enter(self)
        self._wait("header" if self._admitted else "rest")

    def connection_lost(self, exc: Exception | None) -> None:
        self._hall.left(self)
        for clock in (self._clock, self._unread):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        self._heard = True
        if not self._admitted:
            self._say(refused(503, "all lines are taken", "busy").failure)
            return
        super().data_received(data)
        if self._leaving:
            return
        if self._busy:
            self._wait("body" if self.conn.their_state is h11.SEND_BODY else "")
        elif self._waits_for == "idle":
            self._wait("header")

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may begin the next request
        self._wait("" if self._busy else "rest" if self.conn.their_state is h11.SEND_BODY else "idle")

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if self._waits_for == "rest" or (self._busy and self.cycle.response_started):
            self.leave()  # what was said cannot be taken back
        else:
            if self._busy:
                self.cycle.disconnected = True  # for the app, which waits for the rest of a body
                self.cycle.message_event.set()
            self._say(refused(status, HTTPStatus(status).phrase.lower(), "not_http").failure)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._hall.patience.unread_s, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def shutdown(self) -> None:
        if self._busy:
            super().shutdown()
        else:
            self.leave()

    def leave(self) -> None:
        """At once; who is in mid-body hears why."""
        if self._waits_for == "body" and not self._leaving and not self.cycle.response_started:
            self.transport.write(_response(refused(503, "all lines are taken", "busy").failure))
        self._leaving = True
        self.transport.abort()

    def _linger(self) -> bool:
        """Whether something still comes; what does is not heard any more."""
        self._leaving = self.conn.their_state is h11.SEND_BODY
        return self._leaving

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, what: str) -> None:
        """The clock begins anew for something else, and only then."""
        if what == self._waits_for:
            return
        if self._clock is not None:
            self._clock.cancel()
        self._waits_for = what
        patience = self._hall.patience
        seconds = {"header": patience.header_s, "idle": patience.idle_s, "rest": patience.rest_s}.get(what)
        if seconds is not None:
            self._clock = self.loop.call_later(seconds, self._too_late)
        if what and self._admitted:
            self._hall.waits(self)
        else:
            self._hall.asked(self)

    def _too_late(self) -> None:
        if self._waits_for == "header" and self._heard and not self._leaving:
            self._say(refused(408, "a header that took too long", "slow_header").failure)
        else:
            self.leave()

    def _cut(self) -> None:
        self._hall.cut += 1
        self.leave()

    def _say(self, failure: Failure) -> None:
        """The last word, past uvicorn; then nothing is heard any more, but for a moment the door is held open.

        To close with something unread would take back what was said (RFC 9112 9.6).
        """
        self._leaving = True
        self._wait("rest")
        if not self.transport.is_closing():
            self.transport.write(_response(failure))
            if self.transport.can_write_eof():
                self.transport.write_eof()


def _response(failure: Failure) -> bytes:
    body = json.dumps(failure.to_json()).encode()
    again = "Retry-After: 5\r\n" if failure.status == 503 else ""
    return (
        f"HTTP/1.1 {failure.status} {HTTPStatus(failure.status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{again}Connection: close\r\n\r\n"
    ).encode() + body


class Porch(uvicorn.Server):
    """uvicorn at sockets that are open already; signals, and what the app does first and last, are not its business."""

    def __init__(self, app: Any, hall: Hall, context: ssl.SSLContext | None = None) -> None:
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
                h11_max_incomplete_event_size=hall.patience.header,
                timeout_keep_alive=int(hall.patience.idle_s) + 1,
            )
        )
        self._hall, self._context = hall, context
        if context is not None:
            sslproto.SSLProtocol.max_size = TLS  # asyncio has 256 KB for each, handshakes that never end among them
        self._over = asyncio.Event()
        for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):  # which would say what was asked for
            logging.getLogger(name).disabled = True

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Until `leave`; then what is open has a moment."""
        await self._serve(list(sockets))

    def leave(self) -> None:
        self.should_exit = True
        self._over.set()

    async def main_loop(self) -> None:
        """As uvicorn's own, which looks ten times a second whether it is over."""
        tick = 0
        while not await self.on_tick(tick):
            tick += 10  # it dates the answers anew at each tenth
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, with our visitors and an end to handshakes."""
        await self.lifespan.startup()
        made = partial(
            Visitor, self._hall, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        loop, context = asyncio.get_running_loop(), self._context
        seconds = None if context is None else HANDSHAKE_S
        self.servers = [
            await loop.create_server(
                made,
                sock=each,
                ssl=context,
                backlog=AT_ONCE,
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
        for visitor in self._inside():
            visitor.shutdown()
        if tasks := set(self.server_state.tasks):
            for late in (await asyncio.wait(tasks, timeout=FORCED_S))[1]:
                late.cancel()
        # Once round, in which what has ended is closed; longer where there is somebody who reads slowly.
        unsent = any(visitor.transport.get_write_buffer_size() for visitor in self._inside())
        await asyncio.sleep(FORCED_S if unsent else 0)
        for visitor in self._inside():
            visitor.leave()
        await asyncio.sleep(0)

    def _inside(self) -> list[Visitor]:
        return [cast(Visitor, each) for each in self.server_state.connections]
