"""Asks the user at this terminal before data is deleted."""

from __future__ import annotations

import sys

from model.printable import escape_controls
from tools.cli.errors import ToolError


def confirm(summary: str, question: str) -> bool:
    """Prints the summary and the question; returns whether the answer is yes. Raises ToolError without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise ToolError(f"{summary}; no terminal can ask for your consent: say --yes", "usage")
    sys.stderr.write(escape_controls(f"{summary}. {question} [y/N] "))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
