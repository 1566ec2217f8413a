"""Tells the running systemd and udev what was installed or is to be removed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.cli.output import print_message

_RUNNING_SYSTEMD = Path("/run/systemd/system")  # as sd_booted(3) asks
_ENABLED = Path("/etc/systemd/system")


def reload_services() -> None:
    """Makes the user and the folders, and lets systemd and udev read their files again."""
    _run("systemd-sysusers", "asr33.conf")
    _run("systemd-tmpfiles", "--create", "asr33.conf")
    _reload_managers()


def stop_services() -> None:
    """Stops all services of asr33; each prints the rest of its line first."""
    if _RUNNING_SYSTEMD.is_dir():
        _run("systemctl", "stop", "asr33@*.service", "asr33-serve.service")


def disable_services(root: Path) -> None:
    """Removes the links by which systemd starts the services at boot."""
    for link in (root / _ENABLED.relative_to("/")).glob("*.wants/asr33*.service"):
        if link.is_symlink() and (link.name.startswith("asr33@") or link.name == "asr33-serve.service"):
            link.unlink()
    if root == Path("/"):
        _reload_managers()


def _reload_managers() -> None:
    if _RUNNING_SYSTEMD.is_dir():
        _run("systemctl", "daemon-reload")
    if Path("/run/udev/control").exists():
        _run("udevadm", "control", "--reload")


def _run(program: str, *words: str) -> None:
    """Runs a program of systemd if it is installed; a failure is told and ends nothing."""
    if (path := shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")) is None:
        print_message(f"asr33: {program} is not installed; run it after systemd is")
        return
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    if done.returncode and "not loaded" not in done.stderr:
        print_message(f"asr33: {program} {' '.join(words)}: {' '.join(done.stderr.split()) or 'failed'}")
