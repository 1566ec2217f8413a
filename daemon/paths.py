"""The paths of configuration, session logs and control sockets, by the rules of XDG and systemd. It opens nothing."""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

MACHINE_FILE = "machine.toml"  # beside config.toml: the profile that calibration has found
_MAX_NAME_CHARS = 20  # of a port's name; unix(7) allows 108 bytes for a socket's path


def _home_folder() -> Path | None:
    """Returns the user's home; None for a user that the system does not know, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def config_folders(environ: Mapping[str, str] = os.environ, system_folder: Path = Path("/etc")) -> Sequence[Path]:
    """Returns the folders of configuration files; a later one overrides an earlier one."""
    folders = [system_folder / "asr33"]
    if (user_folder := user_config_folder(environ)) is not None:
        folders.append(user_folder)
    if "CONFIGURATION_DIRECTORY" in environ:
        folders.append(Path(environ["CONFIGURATION_DIRECTORY"].split(":")[0]))
    return folders


def user_config_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Returns the user's folder, where `asr33 calibrate` writes; None for a user without a home."""
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "asr33"
    home = _home_folder()
    return home and home / ".config/asr33"


def session_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Returns the default folder of session logs; None for a user without a home."""
    if "LOGS_DIRECTORY" in environ:
        return Path(environ["LOGS_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "asr33" / "sessions"
    home = _home_folder()
    return home and home / ".local/state/asr33/sessions"


def state_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Returns the folder of what a daemon must remember, such as its spool; None for a user without a home."""
    if "STATE_DIRECTORY" in environ:
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "asr33"
    home = _home_folder()
    return home and home / ".local/state/asr33"


def socket_folders(environ: Mapping[str, str] = os.environ, system_folder: Path = Path("/run")) -> Sequence[Path]:
    """Returns the folders where a command looks for control sockets."""
    return [*user_socket_folders(environ), system_folder / "asr33"]


def user_socket_folders(environ: Mapping[str, str] = os.environ) -> Sequence[Path]:
    """Returns the folders for sockets of this user's daemons; a daemon that starts uses the first."""
    folders = []
    if environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(environ["XDG_RUNTIME_DIR"]) / "asr33")
    if environ.get("RUNTIME_DIRECTORY"):
        folders.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]))
    return [*folders, Path(tempfile.gettempdir()) / f"asr33-{os.getuid()}"]


def line_file_name(port: str) -> str:
    """Returns a unique file name without suffix for the socket and the motor's hours of a line."""
    return f"{re.sub('[^A-Za-z0-9]+', '-', port).strip('-')[-_MAX_NAME_CHARS:]}-{zlib.crc32(os.fsencode(port)):08x}"
