"""A log handler that never blocks the server, even if nothing reads the log: a separate thread writes the lines."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Full, Queue

from model.log_format import PrintableFormatter

MAX_QUEUED_LINES = 1000
CLOSE_TIMEOUT_S = 1.0  # for the lines that are queued at the end


class NonBlockingHandler(logging.Handler):
    """Writes to a descriptor, because a blocked write to a Python stream would hold the stream's lock until the end."""

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
            if self._dropped_count:  # noted at the place of the missing lines
                note = b"asr33: %d lines are missing here: the log was not read\n"
                self._queue.put_nowait(note % self._dropped_count)
                self._dropped_count = 0
            self._queue.put_nowait(line)
        except Full:
            self._dropped_count += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        with suppress(Full):
            self._queue.put(None, timeout=CLOSE_TIMEOUT_S)
            if self._writer.ident is not None:  # it was started
                self._writer.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_lines(self) -> None:
        while (line := self._queue.get()) is not None:
            with suppress(OSError):  # the pipe has no reader any more
                while line:
                    line = line[os.write(self._descriptor, line) :]


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Writes the log to standard error, if it is open, while the block runs."""
    try:
        handler: logging.Handler = NonBlockingHandler(sys.stderr.fileno())
    except (AttributeError, OSError):  # standard error is closed or has no descriptor
        handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
