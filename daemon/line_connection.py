"""Opens and tests the machine's line; after a hang-up it reopens the line, and the teletype goes on where it was.

A line that comes back must hold for a while before anything is struck on it. Other programs on the line are named.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from daemon.config import Config
from drivers.errors import DriverError
from drivers.line import speed_test
from drivers.line.connection_test import await_greeting
from drivers.line.line import Line, open_line
from drivers.line.line_transport import LineTransport
from drivers.line.tty_holders import TtyHolder, find_holders
from drivers.teletype import Teletype

FIRST_INTERVAL_S = 1.0
MAX_INTERVAL_S = 10.0
GREETING_S = 1.0  # after the first connection: a serial server's greeting is no key
HOLD_S = 2.0  # a line that is back must stay so long before anything is struck on it
LIVED_S = 10.0  # a line that stays so long is good: the next hang-up begins with short intervals again
MAX_REFUSED_S = 30.0
_FIRST_ATTEMPTS = 10  # at the first interval: a plug that fell out is back within seconds
_LOOK_S = 5.0
_SCAN_S = 30.0  # between two looks at the processes; at once when the line is in doubt

_log = logging.getLogger("asr33")


async def open_and_test_line(config: Config, port: str, character_s: float) -> tuple[LineTransport, float, str]:
    """Opens the line and tests a real one; returns it, the measured or given character time, and the verdict.

    Raises DriverError.
    """
    line = await open_line(port, config.line.break_is_marked)
    try:
        if character_s == 0 and not line.is_pty:
            raise DriverError("--fast is for a virtual machine: a real one prints ten characters a second")
        if line.kind == "socket" and (greeting := await await_greeting(line, GREETING_S)):
            _log.info("%s: the serial server says %r", line.name, greeting)
        await _warn_of_others(port, set())
        if line.kind != "tty" or not config.line.self_test:
            return line, character_s, ""
        verdict = await speed_test.run_speed_test(line)
    except BaseException:
        await line.close()
        raise
    _log.info("%s", verdict.sentence)
    return line, verdict.character_s or character_s, verdict.sentence


async def reopen_line(config: Config, port: str) -> LineTransport:
    """Opens the line again, and waits until it has held; what comes in that time is no key. Raises DriverError."""
    line = await open_line(port, config.line.break_is_marked)
    try:
        await await_greeting(line, HOLD_S)
    except BaseException:
        await line.close()
        raise
    return line


async def watch_for_others(
    port: str, tty: Teletype, current_line: Callable[[], Line], *, look_s: float = _LOOK_S, scan_s: float = _SCAN_S
) -> None:
    """Names the programs that come onto the line while the machine is idle or in doubt; never returns."""
    known = set(await _find_holders(port))
    scanned_at, doubts = tty.clock.now(), 0
    while True:
        await tty.clock.sleep_until(tty.clock.now() + look_s)
        status = tty.status()
        before, doubts = doubts, status.missing_echoes + status.counters.garbled + status.is_noisy
        is_idle = not (status.below or status.ready) and tty.clock.now() - scanned_at >= scan_s
        if status.lost or not (is_idle or doubts > before):
            continue
        scanned_at = tty.clock.now()
        has_changed = current_line().restore_settings()
        if has_changed:
            _log.warning("%s: another program has changed the settings of the line; they are set again", port)
        if await _warn_of_others(port, known) or has_changed:
            tty.lose_track()  # what they have printed is not known


async def _warn_of_others(port: str, known: set[TtyHolder]) -> bool:
    """Logs the processes on the line that are not yet known; returns whether there are any."""
    holders = await _find_holders(port)
    new = [holder for holder in holders if holder not in known]
    for holder in new:
        _log.warning("%s", holder.describe(port))
    known.clear()
    known.update(holders)
    return bool(new)


async def _find_holders(port: str) -> Sequence[TtyHolder]:
    try:
        return await asyncio.to_thread(find_holders, port)
    except RuntimeError:  # this process may start no more threads
        return find_holders(port)


class ReconnectingLine:
    """The line in use; a line that hung up is replaced by a new one. The caller closes it at the end."""

    def __init__(self, line: Line, reopen: Callable[[], Awaitable[Line]]) -> None:
        self.line = line
        self._reopen = reopen
        self._intervals = retry_intervals()
        self._refused_s = 0.0  # the wait after an attempt that found a port, but no line that held
        self._told_kinds: set[str] = set()

    async def close(self) -> None:
        await self.line.close()

    async def reconnect_forever(self, tty: Teletype) -> None:
        """After each hang-up reopens the line and attaches it to the teletype; never returns."""
        attached_at = float("-inf")
        while True:
            reason = await tty.wait_for_hang_up()
            _log.warning("%s; trying again until it is back", reason)
            if tty.clock.now() - attached_at >= LIVED_S:
                self._intervals, self._refused_s = retry_intervals(), 0.0
                self._told_kinds.clear()
            else:
                self._back_off()
            await self.line.close()
            self.line = await self._reopen_until_back(tty)
            _log.info("%s is back; the paper goes on where it was", self.line.name)
            attached_at = tty.clock.now()
            tty.attach(self.line)

    async def _reopen_until_back(self, tty: Teletype) -> Line:
        for wait_s in self._intervals:
            await tty.clock.sleep_until(tty.clock.now() + max(wait_s, self._refused_s))
            try:
                return await self._reopen()
            except DriverError as error:
                self._note_failure(error)
        raise AssertionError("the intervals do not end")

    def _note_failure(self, error: DriverError) -> None:
        """Tells once why the line cannot be used, unless it is not there, and backs off from a port that refuses."""
        if error.kind == "missing":
            return
        self._back_off()
        if error.kind not in self._told_kinds:
            self._told_kinds.add(error.kind)
            _log.warning("%s; still trying", error)

    def _back_off(self) -> None:
        self._refused_s = min(MAX_REFUSED_S, max(FIRST_INTERVAL_S, self._refused_s * 2))


def retry_intervals() -> Iterator[float]:
    """Yields the seconds between attempts: first FIRST_INTERVAL_S, then growing to MAX_INTERVAL_S."""
    wait_s = FIRST_INTERVAL_S
    for _ in range(_FIRST_ATTEMPTS):
        yield wait_s
    while True:
        wait_s = min(MAX_INTERVAL_S, wait_s * 1.5)
        yield wait_s
