"""Errors of the benchmark that its own code catches; all others are plain ToolErrors."""

from __future__ import annotations

from tools.cli.errors import ToolError


class WorkerFailed(ToolError):
    """A worker process has died, or has reported that it cannot do its work."""


class PeerNotInstalled(ToolError):
    """The library of another engine is missing in the given Python environment."""

    kind = "unavailable"
