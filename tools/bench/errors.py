"""What can go wrong with a benchmark; every message is one line that names the cure."""

from __future__ import annotations

from typing import ClassVar


class BenchError(Exception):
    """The root. `exit_code` is EX_SOFTWARE of sysexits.h."""

    exit_code: ClassVar[int] = 70


class WorkerFailed(BenchError):
    """A process that was to be measured died, or said that it cannot."""


class NotComparable(BenchError):
    """A model that is no other form of the one that it is to stand beside."""

    exit_code = 65


class PeerNotInstalled(BenchError):
    """A library to compare with is not installed in the environment that was named."""

    exit_code = 69


class ServerAway(BenchError):
    """A server that was to be measured does not answer."""

    exit_code = 69
