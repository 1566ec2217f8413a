"""The bridges of a daemon, as its configuration names them: each is a task that runs beside the session.

The modules of a bridge, and its library, are loaded only if its section of the configuration is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from daemon import paths
from daemon.archive.answer_code import normalise_code
from daemon.bridges.spool_queue import SpoolQueue
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.observers import MotorHours
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from daemon.spool.desk import SpoolDesk
from drivers.errors import DriverError
from drivers.events import Event
from drivers.paper.paper import BEL
from drivers.text.carriage import Stroke
from drivers.text.charset import apply_parity
from model.dialogue import Speakers
from model.interface import Model

RESTART_S = 60.0  # after a fault of a bridge itself

_log = logging.getLogger("asr33")


@dataclass(frozen=True, slots=True)
class BridgedDaemon:
    """What the bridges use of the daemon."""

    session: TeletypeSession
    desk: SpoolDesk
    config: Config
    model: Model
    speakers: Speakers
    log: SessionLog
    port: str
    observers: list[Callable[[Event], None]]  # of the machine's events
    motor_hours: MotorHours | None  # None: the motor always runs

    @property
    def queue(self) -> SpoolQueue:
        return SpoolQueue(self.desk)

    async def ring_bell(self) -> None:
        tty = self.session.tty
        with contextlib.suppress(DriverError):
            await tty.send_strokes([(Stroke(BEL, tty.column), apply_parity(BEL, tty.profile.send_parity))])

    def log_chat(self, source: str, prompt: str, **fields: Any) -> None:
        """Writes a `chat` record; the prompt is left out if the log keeps no input."""
        fields = {"model": self.model.name, "hash": self.session.turns.model_hash, **fields}
        fields = {**fields, "prompt": prompt if self.log.keeps_input else ""}
        self.log.write(time.monotonic(), "chat", source=source, **fields)

    def choose_seed(self) -> int:
        """Returns the seed of the first answer."""
        return secrets.randbits(31) if self.config.answer.seed is None else self.config.answer.seed


def open_bridges(daemon: BridgedDaemon, stack: AsyncExitStack) -> Iterator[Coroutine[Any, Any, None]]:
    """Yields the task of each bridge that is configured; `stack` closes what they keep open. Raises ConfigError."""
    if daemon.config.irc.server:
        yield _run_forever("IRC", _open_irc_bridge(daemon))
    if daemon.config.mentions.has_accounts:
        yield from _open_mentions(daemon)
    if daemon.config.mqtt.server:
        yield _run_forever("MQTT", _open_mqtt_bridge(daemon, stack))


async def _run_forever(network: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs a bridge; a fault of it is logged and never stops the daemon."""
    while True:
        try:
            await run()
        except Exception as fault:
            while isinstance(fault, ExceptionGroup):
                fault = fault.exceptions[0]
            _log.error("the bridge to %s failed and starts again in a minute: %r", network, fault)
        await asyncio.sleep(RESTART_S)


def _open_irc_bridge(daemon: BridgedDaemon) -> Callable[[], Awaitable[None]]:
    """Raises ConfigError."""
    from daemon.bridges.chat_answer import ChatAnswer
    from daemon.bridges.irc.chat_room import AskModel
    from daemon.bridges.irc.open_bridge import open_bridge

    def note_answer(channel: str, ask: AskModel, seed: int, answer: ChatAnswer) -> None:
        fields = {"channel": channel, "nick": ask.nick, "seed": seed, "text": answer.text}
        daemon.log_chat("irc", answer.prompt, **fields, **({"code": answer.code} if answer.code else {}))

    bridge = open_bridge(
        daemon.config,
        daemon.queue,
        daemon.model,
        daemon.speakers,
        daemon.choose_seed(),
        is_model_free=daemon.session.is_model_free,
        ring_bell=daemon.ring_bell,
        note_answer=note_answer,
    )
    daemon.session.forget_stored.append(bridge.forget)
    return bridge.run


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
        code = pending.mark.strip("[]").rpartition(" ")[2]
        fields = {"nick": author, "seed": pending.seed, "text": answer.text}
        daemon.log_chat(network, answer.prompt, **fields, **({"code": code} if normalise_code(code) else {}))

    parts = make_parts(
        daemon.config,
        daemon.model,
        daemon.speakers,
        daemon.choose_seed(),
        daemon.queue,
        is_model_free=daemon.session.is_model_free,
        note_answer=note_answer,
        show_trouble=daemon.session.spool.show_trouble,
        is_clock_set=lambda: daemon.desk.clock.is_set,
    )
    folder = find_state_folder()
    for network in open_networks(daemon.config.mentions, folder):
        bridge = MentionBridge(network, MentionStore(store_path(folder, network.name)), parts)
        daemon.session.forget_stored.append(bridge.forget)
        yield run_mentions_forever(bridge)


def _open_mqtt_bridge(daemon: BridgedDaemon, stack: AsyncExitStack) -> Callable[[], Awaitable[None]]:
    """Raises ConfigError."""
    try:
        from daemon.bridges.mqtt.daily_count import DailyCount
        from daemon.bridges.mqtt.discovery import MachineReading, MachineState
        from daemon.bridges.mqtt.open_mqtt_bridge import open_mqtt_bridge
    except ImportError as error:
        cure = "in asr33's folder, pip install '.[mqtt]'"
        raise ConfigError(f"[mqtt] home automation needs {error.name}: {cure}") from None

    folder, started_at, session = paths.state_folder(), time.monotonic(), daemon.session
    count = DailyCount(folder and folder / f"{paths.line_file_name(daemon.port)}.today")
    stack.callback(count.save)
    daemon.observers.append(count.on_event)

    def read_state() -> MachineState:
        if session.tty.hang_up_reason is not None:
            return "disconnected"
        if session.activity == "listening":
            return "typing" if session.tty.has_partial_line else "idle"
        return "busy" if session.activity == "lent" else session.activity

    def read_machine() -> MachineReading:
        now, hours = time.monotonic(), daemon.motor_hours
        seconds = now - started_at if hours is None else hours.total_at(now)
        return MachineReading(read_state(), count.chars, daemon.desk.count.supply.lines_left, round(seconds / 3600, 2))

    bridge = open_mqtt_bridge(
        daemon.config.mqtt, daemon.queue, read_machine, is_motor_switched=daemon.motor_hours is not None
    )
    return bridge.run
