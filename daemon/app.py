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

from daemon import control, far, session_log
from daemon.cast import Cast, cast
from daemon.config import Config, log_folder
from daemon.hours import MotorHours
from daemon.reconnect import Connection
from daemon.record import tap_into
from daemon.session_log import SessionLog
from daemon.turns import App
from drivers import linetest
from drivers.charset import prints
from drivers.clock import CHARACTER_S, WallClock
from drivers.errors import DriverError, LineUnfit
from drivers.events import Event
from drivers.line import open_line
from drivers.linetest import Verdict
from drivers.teletype import Teletype
from drivers.wire import Wire
from model.base import Ask, Model, Sampling
from model.far.address import is_url

_REST_S = 1.0  # for the last characters, before the motor is switched off

_log = logging.getLogger("asr33")


def open_model(config: Config, character_s: float = CHARACTER_S) -> Model:
    """The model of that name, path or URL; it loads while the greeting is printed. Raises ModelError, ConfigError."""
    if not is_url(config.model.name):
        return _local(config, config.model.name)
    about = Ask(
        "",
        Sampling(),
        alphabet=config.machine.wheel,
        pace=1 / character_s if character_s else 0.0,
        conversation=secrets.token_hex(8),
    )
    return far.relay(config.model, about, lambda name: _local(config, name))


def _local(config: Config, name: str) -> Model:
    from model import store
    from model.local import Local

    return Local(
        store.find(name),
        threads=config.model.threads,
        device=config.model.device,
        kept=lambda char: prints(char, config.machine.wheel),
    )


def cast_of(config: Config) -> Cast:
    """Who speaks, as configured and as the model knows them. Raises ConfigError for a persona that it has not."""
    from model import store
    from model.errors import ModelError

    known: dict[str, int] = {}
    if config.conversation.persona:
        with contextlib.suppress(ModelError):  # a model that is elsewhere does not say
            found = store.read_manifest(store.find(config.model.name)).training.get("personas")
            known = found if isinstance(found, dict) else {}
    return cast(config.conversation, tuple(known))


@asynccontextmanager
async def build(
    config: Config, model: Model, port: str, character_s: float = CHARACTER_S, *, lasting: bool = False
) -> AsyncIterator[tuple[App, Path]]:
    """The daemon, put together; closes what it opened, the model too. Yields it and the path of its log.

    `lasting`: it outlives a hang-up, if so configured, and serves `asr33 print` and the like.
    """
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(model.close)
        speakers = cast_of(config)
        line, tried = await opened(config, port, character_s)
        try:
            log = session_log.begin(log_folder(config), datetime.now(), begun)
        except BaseException:
            await line.close()
            raise
        stack.callback(log.close)
        stack.callback(lambda: log.write(time.monotonic(), "close"))
        connection = Connection(line, lambda: open_line(port, config.line.marked))
        stack.push_async_callback(connection.close)  # before the log: what it hears till then is still written
        _begin(log, begun, config, port, model.name)
        patient = lasting and config.line.reconnect
        tty = Teletype(
            line,
            WallClock(),
            config.machine,
            tap=_taps(log, config, port, stack),
            character_s=tried.character_s or character_s if tried else character_s,
            patient=patient,
        )
        stack.push_async_callback(_rest, tty)
        daemon = App(tty, model, config, log, tried.sentence if tried else "", speakers)
        if patient:
            stack.push_async_callback(_stopped, asyncio.ensure_future(connection.keep(tty)))
        if lasting:
            await stack.enter_async_context(control.serving(daemon, port))
        yield daemon, log.path


async def opened(config: Config, port: str, character_s: float) -> tuple[Wire, Verdict | None]:
    """The line, tried out if it is a real one, and what the test says of it. Raises DriverError."""
    line = await open_line(port, config.line.marked)
    try:
        if character_s == 0 and not line.is_pty:
            raise LineUnfit("--fast is for a virtual machine: a real one prints ten characters a second")
        if line.kind != "tty" or not config.line.self_test:
            return line, None
        found = await linetest.try_out(line)
    except BaseException:
        await line.close()
        raise
    _log.info("%s", found.sentence)
    return line, found


def _begin(log: SessionLog, begun: float, config: Config, port: str, model: str) -> None:
    log.write(
        begun,
        "session",
        version=session_log.VERSION,
        asr33=version("asr33"),
        wall=datetime.now().astimezone().isoformat(timespec="milliseconds"),
        monotonic=begun,
        line=port,
        model=model,
        machine=config.machine.name,
    )


def _taps(log: SessionLog, config: Config, port: str, stack: AsyncExitStack) -> Callable[[Event], None]:
    """The session log; and the hours of the motor, if somebody switches it."""
    record = tap_into(log)
    if config.machine.motor == "always":
        return record
    hours = MotorHours(log_folder(config) / f"{control.name_of(port)}.hours")
    stack.callback(lambda: hours.close(time.monotonic()))
    _log.info("the machine's motor has run for %.1f hours", hours.total_s / 3600)

    def both(event: Event) -> None:
        record(event)
        hours.tap(event)

    return both


async def _rest(tty: Teletype) -> None:
    """The last characters are struck, and a motor that we switch is switched off."""
    if tty.profile.motor != "always" and tty.lost is None:
        with contextlib.suppress(DriverError, TimeoutError):
            async with asyncio.timeout(_REST_S):
                await tty.rest(0)
            await tty.switch_motor(False)
    await tty.close()


async def _stopped(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
