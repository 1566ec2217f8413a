"""The form of the program's log lines on standard error, which is a terminal or the journal."""

from __future__ import annotations

import logging
import sys

from model.printable import escape_controls


class PrintableFormatter(logging.Formatter):
    """The message on one line, without characters that act on a terminal; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escape_controls(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record), keep="\n")


def log_to_stderr(level: int) -> None:
    """Writes the log from this level on to standard error; nothing if the log has a place already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
