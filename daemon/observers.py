"""The observers of the teletype's events: the session log, and the running hours of a switched motor.

An observer is a function that gets every event. `daemon.build` has the list of observers.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from daemon.session_log import SessionLog
from drivers import events
from drivers.events import CharacterStruck, Event, MotorSwitched

_NOISE_CURE = "the loop is closed, its current is right, and no other program is on the line"
_SAVE_INTERVAL_S = 60.0  # a killed daemon loses no more of the motor's hours

_log, _log_errors = logging.getLogger("asr33"), logging.getLogger("asr33.log")


def log_events_to(log: SessionLog) -> Callable[[Event], None]:
    """Returns an observer that writes all events to the log."""
    return partial(_log_event, log, set())


def _log_event(log: SessionLog, told: set[str], event: Event) -> None:
    match event:
        case CharacterStruck(at=at, byte=byte, queued=queued, column=column):
            q, at = log.log_time(queued), log.log_time(at)
            log.write(time.monotonic(), "tx", b=f"{byte:02x}", q=q, at=at, col=column)
        case events.KeyReceived(at=at, byte=byte, damaged=damaged):
            log.write(at, "rx", b=f"{byte:02x}", **({"bad": True} if damaged else {}))
        case events.BreakPressed(at=at, route=route, unprinted=unprinted):
            log.write(at, "break", route=route, unprinted=unprinted)
        case events.LineDisconnected(at=at, reason=reason):
            log.write(at, "lost", text=reason)
        case events.LineReconnected(at=at, name=name, resent=again):
            log.write(at, "found", line=name, again=again)
        case events.ParameterDetected(at=at, parameter=what, value=value):
            log.write(at, "learned", what=what, value=value)
            subject = {"parity": "its keyboard's parity"}.get(what, what)
            _tell_once(told, f"the machine: {subject} is {value}")
        case events.PrintingPaused(at=at):
            log.write(at, "paused")
        case events.PrintingResumed(at=at, after_s=after_s, timed_out=forgotten):
            log.write(at, "resumed", after=round(after_s, 4), **({"forgotten": True} if forgotten else {}))
        case events.AnswerbackReceived(at=at, data=data):
            log.write(at, "answerback", b=data.hex())
        case events.EchoMismatch(at=at, sent=sent, received=heard):
            log.write(at, "garbled", sent=f"{sent:02x}", b=f"{heard:02x}")
        case events.NoiseDetected(at=at, is_noisy=is_noisy, count=count):
            log.write(at, "noise", on=is_noisy, count=count)
            if is_noisy:
                _tell_once(told, f"noise on the line: it is not taken for keys; see that {_NOISE_CURE}")
            else:
                _tell_once(told, f"keys come from the line again, after {count} characters of noise")
        case events.MotorSwitched(at=at, on=on, ran_s=ran_s):
            log.write(at, "motor", on=on, **({} if on else {"ran": round(ran_s, 1)}))


def _tell_once(told: set[str], message: str) -> None:
    """Writes a message to the journal, once in a session: a bad line changes its mind all the time."""
    kind = message.partition(",")[0]
    if kind not in told:
        told.add(kind)
        _log.info("%s", message)


class MotorHours:
    """Sums the motor's running time of all sessions in a small file; the operator oils the machine by these hours.

    An error of that file does not end the session.
    """

    def __init__(self, path: Path) -> None:
        self.total_s = 0.0
        self._path = path
        self._running_since: float | None = None
        self._saved_at = float("-inf")
        self._error_logged = False
        with contextlib.suppress(OSError, ValueError):
            self.total_s = max(0.0, float(path.read_text(encoding="ascii")))

    def total_at(self, now: float) -> float:
        """Returns the seconds with those of a motor that runs now."""
        return self.total_s + (0.0 if self._running_since is None else max(0.0, now - self._running_since))

    def on_event(self, event: Event) -> None:
        match event:
            case MotorSwitched(at=at, on=True):
                self._running_since = self._saved_at = at
            case MotorSwitched(on=False, ran_s=ran_s):
                self._running_since = None
                self.total_s += ran_s
                self._save(self.total_s)
            case CharacterStruck(at=at) if self._running_since is not None and at - self._saved_at > _SAVE_INTERVAL_S:
                self._saved_at = at
                self._save(self.total_s + at - self._running_since)

    def close(self, now: float) -> None:
        """Adds the time of a motor that still runs, and saves."""
        if self._running_since is not None:
            self.total_s += max(0.0, now - self._running_since)
            self._running_since = None
            self._save(self.total_s)

    def _save(self, total_s: float) -> None:
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.write_text(f"{total_s:.0f}\n", encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:
            if not self._error_logged:
                _log_errors.error("%s: %s; the motor's hours are not saved", self._path, error.strerror)
            self._error_logged = True
