"""The bridges of a daemon, as its configuration names them: each is a task that runs beside the session.

The modules of a bridge, and its library, are loaded only if its section of the configuration is used.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from daemon.bridges.spool_queue import SpoolQueue
from daemon.config import Config
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from daemon.spool.desk import SpoolDesk
from drivers.errors import DriverError
from drivers.paper.paper import BEL
from drivers.text.carriage import Stroke
from drivers.text.charset import apply_parity
from model.dialogue import Speakers
from model.interface import Model


@dataclass(frozen=True, slots=True)
class BridgedDaemon:
    """What the bridges use of the daemon."""

    session: TeletypeSession
    desk: SpoolDesk
    config: Config
    model: Model
    speakers: Speakers
    log: SessionLog

    @property
    def queue(self) -> SpoolQueue:
        return SpoolQueue(self.desk)

    def is_model_free(self) -> bool:
        """Returns whether the operator has begun no line and gets no answer."""
        return self.session.activity in ("listening", "lent") and not self.session.tty.has_partial_line

    async def ring_bell(self) -> None:
        tty = self.session.tty
        with contextlib.suppress(DriverError):
            await tty.send_strokes([(Stroke(BEL, tty.column), apply_parity(BEL, tty.profile.send_parity))])

    def log_chat(self, source: str, prompt: str, **fields: Any) -> None:
        """Writes a `chat` record; the prompt is left out if the log keeps no input."""
        fields = {**fields, "prompt": prompt if self.log.keeps_input else ""}
        self.log.write(time.monotonic(), "chat", source=source, **fields)

    def choose_seed(self) -> int:
        """Returns the seed of the first answer."""
        return secrets.randbits(31) if self.config.answer.seed is None else self.config.answer.seed


def open_bridges(daemon: BridgedDaemon) -> Iterator[Coroutine[Any, Any, None]]:
    """Yields the task of each bridge that is configured. Raises ConfigError."""
    if daemon.config.irc.server:
        yield _open_irc_bridge(daemon)
    if daemon.config.mentions.has_accounts:
        yield from _open_mentions(daemon)


def _open_irc_bridge(daemon: BridgedDaemon) -> Coroutine[Any, Any, None]:
    """Raises ConfigError."""
    from daemon.bridges.chat_answer import ChatAnswer
    from daemon.bridges.irc.chat_room import AskModel
    from daemon.bridges.irc.open_bridge import open_bridge, run_bridge_forever

    def note_answer(channel: str, ask: AskModel, seed: int, answer: ChatAnswer) -> None:
        daemon.log_chat("irc", answer.prompt, channel=channel, nick=ask.nick, seed=seed, text=answer.text)

    bridge = open_bridge(
        daemon.config,
        daemon.queue,
        daemon.model,
        daemon.speakers,
        daemon.choose_seed(),
        is_model_free=daemon.is_model_free,
        ring_bell=daemon.ring_bell,
        note_answer=note_answer,
    )
    return run_bridge_forever(bridge)


def _open_mentions(daemon: BridgedDaemon) -> Iterator[Coroutine[Any, Any, None]]:
    """Yields a task for each account. Raises ConfigError."""
    from daemon.bridges.chat_answer import ChatAnswer
    from daemon.bridges.mentions.mention import PendingPost
    from daemon.bridges.mentions.mention_bridge import MentionBridge
    from daemon.bridges.mentions.mention_state import MentionStore
    from daemon.bridges.mentions.open_mentions import (
        find_state_folder,
        make_parts,
        open_networks,
        run_mentions_forever,
        store_path,
    )

    def note_answer(network: str, pending: PendingPost, answer: ChatAnswer) -> None:
        author = pending.mention.author if pending.mention else ""
        daemon.log_chat(network, answer.prompt, nick=author, seed=pending.seed, text=answer.text)

    parts = make_parts(
        daemon.config,
        daemon.model,
        daemon.speakers,
        daemon.choose_seed(),
        daemon.queue,
        is_model_free=daemon.is_model_free,
        note_answer=note_answer,
        show_trouble=daemon.session.spool.show_trouble,
        is_clock_set=lambda: daemon.desk.clock.is_set,
    )
    folder = find_state_folder()
    for network in open_networks(daemon.config.mentions, folder):
        bridge = MentionBridge(network, MentionStore(store_path(folder, network.name)), parts)
        yield run_mentions_forever(bridge)
