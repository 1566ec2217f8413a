"""A server from its first socket to its last word: where it may listen, when it is ready, how it goes down.

Knows signals, descriptors and systemd; nothing of what is asked or answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from daemon.systemd import SystemdNotifier
from model.errors import EngineFailed, ModelError
from model.server.api_keys import ApiKeys
from model.server.app import CompletionServer
from model.server.http.connections import ConnectionLimits
from model.server.http.server import BACKLOG, HardenedServer
from model.server.middleware import error_location as place_of

SEND_BUFFER_BYTES = 32_768  # bytes in the kernel's buffer of a connection, which would take whole answers
SPARE_DESCRIPTORS = 64  # descriptors that are no connections
STATUS_INTERVAL_S = 5.0  # so often systemd hears of it
LOADING_EXTENSION_S = 60.0  # and is asked to wait so much longer for a model that loads

LOADING_LOG_INTERVAL_S = 10.0  # so often a person who waits for it does

AliveCheck = Callable[[], Awaitable[None]]

_BIND_ERRORS = {
    errno.EADDRINUSE: ("is taken: --port N names another", 69),
    errno.EACCES: ("is not yours to take: --port N above 1023", 77),
    errno.EADDRNOTAVAIL: ("is no address of this computer: see ip address", 68),
}

log = logging.getLogger("asr33.serve")


class Unservable(Exception):
    """Nobody can be served this way; `exit_code` as in sysexits.h."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def require_keys_for(host: str, has_keys: bool) -> None:
    """Raises Unservable: nobody but this computer without keys."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            return
    if host != "localhost" and not has_keys:
        raise Unservable(f"at {host} anybody could ask: --keys FILE says who may, one key a line", 78)


def tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """For https; None where no certificate is given. Raises Unservable."""
    if cert is None:
        if key is not None:
            raise Unservable("--cert-key without --cert: give both, or neither", 78)
        return None
    for path in filter(None, (cert, key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise Unservable(f"{path}: {error.strerror}; --cert and --cert-key name PEM files", 66) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError):
        raise Unservable(f"{cert}: no certificate with its key, in PEM and without a password", 65) from None
    return context


def limit_to_descriptors(max_connections: int) -> int:
    """As many connections as this process may have, once it has asked for all that it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    room = soft - SPARE_DESCRIPTORS - min(BACKLOG, soft // 4)
    if soft == resource.RLIM_INFINITY or max_connections <= room:
        return max_connections
    log.warning("asr33: %d connections at most: ulimit -n says %d", room, soft)
    return room


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Where it is to listen. Raises Unservable."""
    try:
        return bind_sockets(host, port)
    except (socket.gaierror, UnicodeError):
        raise Unservable(f"{host}: no such host; --host takes an address of this computer", 68) from None
    except OSError as error:
        why, code = _BIND_ERRORS.get(error.errno or 0, (f"cannot be listened at ({error.strerror})", 71))
        raise Unservable(f"{host} port {port} {why}", code) from None


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of the host. Raises OSError, of which socket.gaierror is one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(_bind_socket(family, address if port or not sockets else _at_port_of(sockets[0], address)))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _at_port_of(first: socket.socket, address: tuple[Any, ...]) -> tuple[Any, ...]:
    return (address[0], first.getsockname()[1], *address[2:])


def _bind_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: else asyncio leaves Nagle on
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # whoever is accepted has it as well
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a reader whose power is cut does not say good-bye
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(ConnectionLimits().unread_s * 1000))
        made.bind(address)
        made.listen(BACKLOG)  # now: two may bind the same port as long as neither listens
    except OSError:
        made.close()
        raise
    return made


def socket_url(listener: socket.socket, is_tls: bool) -> str:
    """As a client has it."""
    host, port = listener.getsockname()[:2]
    return url_of(host, port, is_tls)


def url_of(host: str, port: int, is_tls: bool) -> str:
    return f"http{'s' if is_tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


async def _assume_alive() -> None:
    """For an engine that is not to be asked."""


async def serve_until_signal(
    server: CompletionServer,
    http_server: HardenedServer,
    sockets: Sequence[socket.socket],
    drain_s: float,
    status_line: str,
    notify: SystemdNotifier,
    check_alive: AliveCheck = _assume_alive,
) -> int:
    """Until a signal, and the end of what was under way then.

    Raises ModelError if the model does not load, or fails, and Unservable if nobody can come in any more.
    `sound` returns as long as the model's engine goes round, and raises what it failed by.
    """
    leaving = asyncio.Event()
    _install_signal_handlers(leaving.set, server.keys)
    asyncio.get_running_loop().set_exception_handler(_log_loop_error)
    open_ = asyncio.ensure_future(http_server.serve_sockets(sockets))
    pulse = asyncio.ensure_future(_feed_watchdog(server, notify, check_alive))
    try:
        if await _wait_until_loaded(server, leaving, open_):
            log.info("asr33: %s", status_line)
            notify.send_ready(status_line)
            await _wait_for_signal(server, leaving, pulse, open_)
        else:
            log.info("asr33: it ends when %s is loaded; a second signal does not wait", server.name)
        notify.send_stopping(f"{len(server.clients)} lines open")
        notify.extend_timeout(drain_s + LOADING_EXTENSION_S)
        log.info("asr33: going down; %d lines are open, %g s for them", len(server.clients), drain_s)
        await server.drain(drain_s)
    finally:
        pulse.cancel()
        http_server.stop()
        await asyncio.wait((open_,))
        await server.model.close()
    await open_
    return 0


async def _wait_until_loaded(server: CompletionServer, signalled: asyncio.Event, serving: asyncio.Future[None]) -> bool:
    """Whether it was loaded before it had to leave. Raises Unservable."""
    log.info("asr33: loading %s", server.name)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    loading, left = asyncio.ensure_future(server.open_when_loaded()), asyncio.ensure_future(signalled.wait())
    try:
        ends = (loading, left, serving)
        while not (await asyncio.wait(ends, timeout=LOADING_LOG_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED))[0]:
            log.info("asr33: still loading %s: %d s", server.name, loop.time() - begun)
        _require_serving(serving)
        if loading.done():
            loading.result()
        return loading.done()
    finally:
        for task in (loading, left):
            task.cancel()
        await asyncio.wait((loading, left))


async def _wait_for_signal(
    server: CompletionServer, signalled: asyncio.Event, watchdog: asyncio.Future[None], serving: asyncio.Future[None]
) -> None:
    """Until it has to leave. Raises ModelError if the engine fails, for nobody can be served by it, and Unservable."""
    left = asyncio.ensure_future(signalled.wait())
    await asyncio.wait((left, watchdog, serving), return_when=asyncio.FIRST_COMPLETED)
    left.cancel()
    _require_serving(serving)
    if watchdog.done() and (error := watchdog.exception()):
        server.state = "failed"
        # Not as what it is: a model that was whole when it was loaded is no reason not to start again.
        why = error if isinstance(error, ModelError) else place_of(error)
        raise EngineFailed(f"the engine failed ({why}): start it again")


def _require_serving(serving: asyncio.Future[None]) -> None:
    """Raises Unservable where the porch is shut, whatever shut it."""
    if serving.done():
        error = serving.exception()
        why = getattr(error, "strerror", None) or (place_of(error) if isinstance(error, Exception) else "it is shut")
        raise Unservable(f"nobody can come in ({why}): start it again", 71) from None


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Not by its own words, as asyncio has it: they might be a reader's."""
    error = context.get("exception")
    log.error("asr33: %s%s", context.get("message", ""), f" ({place_of(error)})" if error else "")


async def _feed_watchdog(server: CompletionServer, notify: SystemdNotifier, check_alive: AliveCheck) -> None:
    """systemd is told how it is, as long as this loop goes round, and the engine."""
    every_s = STATUS_INTERVAL_S if notify.watchdog_s is None else min(STATUS_INTERVAL_S, notify.watchdog_s / 2)
    while True:
        if server.state == "loading":
            notify.extend_timeout(LOADING_EXTENSION_S)
        else:
            await check_alive()
        notify.send_watchdog()
        notify.send_status(f"{server.state}, {len(server.clients)} lines")
        await asyncio.sleep(every_s)


def _install_signal_handlers(stop: Callable[[], None], keys: ApiKeys | None) -> None:
    """The first signal ends it well, the second at once. A terminal that is closed is one; else SIGHUP is for keys."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    def read() -> None:
        if keys is not None:
            try:
                keys.reload()
                log.info("asr33: %d keys", len(keys))
            except ModelError as error:
                log.warning("asr33: %s; the keys before it hold", error)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        at_terminal = sys.stderr is not None and sys.stderr.isatty()
        loop.add_signal_handler(signal.SIGHUP, first if at_terminal else read)
