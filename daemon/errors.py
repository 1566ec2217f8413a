"""What a person can have set wrong; every message names the cure, in one line."""

from __future__ import annotations

from typing import ClassVar


class ConfigError(ValueError):
    """A setting that is unknown, or of the wrong kind."""

    exit_code: ClassVar[int] = 78  # EX_CONFIG of sysexits.h


class LogUnmakable(Exception):
    """The session log cannot be begun where it should be kept."""

    exit_code: ClassVar[int] = 73  # EX_CANTCREAT
