"""What the teletype tells, written into the session log; what an operator should know goes to the daemon's own log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from daemon.session_log import SessionLog
from drivers import events
from drivers.events import Event, Struck

_log = logging.getLogger("asr33")


def tap_into(log: SessionLog) -> Callable[[Event], None]:
    """A tap for a teletype; a line struck is a line synced."""

    def tap(event: Event) -> None:
        if isinstance(event, Struck):
            _struck(log, event)
        else:
            _told(log, event)

    return tap


def _struck(log: SessionLog, event: Struck) -> None:
    log.write(
        time.monotonic(),
        "tx",
        b=f"{event.byte:02x}",
        q=log.since(event.queued),
        at=log.since(event.at),
        col=event.column,
    )
    if event.byte == 0x0A:
        log.sync()


def _told(log: SessionLog, event: Event) -> None:
    match event:
        case events.Keyed(at=at, byte=byte, damaged=damaged):
            log.write(at, "rx", b=f"{byte:02x}", **({"bad": True} if damaged else {}))
        case events.Broke(at=at, route=route, unprinted=unprinted):
            log.write(at, "break", route=route, unprinted=unprinted)
        case events.Lost(at=at, reason=reason):
            log.write(at, "lost", text=reason)
            log.sync()
        case events.Found(at=at, name=name, again=again):
            log.write(at, "found", line=name, again=again)
        case events.Learned(at=at, what=what, value=value):
            log.write(at, "learned", what=what, value=value)
            _log.info("the machine: %s is %s", {"parity": "its keyboard's parity"}.get(what, what), value)
        case events.Paused(at=at):
            log.write(at, "paused")
        case events.Resumed(at=at, after_s=after_s, forgotten=forgotten):
            log.write(at, "resumed", after=round(after_s, 4), **({"forgotten": True} if forgotten else {}))
        case events.Answered(at=at, data=data):
            log.write(at, "answerback", b=data.hex())
        case events.Garbled(at=at, sent=sent, heard=heard):
            log.write(at, "garbled", sent=f"{sent:02x}", b=f"{heard:02x}")
        case events.MotorSwitched(at=at, on=on, ran_s=ran_s):
            log.write(at, "motor", on=on, **({} if on else {"ran": round(ran_s, 1)}))
