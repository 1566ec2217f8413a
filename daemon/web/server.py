"""The live page as a task of the daemon: it opens the address, serves the page, and ends all streams at the end.

It answers in turns of the daemon's event loop; the HTTP server is that of `asr33 serve`, with its limits and timeouts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.config import Config, resolve_log_folder
from daemon.conversation import Conversation
from daemon.errors import ConfigError, DaemonError
from daemon.session import TeletypeSession
from daemon.web.access import Access, is_loopback, parse_address
from daemon.web.app import LivePage
from daemon.web.archive_pages import ArchivePages
from daemon.web.paper_hub import PaperHub, State
from daemon.web.say_page import SayPage
from daemon.web.visitor_lines import MAX_LINE_CHARS, VisitorLines
from drivers.events import Event
from drivers.paper.glyphs import glyph_table
from model.errors import ModelError
from model.interface import Model
from model.server.api_keys import ApiKeys
from model.server.http.connections import ConnectionLimiter, ConnectionLimits
from model.server.http.server import HardenedServer
from model.server.http.sockets import bind_sockets, url_of

STATE_INTERVAL_S = 0.25  # in which a viewer learns what the session does
_LIMITS = ConnectionLimits(max_connections=1024, unread_s=30.0)

_log = logging.getLogger("asr33.web")


class WebObserver:
    """The page of one daemon: `on_event` is its observer of the teletype; `show` gives it the session."""

    def __init__(self, config: Config, access: Access) -> None:
        self._config = config
        self._hub = PaperHub(config.machine, time.monotonic)
        archive = ArchivePages(resolve_log_folder(config)) if config.web.archive else None
        self.app = LivePage(self._hub, glyph_table(config.machine), access, archive)
        self.on_event: Callable[[Event], None] = self._hub.on_event
        self._session: TeletypeSession | None = None
        self._visitors: VisitorLines | None = None
        self._is_private: Callable[[], bool] = lambda: False

    def show(
        self,
        session: TeletypeSession,
        model: Model,
        conversation: Conversation,
        is_private: Callable[[], bool] = lambda: False,
    ) -> None:
        """Shows what this session does, and lets viewers type, if so configured."""
        self._session, self._is_private = session, is_private
        session.forget_listeners.append(self._hub.forget_sheet)
        self._hub.character_s = session.tty.character_s
        if self._config.web.typing:
            self._visitors = VisitorLines(session, conversation, self._config.answer, is_private)
            self.app.visitors = self._visitors
            self.app.say = SayPage(model, self._visitors, session.is_model_free)

    async def follow_session(self) -> None:
        """Tells the viewers what the session does, until it is cancelled."""
        while True:
            if self._session is not None and self._hub.viewer_count:
                self._hub.set_state(self._describe(self._session))
            await asyncio.sleep(STATE_INTERVAL_S)

    async def close(self) -> None:
        """Drops the visitors' lines, ends the answers to callers, and the streams after the last strokes."""
        if self.app.say is not None:
            self.app.say.close()
        if self._visitors is not None:
            await self._visitors.close()
        self._hub.close()

    def _describe(self, session: TeletypeSession) -> State:
        visitors, config = self._visitors, self._config
        state: State = {
            "doing": session.activity,
            "model": session.model_name,
            "machine": config.machine.name,
            "private": self._is_private(),
            "archive": config.web.archive,
            "lost": session.tty.hang_up_reason is not None,
            "typing": None,
        }
        if visitors is not None:
            state["typing"] = {
                "waiting": visitors.waiting,
                "begun": visitors.begun,
                "limit": MAX_LINE_CHARS,
                "temperature": visitors.answer.temperature,
                "personas": list(visitors.personas),
                "answerback": self._hub.answerback or "ASR33",
            }
        return state


@asynccontextmanager
async def serve_page(config: Config) -> AsyncIterator[WebObserver]:
    """Serves the page at `[web] listen` until the block ends. Raises ConfigError, DaemonError."""
    host, port = parse_address(config.web.listen)
    access = _open_access(config, host)
    sockets = _listen(host, port)
    observer = WebObserver(config, access)
    server = HardenedServer(observer.app, ConnectionLimiter(_LIMITS))
    tasks = [
        asyncio.ensure_future(server.serve_sockets(sockets)),
        asyncio.ensure_future(observer.follow_session()),
    ]
    _log.info("the live page is %s/", url_of(host, sockets[0].getsockname()[1], is_tls=False))
    try:
        yield observer
    finally:
        await observer.close()
        tasks[1].cancel()
        server.stop()
        await asyncio.gather(*tasks, return_exceptions=True)


def _open_access(config: Config, host: str) -> Access:
    """Returns the rule of the page. Raises ConfigError."""
    if config.web.key_file is None:
        if not is_loopback(host):
            raise ConfigError(f"[web] {host} is open to other computers: set key_file, a file with a key in it")
        return Access()
    try:
        keys = ApiKeys(config.web.key_file.expanduser())
    except ModelError as error:
        raise ConfigError(f"[web] key_file: {error}") from None
    return Access(lambda key: keys.name_of(key) is not None)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Opens the sockets. Raises DaemonError."""
    try:
        return bind_sockets(host, port)
    except (OSError, UnicodeError) as error:
        is_name_error = isinstance(error, UnicodeError | socket.gaierror)
        why = "there is no such host" if is_name_error else os.strerror(getattr(error, "errno", 0) or 0)
        raise DaemonError(f"[web] {host} port {port}: {why}; --web ADDRESS:PORT names another", "busy") from None
