"""What the teletype tells, written into the session log; what an operator should know goes to the daemon's own log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from daemon.session_log import SessionLog
from drivers import events
from drivers.events import CharacterStruck, Event

_log = logging.getLogger("asr33")


def log_events_to(log: SessionLog) -> Callable[[Event], None]:
    """A tap for a teletype; a line struck is a line synced."""

    def tap(event: Event) -> None:
        if isinstance(event, CharacterStruck):
            _log_strike(log, event)
        else:
            _log_event(log, event)

    return tap


def _log_strike(log: SessionLog, event: CharacterStruck) -> None:
    log.write(
        time.monotonic(),
        "tx",
        b=f"{event.byte:02x}",
        q=log.log_time(event.queued),
        at=log.log_time(event.at),
        col=event.column,
    )
    if event.byte == 0x0A:
        log.sync()


def _log_event(log: SessionLog, event: Event) -> None:
    match event:
        case events.KeyReceived(at=at, byte=byte, damaged=damaged):
            log.write(at, "rx", b=f"{byte:02x}", **({"bad": True} if damaged else {}))
        case events.BreakPressed(at=at, route=route, unprinted=unprinted):
            log.write(at, "break", route=route, unprinted=unprinted)
        case events.LineDisconnected(at=at, reason=reason):
            log.write(at, "lost", text=reason)
            log.sync()
        case events.LineReconnected(at=at, name=name, resent=again):
            log.write(at, "found", line=name, again=again)
        case events.ParameterDetected(at=at, parameter=what, value=value):
            log.write(at, "learned", what=what, value=value)
            _log.info("the machine: %s is %s", {"parity": "its keyboard's parity"}.get(what, what), value)
        case events.PrintingPaused(at=at):
            log.write(at, "paused")
        case events.PrintingResumed(at=at, after_s=after_s, timed_out=forgotten):
            log.write(at, "resumed", after=round(after_s, 4), **({"forgotten": True} if forgotten else {}))
        case events.AnswerbackReceived(at=at, data=data):
            log.write(at, "answerback", b=data.hex())
        case events.EchoMismatch(at=at, sent=sent, received=heard):
            log.write(at, "garbled", sent=f"{sent:02x}", b=f"{heard:02x}")
        case events.MotorSwitched(at=at, on=on, ran_s=ran_s):
            log.write(at, "motor", on=on, **({} if on else {"ran": round(ran_s, 1)}))
