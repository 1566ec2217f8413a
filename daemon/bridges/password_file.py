"""The password or token of an account, from a file that only its user reads. No log and no configuration has it."""

from __future__ import annotations

from pathlib import Path

from daemon.errors import ConfigError


def read_password(section: str, path: Path | None) -> str:
    """Returns the password in the file of [section] password_file; "" if none is configured. Raises ConfigError."""
    if path is None:
        return ""
    try:
        password = path.expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ConfigError(f"[{section}] password_file: {path}: {reason}") from None
    if not password or "\n" in password:
        raise ConfigError(f"[{section}] password_file: {path}: write the password or the token there, on one line")
    return password
