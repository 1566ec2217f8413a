"""Opens the listening sockets, checks keys, TLS and descriptors for them, and makes a fair event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import resource
import select
import selectors
import socket
import ssl
import stat
import sys
from pathlib import Path
from selectors import SelectorKey
from typing import Any

from model.errors import Kind, ModelError
from model.server.http.connections import ConnectionLimits
from model.store.regular_file import open_regular

BACKLOG = 4096  # connections that the kernel holds until they are accepted
SEND_BUFFER_BYTES = 32_768  # of the kernel, for each connection; its default holds whole answers
SPARE_DESCRIPTORS = 64  # for files other than connections
MAX_SOCKET_PATH_BYTES = 104 if sys.platform == "darwin" else 107  # of sun_path, without its last zero (unix(7))
SOCKETS_PER_TURN = 8  # that the event loop handles before other work

_NEW_SUFFIX = ".new"
_BIND_ERRORS: dict[int, tuple[str, Kind]] = {
    errno.EADDRINUSE: ("is taken: --port N names another", "unavailable"),
    errno.EACCES: ("is not yours to take: --port N above 1023", "denied"),
    errno.EADDRNOTAVAIL: ("is no address of this computer: see ip address", "no host"),
}

log = logging.getLogger("asr33.serve")


def require_keys_for(host: str, has_keys: bool) -> None:
    """Raises ModelError if the server has no API keys and other computers can reach the address."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            return
    if host != "localhost" and not has_keys:
        raise ModelError(f"{host} is open to other computers: list their API keys in a file, --keys FILE", "config")


def tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The context for https, None without a certificate. Raises ModelError."""
    if cert is None:
        if key is not None:
            raise ModelError("--cert-key without --cert: give both, or neither", "config")
        return None
    for path in filter(None, (cert, key)):
        try:
            open_regular(path).close()  # a FIFO would stall the start
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}; --cert and --cert-key name PEM files", "missing") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError):
        raise ModelError(f"{cert}: no certificate with its key, in PEM and without a password", "damaged") from None
    return context


def limit_to_descriptors(max_connections: int) -> int:
    """Raises the descriptor limit as far as possible. Returns how many of `max_connections` the limit allows."""
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
    """Listens at all addresses of the host. Raises ModelError."""
    host = host.removeprefix("[").removesuffix("]")  # as in a URL
    try:
        try:
            return bind_sockets(host, port)
        except OSError:
            if port:
                raise
            return bind_sockets(host, port)  # the first address got a free port that is taken at the second one
    except (socket.gaierror, UnicodeError):
        raise ModelError(f"{host}: no such host; --host takes an address of this computer", "no host") from None
    except OSError as error:
        default: tuple[str, Kind] = (f"cannot be listened at ({error.strerror})", "system")
        why, kind = _BIND_ERRORS.get(error.errno or 0, default)
        raise ModelError(f"{host} port {port} {why}", kind) from None


def open_unix_socket(path: Path, mode: int) -> socket.socket:
    """Listens at a path whose file has the permissions `mode`. Replaces the socket of a killed server.

    Raises ModelError if another server listens there, if the file is no socket, and if it cannot be made.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES - len(_NEW_SUFFIX):
        cure = f"at most {MAX_SOCKET_PATH_BYTES - len(_NEW_SUFFIX)} bytes, as the kernel allows"
        raise ModelError(f"{path} is too long for a socket: {cure}", "argument")
    try:
        _require_unused(path)
        # Under another name first: a file is never there without its permissions, or without a server.
        new_path = Path(f"{path}{_NEW_SUFFIX}")
        new_path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX)
        try:
            bound.bind(os.fspath(new_path))
            new_path.chmod(mode)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            bound.listen(BACKLOG)
            new_path.rename(path)
        except OSError:
            bound.close()
            new_path.unlink(missing_ok=True)
            raise
    except OSError as error:
        kind: Kind = "denied" if isinstance(error, PermissionError) else "create"
        raise ModelError(f"{path}: no socket can be made there ({error.strerror}); name another path", kind) from None
    return bound


def remove_unix_socket(path: Path, bound: socket.socket) -> None:
    """Removes the file, unless another server has replaced it meanwhile."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        bound.close()
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()


def _require_unused(path: Path) -> None:
    """Raises ModelError unless the path is free, or the socket of a server that has ended. Raises OSError."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ModelError(f"{path} is no socket: name a path that is free", "create")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    raise ModelError(f"{path} is taken: another server listens there", "unavailable")


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """Listens at all addresses of the host on one port; port 0 lets the kernel choose. Raises OSError, gaierror.

    The address `::` means all addresses of both families, as people expect, though the sockets are two.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if any(family == socket.AF_INET6 and address[0] == "::" for family, _, _, _, address in addresses):
        addresses += socket.getaddrinfo("0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            sockets.append(_bind_socket(family, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    return sockets


def _bind_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    # The protocol is named, because asyncio turns Nagle's algorithm off only for sockets of IPPROTO_TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # for a client that lost its power, and so sends no FIN
            timeout_ms = int(ConnectionLimits().unread_s * 1000)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        bound.bind(address)
        bound.listen(BACKLOG)  # at once, because two sockets can bind one port as long as neither listens
    except OSError:
        bound.close()
        raise
    return bound


def url_of(host: str, port: int, is_tls: bool) -> str:
    return f"http{'s' if is_tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def new_fair_loop() -> asyncio.AbstractEventLoop:
    """An event loop that handles a few sockets in each turn, and other work between the turns.

    asyncio handles all ready sockets in one turn: ten thousand requests at once would block all clients for seconds.
    """
    return asyncio.SelectorEventLoop(_FairSelector()) if hasattr(select, "epoll") else asyncio.new_event_loop()


class _FairSelector(selectors.EpollSelector):
    """Selects the sockets that have been ready longest. The kernel keeps their order (epoll_wait(2), notes)."""

    def __init__(self) -> None:
        super().__init__()
        # A duplicate, because both epoll objects close their descriptor.
        self._limited_epoll = select.epoll.fromfd(os.dup(self.fileno()))

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        wait_s = -1.0 if timeout is None else max(timeout, 0.0)
        try:
            ready = self._limited_epoll.poll(wait_s, SOCKETS_PER_TURN)
        except InterruptedError:
            return []
        sockets, selected = self.get_map(), []
        for descriptor, events in ready:
            if (key := sockets.get(descriptor)) is not None:
                writable = selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
                readable = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
                selected.append((key, (readable | writable) & key.events))
        return selected

    def close(self) -> None:
        self._limited_epoll.close()
        super().close()
