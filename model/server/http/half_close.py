"""Finds out whether a client that closed its sending half still waits for its answer.

A client that is gone and one that only sends no more look the same, until something is sent: the kernel of a client
that is gone refuses it, and the next write fails. So a probe is two writes. In a stream these are comments; before an
answer, after a while, interim responses, which a client ignores (RFC 9110 15.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERIM_AFTER_S = 1.0  # until then a client that waits for its answer sees nothing but the answer
RETRY_S = 0.1  # until an answer begins; and the time for a client's kernel to refuse the first write
PROBE_INTERVAL_S = 5.0


class HalfCloseProbe:
    """Probes a client from now on until `cancel`. `write_probe` returns whether it could write.

    Its argument says whether an interim response may be sent. A write that fails closes the connection.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, write_probe: Callable[[bool], bool]) -> None:
        self._loop, self._write_probe = loop, write_probe
        self._started_at = loop.time()
        self._timer = loop.call_soon(self._write_first)

    def cancel(self) -> None:
        self._timer.cancel()

    def _write_first(self) -> None:
        has_written = self._write()
        self._timer = self._loop.call_later(RETRY_S, self._write_second if has_written else self._write_first)

    def _write_second(self) -> None:
        self._write()
        self._timer = self._loop.call_later(PROBE_INTERVAL_S, self._write_first)

    def _write(self) -> bool:
        return self._write_probe(self._loop.time() - self._started_at >= INTERIM_AFTER_S)
