"""Where things lie on this computer: configuration, sessions, the sockets of running daemons.

The customs of XDG and of systemd. Knows names; opens nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MACHINE_FILE = "machine.toml"  # beside config.toml: the profile that calibration has found


def home_folder() -> Path | None:
    """None for a user that the system does not know, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def config_folders(environ: Mapping[str, str] = os.environ, system_folder: Path = Path("/etc")) -> Sequence[Path]:
    """The folders that settings are read from; a later one counts over an earlier."""
    folders = [system_folder / "asr33"]
    if (own := user_config_folder(environ)) is not None:
        folders.append(own)
    if "CONFIGURATION_DIRECTORY" in environ:
        folders.append(Path(environ["CONFIGURATION_DIRECTORY"].split(":")[0]))
    return folders


def user_config_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The user's own, where `asr33 calibrate` puts what it finds; None for a user without a home."""
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "asr33"
    at_home = home_folder()
    return None if at_home is None else at_home / ".config/asr33"


def session_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where logs go that nobody has sent elsewhere; None if there is no such place."""
    if "LOGS_DIRECTORY" in environ:
        return Path(environ["LOGS_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "asr33" / "sessions"
    at_home = home_folder()
    return None if at_home is None else at_home / ".local/state/asr33/sessions"


def socket_folders(environ: Mapping[str, str] = os.environ, system_folder: Path = Path("/run")) -> Sequence[Path]:
    """Where daemons may have their sockets. One that starts takes the first of `own_sockets`."""
    return [*user_socket_folders(environ), system_folder / "asr33"]


def user_socket_folders(environ: Mapping[str, str] = os.environ) -> Sequence[Path]:
    """Where a daemon of ours puts its socket: the first; the others are for those who look for one."""
    folders = []
    if environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(environ["XDG_RUNTIME_DIR"]) / "asr33")
    if environ.get("RUNTIME_DIRECTORY"):
        folders.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]))
    return [*folders, Path(tempfile.gettempdir()) / f"asr33-{os.getuid()}"]
