"""A line that hangs up is opened again, for as long as it takes, and the teletype goes on where it was.

Knows when to try; how a line is opened comes from outside.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from drivers.errors import DriverError
from drivers.line.line import Line
from drivers.teletype import Teletype

FIRST_INTERVAL_S = 1.0
MAX_INTERVAL_S = 10.0
_FIRST_ATTEMPTS = 10  # tries at the first interval: a plug that is put back is in within seconds

_log = logging.getLogger("asr33")


class ReconnectingLine:
    """The line in use; whoever made it closes it, whichever it is by then."""

    def __init__(self, line: Line, reopen: Callable[[], Awaitable[Line]]) -> None:
        self.line = line
        self._reopen = reopen

    async def close(self) -> None:
        await self.line.close()

    async def reconnect_forever(self, tty: Teletype) -> None:
        """Never back: at each hang-up it tries until the line is there again, and has the teletype go on."""
        while True:
            reason = await tty.wait_for_hang_up()
            _log.warning("%s; trying again until it is back", reason)
            await self.line.close()
            self.line = await self._reopen_until_back(tty)
            _log.info("%s is back, and goes on where it was", self.line.name)
            tty.attach(self.line)

    async def _reopen_until_back(self, tty: Teletype) -> Line:
        for wait_s in retry_intervals():
            await tty.clock.sleep_until(tty.clock.now() + wait_s)
            with contextlib.suppress(DriverError):
                return await self._reopen()
        raise AssertionError("the intervals do not end")


def retry_intervals() -> Iterator[float]:
    """Seconds between tries: often at first, then ever more rarely."""
    wait_s = FIRST_INTERVAL_S
    for _ in range(_FIRST_ATTEMPTS):
        yield wait_s
    while True:
        wait_s = min(MAX_INTERVAL_S, wait_s * 1.5)
        yield wait_s
