"""Opens and tests the machine's line; after a hang-up it reopens the line, and the teletype goes on where it was."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from daemon.config import Config
from drivers.errors import DriverError
from drivers.line import speed_test
from drivers.line.line import Line, open_line
from drivers.line.line_transport import LineTransport
from drivers.teletype import Teletype

FIRST_INTERVAL_S = 1.0
MAX_INTERVAL_S = 10.0
_FIRST_ATTEMPTS = 10  # at the first interval: a plug that fell out is back within seconds

_log = logging.getLogger("asr33")


async def open_and_test_line(config: Config, port: str, character_s: float) -> tuple[LineTransport, float, str]:
    """Opens the line and tests a real one; returns it, the measured or given character time, and the verdict.

    Raises DriverError.
    """
    line = await open_line(port, config.line.break_is_marked)
    try:
        if character_s == 0 and not line.is_pty:
            raise DriverError("--fast is for a virtual machine: a real one prints ten characters a second")
        if line.kind != "tty" or not config.line.self_test:
            return line, character_s, ""
        verdict = await speed_test.run_speed_test(line)
    except BaseException:
        await line.close()
        raise
    _log.info("%s", verdict.sentence)
    return line, verdict.character_s or character_s, verdict.sentence


class ReconnectingLine:
    """The line in use; a line that hung up is replaced by a new one. The caller closes it at the end."""

    def __init__(self, line: Line, reopen: Callable[[], Awaitable[Line]]) -> None:
        self.line = line
        self._reopen = reopen

    async def close(self) -> None:
        await self.line.close()

    async def reconnect_forever(self, tty: Teletype) -> None:
        """After each hang-up reopens the line and attaches it to the teletype; never returns."""
        while True:
            reason = await tty.wait_for_hang_up()
            _log.warning("%s; trying again until it is back", reason)
            await self.line.close()
            self.line = await self._reopen_until_back(tty)
            _log.info("%s is back; the paper goes on where it was", self.line.name)
            tty.attach(self.line)

    async def _reopen_until_back(self, tty: Teletype) -> Line:
        for wait_s in retry_intervals():
            await tty.clock.sleep_until(tty.clock.now() + wait_s)
            with contextlib.suppress(DriverError):
                return await self._reopen()
        raise AssertionError("the intervals do not end")


def retry_intervals() -> Iterator[float]:
    """Yields the seconds between attempts: first FIRST_INTERVAL_S, then growing to MAX_INTERVAL_S."""
    wait_s = FIRST_INTERVAL_S
    for _ in range(_FIRST_ATTEMPTS):
        yield wait_s
    while True:
        wait_s = min(MAX_INTERVAL_S, wait_s * 1.5)
        yield wait_s
