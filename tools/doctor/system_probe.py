"""Reads the computer: its folders and their disks, and the systemd units. Writes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon import paths
from daemon.config import Config, resolve_log_folder
from daemon.errors import ConfigError
from model.store import store
from tools.doctor.finding import Unread
from tools.doctor.system_findings import FolderReading, UnitsReading

UNIT = "asr33@.service"
_UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_LIST_UNITS = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "asr33*")
_SYSTEMCTL_TIMEOUT_S = 10.0

Run = Callable[[Sequence[str]], str]


def list_folders(config: Config) -> dict[str, Path | None]:
    """Returns the folders that asr33 writes to, by their purpose; None for a user without a home."""
    try:
        logs: Path | None = resolve_log_folder(config)
    except ConfigError:
        logs = None
    return {"session logs": logs, "state and spool": paths.state_folder(), "models": store.models_folder()}


def list_service_folders(root: Path) -> dict[str, Path]:
    """Returns the folders of the systemd service that are there: asr33@.service makes them."""
    folders = {"session logs of the service": root / "var/log/asr33", "state of the service": root / "var/lib/asr33"}
    return {purpose: folder for purpose, folder in folders.items() if folder.exists()}


def read_folder(purpose: str, folder: Path | None, *, is_own: bool = True) -> FolderReading | Unread:
    """`is_own`: the caller's commands write there, so that its permission counts."""
    if folder is None:
        return Unread("this user has no home: name a folder with --log")
    there = folder.absolute()
    try:
        while not there.is_dir() and there != there.parent:
            there = there.parent
        disk = os.statvfs(there)
    except PermissionError:
        return FolderReading(purpose, str(there), None, None, is_read_only=False, may_write=False)
    except OSError as error:
        return Unread(f"{there} cannot be read ({error.strerror})")
    return FolderReading(
        purpose,
        str(there),
        disk.f_bavail * disk.f_frsize,
        disk.f_favail if disk.f_files else None,
        bool(disk.f_flag & os.ST_RDONLY),
        os.access(there, os.W_OK | os.X_OK, effective_ids=True) if is_own else None,
    )


def read_units(root: Path, run: Run | None = None) -> UnitsReading | Unread:
    """`run` runs a command of systemd and returns its output; it may raise OSError."""
    if not (root / "run/systemd/system").is_dir():  # as sd_booted(3) asks
        return Unread("systemd does not run here")
    installed = any((root / folder / UNIT).exists() for folder in _UNIT_FOLDERS)
    try:
        output = (run or _run_command)(_LIST_UNITS)
    except (OSError, subprocess.SubprocessError) as error:
        return Unread(f"systemctl does not answer ({type(error).__name__})")
    rows = [line.split() for line in output.splitlines()]
    return UnitsReading(installed, tuple((row[0], row[2]) for row in rows if len(row) > 3))  # UNIT LOAD ACTIVE SUB


def _run_command(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_S, check=True)
    return done.stdout
