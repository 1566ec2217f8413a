"""The composition root: builds a session from line, teletype, model, log and observers, and closes them all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon import paths, session_log
from daemon.carbon_copy import CarbonCopy
from daemon.config import Config, resolve_log_folder
from daemon.copied_mark import CopiedMark
from daemon.copy_sinks import sinks_of
from daemon.errors import ConfigError
from daemon.farewell import print_stop_mark
from daemon.line_connection import ReconnectingLine, open_and_test_line, reopen_line, watch_for_others
from daemon.log_retention import Deleted, Retention, delete_old_logs_forever
from daemon.model_choice import ModelChoice, SwitchableModel
from daemon.model_factory import adopt_speakers_of_servers, begin_conversation, find_manifest
from daemon.observers import MotorHours, log_events_to
from daemon.privacy import Privacy
from daemon.saved_conversations import SavedConversations
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from daemon.system_clock import ClockWatch, watch_system_clock
from drivers.clock import CHARACTER_S, WallClock
from drivers.errors import DriverError
from drivers.events import Event
from drivers.profile import Profile
from drivers.teletype import Teletype
from model.dialogue import Speakers
from model.interface import Model

if TYPE_CHECKING:
    from daemon.web.server import WebObserver

_LAST_CHARACTERS_S = 1.0  # before the motor is switched off
_CANCEL_AGAIN_S = 1.0

OnEvent = Callable[[Event], None]

_log = logging.getLogger("asr33")


@asynccontextmanager
async def build_session(
    config: Config, model: Model, port: str, character_s: float = CHARACTER_S, *, serve_control: bool = False
) -> AsyncIterator[tuple[TeletypeSession, SessionLog]]:
    """Yields a session and its log; closes all parts at the end, the model too.

    With `serve_control` the session survives a hang-up, if so configured, and `asr33 print` and other commands can use
    its machine. Raises DriverError, DaemonError.
    """
    started_at = time.monotonic()
    async with AsyncExitStack() as stack:
        model = SwitchableModel(configured := model)
        stack.push_async_callback(model.close)
        manifest = find_manifest(config)
        conversation = begin_conversation(config, manifest)
        adopt_speakers_of_servers(configured, conversation, config)
        page = await stack.enter_async_context(_open_page(config))
        line, character_s, verdict = await open_and_test_line(config, port, character_s)
        try:
            folder = resolve_log_folder(config)
            log = session_log.open_new_log(
                folder,
                datetime.now(),
                started_at,
                call_later=asyncio.get_running_loop().call_later,
                keeps_input=config.log.input,
            )
        except BaseException:
            await line.close()
            raise
        stack.callback(log.close)
        stack.callback(lambda: log.write_close(time.monotonic()))
        connection = ReconnectingLine(line, lambda: reopen_line(config, port))
        stack.push_async_callback(connection.close)  # before the log, which still records the last bytes
        if (speakers := conversation.speakers).persona:
            _log.info("%s answers as %s, to %s", model.name, speakers.persona, speakers.you)
        model_hash = manifest.graph_sha256 if manifest else ""
        _log_session_start(log, started_at, config, port, model.name, model_hash, speakers)
        privacy = Privacy(folder / f"{paths.line_file_name(port)}.private" if serve_control else None)
        if privacy.is_on:
            _log.info("the session is private: what is struck is on the paper only, until the operator types .PUBLIC")
            log.switch_private(time.monotonic(), True)
        for task in _log_keepers(log, folder, config):
            stack.push_async_callback(_cancel_and_wait, asyncio.ensure_future(task))
        reconnects = serve_control and config.line.reconnect
        viewers = [] if page is None else [page.on_event]
        for sink in sinks_of(config, port):
            copy = CarbonCopy(sink, WallClock())
            stack.push_async_callback(copy.close)  # after the machine has printed its last characters
            viewers.append(copy.on_event)
        hours = _open_motor_hours(config, port, stack)
        observers = _observers(log, privacy, viewers, hours)

        def on_event(event: Event) -> None:
            for observe in observers:
                observe(event)

        tty = Teletype(
            line, WallClock(), config.machine, on_event=on_event, character_s=character_s, wait_for_line=reconnects
        )
        stack.push_async_callback(_shut_down_machine, tty)
        state = paths.state_folder()
        saved = SavedConversations(state and state / "conversations")
        session = TeletypeSession(tty, model, config, log, verdict, conversation, privacy, saved)
        session.turns.model_hash = model_hash
        session.commands.models = models = ModelChoice(config, model, character_s)
        session.turns.copied_mark = CopiedMark(lambda: models.chosen, config.machine, session.print_message)
        if page is not None:
            page.show(session, model, conversation, lambda: privacy.is_on)
        if serve_control:  # after all that prints is closed
            stack.push_async_callback(_print_stop_mark, session)
        if reconnects:
            stack.push_async_callback(_cancel_and_wait, asyncio.ensure_future(connection.reconnect_forever(tty)))
        if serve_control:
            if line.kind != "socket":
                watching = asyncio.ensure_future(watch_for_others(port, tty, lambda: connection.line))
                stack.push_async_callback(_cancel_and_wait, watching)
            await _serve_others(session, observers, config, port, stack, model, conversation.speakers, log, hours)
        yield session, log


def _log_session_start(
    log: SessionLog, started_at: float, config: Config, port: str, model: str, model_hash: str, speakers: Speakers
) -> None:
    defaults, machine = asdict(Profile()), asdict(config.machine)
    profile = {name: value for name, value in machine.items() if value != defaults[name] or name == "columns"}
    log.write(
        started_at,
        "session",
        version=session_log.VERSION,
        asr33=version("asr33"),
        wall=_wall_clock_at(started_at).isoformat(timespec="milliseconds"),
        monotonic=started_at,
        line=port,
        model=model,
        machine=config.machine.name,
        profile=profile,
        model_hash=model_hash,
        seed=config.answer.seed,
        settings=asdict(config.answer),
        persona=speakers.persona,
        you=speakers.you,
        **({} if log.keeps_input else {"input": False}),
    )


def _wall_clock_at(moment: float) -> datetime:
    """Returns the wall clock at a monotonic time of the past seconds."""
    return (datetime.now() - timedelta(seconds=time.monotonic() - moment)).astimezone()


def _log_keepers(log: SessionLog, folder: Path, config: Config) -> Iterator[Coroutine[Any, Any, None]]:
    """Yields the tasks beside a log: they note when the system clock is set, and delete old logs."""
    watch = ClockWatch(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    yield watch_system_clock(watch, lambda offset: log.write(time.monotonic(), "clock", offset=offset))
    retention = Retention(config.log.max_mb, config.log.max_days)
    if retention.is_limited:

        def report(deleted: Deleted) -> None:
            log.write(time.monotonic(), "rotated", files=len(deleted.names), bytes=deleted.bytes)

        yield delete_old_logs_forever(folder, retention, report)


def _open_motor_hours(config: Config, port: str, stack: AsyncExitStack) -> MotorHours | None:
    """Returns the count of a switched motor; None for one that always runs."""
    if config.machine.motor == "always":
        return None
    hours = MotorHours(resolve_log_folder(config) / f"{paths.line_file_name(port)}.hours")
    stack.callback(lambda: hours.close(time.monotonic()))
    _log.info("the machine's motor has run for %.1f hours", hours.total_s / 3600)
    return hours


def _observers(log: SessionLog, privacy: Privacy, viewers: list[OnEvent], hours: MotorHours | None) -> list[OnEvent]:
    """Returns the observers of the teletype's events: the session log, the hours of a switched motor, and viewers.

    `viewers` show or copy the paper, such as a live page: they get nothing in a private time.
    """
    counts = [] if hours is None else [hours.on_event]
    return [log_events_to(log), *counts, *map(privacy.hide_from, viewers)]


async def _serve_others(
    session: TeletypeSession,
    observers: list[OnEvent],
    config: Config,
    port: str,
    stack: AsyncExitStack,
    model: Model,
    speakers: Speakers,
    log: SessionLog,
    hours: MotorHours | None,
) -> None:
    """Opens the spool, the bridges to it, and the control socket. Raises ConfigError, DaemonError."""
    from daemon.bridge_tasks import BridgedDaemon, open_bridges
    from daemon.control.server import serve_control
    from daemon.machine_address import submit_address_forever
    from daemon.spool.open_spool import open_spool
    from daemon.spool.print_task import print_jobs_forever

    if (desk := open_spool(config.spool, config.machine, port)) is not None:
        stack.callback(desk.close)
        session.spool.desk = desk
        session.forget_stored.append(desk.forget)
        desk.set_private(session.privacy.is_on)
        session.privacy.listeners.append(desk.set_private)
        desk.on_begin = lambda job: log.write(
            time.monotonic(), "job", id=job.id, source=job.source, person=job.person, line=job.lines_done
        )
        observers.append(desk.count.on_event)
        parts = BridgedDaemon(session, desk, config, model, speakers, log, port, observers, hours)
        tasks = [print_jobs_forever(desk, session, config.spool.idle_s), *open_bridges(parts, stack)]
        if config.hall.address:
            tasks.append(submit_address_forever(session.commands.address, desk))
        for task in tasks:
            stack.push_async_callback(_cancel_and_wait, asyncio.ensure_future(task))
    await stack.enter_async_context(serve_control(session, port))


@asynccontextmanager
async def _open_page(config: Config) -> AsyncIterator[WebObserver | None]:
    """Serves the live page, if there is to be one. Raises ConfigError, DaemonError."""
    if not config.web.listen:
        yield None
        return
    try:
        from daemon.web.server import serve_page
    except ImportError as error:
        cure = "in asr33's folder, pip install '.[web]'"
        raise ConfigError(f"[web] the live page needs {error.name}: {cure}") from None
    async with serve_page(config) as page:
        yield page


async def _print_stop_mark(session: TeletypeSession) -> None:
    if session.is_stopped:
        await print_stop_mark(session.tty)


async def _shut_down_machine(tty: Teletype) -> None:
    """Waits for the last characters, switches a switched motor off, and closes the teletype."""
    if tty.profile.motor != "always" and tty.hang_up_reason is None:
        with contextlib.suppress(DriverError, TimeoutError):
            async with asyncio.timeout(_LAST_CHARACTERS_S):
                await tty.wait_character_times(0)
            await tty.switch_motor(False)
    await tty.close()


async def _cancel_and_wait(task: asyncio.Future[Any]) -> None:
    """Cancels once a second until the task ends: in Python 3.11 TaskGroup and wait_for may lose a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    with contextlib.suppress(asyncio.CancelledError):
        task.result()
