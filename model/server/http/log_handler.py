"""The log of a server, said aside: by a thread of its own, so that a log which nobody takes stops nobody.

A pipe that is full, a terminal that was stopped, a disk that stands: lines wait for it, and what is more is counted.
Knows nothing of what is logged.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Full, Queue

MAX_QUEUED_LINES = 1000  # that wait
CLOSE_TIMEOUT_S = 1.0  # for those that still wait at the end


class NonBlockingHandler(logging.Handler):
    """Lines to a descriptor, past Python's own buffer: whoever is stuck in that holds its lock up to the end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._queue: Queue[bytes | None] = Queue(MAX_QUEUED_LINES)
        self._dropped_count = 0
        self._writer = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            if self._dropped_count:  # told where they would have been
                self._queue.put_nowait(
                    b"asr33: %d lines of this log are missing: nobody took them\n" % self._dropped_count
                )
                self._dropped_count = 0
            self._queue.put_nowait(line)
        except Full:
            self._dropped_count += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        with suppress(Full):
            self._queue.put(None, timeout=CLOSE_TIMEOUT_S)
            self._writer.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_lines(self) -> None:
        while (line := self._queue.get()) is not None:
            with suppress(OSError):  # whoever read it has left
                while line:
                    line = line[os.write(self._descriptor, line) :]


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """What is logged in here goes to standard error, where there is one."""
    handler = _make_handler()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _make_handler() -> logging.Handler:
    try:
        return NonBlockingHandler(sys.stderr.fileno())
    except (AttributeError, OSError):  # none, or one that is no file
        return logging.StreamHandler()
