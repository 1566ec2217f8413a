"""The daemon, put together: the one place that knows who is who."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from daemon import remote_model, session_log
from daemon.config import Config, resolve_log_folder
from daemon.control import server
from daemon.event_log import log_events_to
from daemon.motor_hours import MotorHours
from daemon.reconnect import ReconnectingLine
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from daemon.speakers import Speakers, resolve_speakers
from drivers.clock import CHARACTER_S, WallClock
from drivers.errors import DriverError, LineUnfit
from drivers.events import Event
from drivers.line import speed_test
from drivers.line.line import open_line
from drivers.line.line_transport import LineTransport
from drivers.line.speed_test import SpeedVerdict
from drivers.teletype import Teletype
from drivers.text.charset import is_printable
from model.client.server_url import is_url
from model.interface import CompletionRequest, Model, Sampling

_LAST_CHARACTERS_S = 1.0  # for the last characters, before the motor is switched off

_log = logging.getLogger("asr33")


def open_model(config: Config, character_s: float = CHARACTER_S) -> Model:
    """The model of that name, path or URL; it loads while the greeting is printed. Raises ModelError, ConfigError."""
    if not is_url(config.model.name):
        return _open_local_model(config, config.model.name)
    about = CompletionRequest(
        "",
        Sampling(),
        alphabet=config.machine.wheel,
        chars_per_second=1 / character_s if character_s else 0.0,
        conversation=secrets.token_hex(8),
    )
    return remote_model.open_remote_model(config.model, about, lambda name: _open_local_model(config, name))


def _open_local_model(config: Config, name: str) -> Model:
    from model.generate.local_model import LocalModel
    from model.store import store

    return LocalModel(
        store.find_model(name),
        threads=config.model.threads,
        device=config.model.device,
        is_allowed=lambda char: is_printable(char, config.machine.wheel),
    )


def load_speakers(config: Config) -> Speakers:
    """Who speaks, as configured and as the model knows them. Raises ConfigError for a persona that it has not."""
    from model.errors import ModelError
    from model.store import store

    known: dict[str, int] = {}
    if config.conversation.persona:
        with contextlib.suppress(ModelError):  # a model that is elsewhere does not say
            found = store.read_manifest(store.find_model(config.model.name)).training.get("personas")
            known = found if isinstance(found, dict) else {}
    return resolve_speakers(config.conversation, tuple(known))


@asynccontextmanager
async def build_session(
    config: Config, model: Model, port: str, character_s: float = CHARACTER_S, *, serve_control: bool = False
) -> AsyncIterator[tuple[TeletypeSession, Path]]:
    """The daemon, put together; closes what it opened, the model too. Yields it and the path of its log.

    `lasting`: it outlives a hang-up, if so configured, and serves `asr33 print` and the like.
    """
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(model.close)
        speakers = load_speakers(config)
        line, tried = await open_and_test_line(config, port, character_s)
        try:
            log = session_log.open_new_log(resolve_log_folder(config), datetime.now(), begun)
        except BaseException:
            await line.close()
            raise
        stack.callback(log.close)
        stack.callback(lambda: log.write(time.monotonic(), "close"))
        connection = ReconnectingLine(line, lambda: open_line(port, config.line.break_is_marked))
        stack.push_async_callback(connection.close)  # before the log: what it hears till then is still written
        _log_session_start(log, begun, config, port, model.name)
        patient = serve_control and config.line.reconnect
        tty = Teletype(
            line,
            WallClock(),
            config.machine,
            on_event=_observers(log, config, port, stack),
            character_s=tried.character_s or character_s if tried else character_s,
            wait_for_line=patient,
        )
        stack.push_async_callback(_shut_down_machine, tty)
        daemon = TeletypeSession(tty, model, config, log, tried.sentence if tried else "", speakers)
        if patient:
            stack.push_async_callback(_cancel_and_wait, asyncio.ensure_future(connection.reconnect_forever(tty)))
        if serve_control:
            await stack.enter_async_context(server.serve_control(daemon, port))
        yield daemon, log.path


async def open_and_test_line(
    config: Config, port: str, character_s: float
) -> tuple[LineTransport, SpeedVerdict | None]:
    """The line, tried out if it is a real one, and what the test says of it. Raises DriverError."""
    line = await open_line(port, config.line.break_is_marked)
    try:
        if character_s == 0 and not line.is_pty:
            raise LineUnfit("--fast is for a virtual machine: a real one prints ten characters a second")
        if line.kind != "tty" or not config.line.self_test:
            return line, None
        found = await speed_test.run_speed_test(line)
    except BaseException:
        await line.close()
        raise
    _log.info("%s", found.sentence)
    return line, found


def _log_session_start(log: SessionLog, started_at: float, config: Config, port: str, model: str) -> None:
    log.write(
        started_at,
        "session",
        version=session_log.VERSION,
        asr33=version("asr33"),
        wall=datetime.now().astimezone().isoformat(timespec="milliseconds"),
        monotonic=started_at,
        line=port,
        model=model,
        machine=config.machine.name,
    )


def _observers(log: SessionLog, config: Config, port: str, stack: AsyncExitStack) -> Callable[[Event], None]:
    """The session log; and the hours of the motor, if somebody switches it."""
    record = log_events_to(log)
    if config.machine.motor == "always":
        return record
    hours = MotorHours(resolve_log_folder(config) / f"{server.file_name_for_line(port)}.hours")
    stack.callback(lambda: hours.close(time.monotonic()))
    _log.info("the machine's motor has run for %.1f hours", hours.total_s / 3600)

    def both(event: Event) -> None:
        record(event)
        hours.on_event(event)

    return both


async def _shut_down_machine(tty: Teletype) -> None:
    """The last characters are struck, and a motor that we switch is switched off."""
    if tty.profile.motor != "always" and tty.hang_up_reason is None:
        with contextlib.suppress(DriverError, TimeoutError):
            async with asyncio.timeout(_LAST_CHARACTERS_S):
                await tty.wait_character_times(0)
            await tty.switch_motor(False)
    await tty.close()


async def _cancel_and_wait(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
