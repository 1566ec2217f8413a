"""Runs a server process: loads the model, serves, drains after a signal, and reports to the service manager."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from model.errors import EngineFailed, ModelError
from model.server.app import CompletionServer
from model.server.http.server import HardenedServer
from model.server.refusals import error_location, is_lost_connection

STATUS_INTERVAL_S = 5.0  # between two reports to the service manager
LOADING_EXTENSION_S = 60.0  # by which the service manager's start timeout is extended while a model loads
LOADING_LOG_INTERVAL_S = 10.0

AliveCheck = Callable[[], Awaitable[None]]

log = logging.getLogger("asr33.serve")


class ServiceManager(Protocol):
    """Receives reports of the server's state, such as systemd."""

    watchdog_s: float | None

    def send_ready(self, status: str = "") -> None: ...
    def send_stopping(self, status: str = "") -> None: ...
    def send_status(self, status: str) -> None: ...
    def send_watchdog(self) -> None: ...
    def extend_timeout(self, seconds: float) -> None: ...


async def serve_until_signal(
    server: CompletionServer,
    http_server: HardenedServer,
    sockets: Sequence[socket.socket],
    drain_s: float,
    status_line: str,
    notify: ServiceManager,
    check_alive: AliveCheck | None = None,
) -> int:
    """Serves until a signal, then drains for `drain_s` seconds at most. Returns the exit code.

    `check_alive` raises the error that the engine failed with. Raises ModelError if the model cannot be loaded, or if
    the engine or the sockets fail.
    """
    signalled = asyncio.Event()
    _install_signal_handlers(signalled.set, server.keys.reload if server.keys else lambda: None)
    asyncio.get_running_loop().set_exception_handler(_log_loop_error)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # its warnings say only that a client has gone
    serving = asyncio.ensure_future(http_server.serve_sockets(sockets))
    watchdog = asyncio.ensure_future(_feed_watchdog(server, notify, check_alive))
    try:
        if await _wait_until_loaded(server, signalled, serving):
            log.info("asr33: %s", status_line)
            notify.send_ready(status_line)
            await _wait_for_signal(server, signalled, watchdog, serving)
        else:
            log.info("asr33: the server ends when %s is loaded; a second signal ends it at once", server.name)
        notify.send_stopping(f"{len(server.clients)} answers open")
        notify.extend_timeout(drain_s + LOADING_EXTENSION_S)
        log.info("asr33: going down; %d open answers have %g s to finish", len(server.clients), drain_s)
        await server.drain(drain_s)
    finally:
        watchdog.cancel()
        http_server.stop()
        await asyncio.wait((serving,))
        await server.model.close()
    await serving
    return 0


async def _wait_until_loaded(server: CompletionServer, signalled: asyncio.Event, serving: asyncio.Future[None]) -> bool:
    """Whether the model was loaded before the signal. Raises ModelError."""
    log.info("asr33: loading %s", server.name)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    loading, signal_wait = asyncio.ensure_future(server.open_when_loaded()), asyncio.ensure_future(signalled.wait())
    try:
        events = (loading, signal_wait, serving)
        while not (await asyncio.wait(events, timeout=LOADING_LOG_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED))[0]:
            log.info("asr33: still loading %s: %d s", server.name, loop.time() - started_at)
        _require_serving(serving)
        if loading.done():
            loading.result()
        return loading.done()
    finally:
        for task in (loading, signal_wait):
            task.cancel()
        await asyncio.wait((loading, signal_wait))


async def _wait_for_signal(
    server: CompletionServer, signalled: asyncio.Event, watchdog: asyncio.Future[None], serving: asyncio.Future[None]
) -> None:
    """Waits for the signal. Raises ModelError if the engine or the sockets fail before it."""
    signal_wait = asyncio.ensure_future(signalled.wait())
    await asyncio.wait((signal_wait, watchdog, serving), return_when=asyncio.FIRST_COMPLETED)
    signal_wait.cancel()
    _require_serving(serving)
    if watchdog.done() and (error := watchdog.exception()):
        server.state = "failed"
        # EngineFailed, because the exit code of the error itself could forbid systemd to restart the server.
        why = error if isinstance(error, ModelError) else error_location(error)
        raise EngineFailed(f"the engine failed ({why}): start it again")


def _require_serving(serving: asyncio.Future[None]) -> None:
    """Raises ModelError if the HTTP server has ended."""
    if serving.done():
        error = serving.exception()
        why = getattr(error, "strerror", None) or (error_location(error) if isinstance(error, Exception) else "closed")
        raise ModelError(f"the server takes no connections ({why}): start it again", "system") from None


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs the place of the error in `context` instead of its message, which could hold an operator's words."""
    error = context.get("exception")
    if is_lost_connection(error):
        return
    log.error("asr33: %s%s", context.get("message", ""), f" ({error_location(error)})" if error else "")


async def _feed_watchdog(server: CompletionServer, notify: ServiceManager, check_alive: AliveCheck | None) -> None:
    """Reports to the service manager as long as the event loop and the engine run. Raises the engine's error."""
    interval_s = STATUS_INTERVAL_S if notify.watchdog_s is None else min(STATUS_INTERVAL_S, notify.watchdog_s / 2)
    while True:
        if server.state == "loading":
            notify.extend_timeout(LOADING_EXTENSION_S)
        elif check_alive:
            await check_alive()
        notify.send_watchdog()
        notify.send_status(f"{server.state}, {len(server.clients)} answers open")
        await asyncio.sleep(interval_s)


def _install_signal_handlers(stop: Callable[[], None], reload_keys: Callable[[], None]) -> None:
    """Makes SIGINT and SIGTERM stop the server, and a second one kill it. SIGHUP reads the keys again.

    At a terminal SIGHUP means that the terminal was closed, and stops the server too.
    """
    loop = asyncio.get_running_loop()

    def stop_once() -> None:
        stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_once)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        at_terminal = sys.stderr is not None and sys.stderr.isatty()
        loop.add_signal_handler(signal.SIGHUP, stop_once if at_terminal else reload_keys)
