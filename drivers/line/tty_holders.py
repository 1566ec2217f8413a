"""The other processes on a tty: by their open files, and by the terminal of their session. Reads /proc, opens nothing.

A getty takes no lock, so an exclusive open does not keep it away. The open files of other users' processes are hidden
from a user, but the terminal of their session is not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TTY_FIELD = 4  # of /proc/PID/stat, counted behind the name: tty_nr, proc(5)
_UNITS = {  # process name: the unit to stop
    "agetty": "serial-getty@{tty}",
    "getty": "serial-getty@{tty}",
    "login": "serial-getty@{tty}",
    "ModemManager": "ModemManager",
    "brltty": "brltty",
    "gpsd": "gpsd.socket gpsd",
}


@dataclass(frozen=True, slots=True)
class TtyHolder:
    """A process that has a tty open, or whose session has it as its terminal."""

    pid: int
    name: str
    has_as_terminal: bool

    def describe(self, port: str) -> str:
        """Returns one line with the cure."""
        unit = _UNITS.get(self.name, "").format(tty=Path(os.path.realpath(port)).name)
        cure = f"sudo systemctl stop {unit}" if unit else f"end it (kill {self.pid})"
        return f"{port}: {self.name} (process {self.pid}) is on the line too: {cure}"


def find_holders(port: str, proc: Path = _PROC) -> list[TtyHolder]:
    """Returns the other processes at a tty or pty, without the far end of a pty; none for a port that is not there."""
    device = _device_of(Path(port))
    if device is None:
        return []
    holders = []
    for folder in _process_folders(proc):
        has_as_terminal = _terminal_of(folder) == device
        if has_as_terminal or _has_open(folder, device):
            holders.append(TtyHolder(int(folder.name), _process_name(folder), has_as_terminal))
    return holders


def find_terminal_user(port: str, proc: Path = _PROC) -> TtyHolder | None:
    """Returns a process whose session has this tty as its terminal, the caller's own included."""
    device = _device_of(Path(port))
    for folder in _process_folders(proc, with_self=True):
        if device is not None and _terminal_of(folder) == device:
            return TtyHolder(int(folder.name), _process_name(folder), True)
    return None


def _device_of(path: Path) -> int | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_rdev if stat.S_ISCHR(status.st_mode) else None


def _process_folders(proc: Path, *, with_self: bool = False) -> Iterator[Path]:
    own = str(os.getpid())
    for folder in sorted(proc.glob("[0-9]*")):
        if folder.name.isdigit() and (with_self or folder.name != own):
            yield folder


def _terminal_of(folder: Path) -> int | None:
    """Returns the device of the terminal of a process's session; None without one."""
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        number = int(fields[_TTY_FIELD])
    except (OSError, ValueError, IndexError):
        return None
    # The kernel's form of a device number: minor 20..31, major 8..19 as bits, minor 0..7.
    return os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00) if number else None


def _has_open(folder: Path, device: int) -> bool:
    """Whether a process has the device open, and is not the far end of it if it is a pty."""
    is_open = False
    for link in _open_files(folder):
        try:
            target = str(link.readlink())
            if target.endswith("/ptmx"):
                if _pty_number(folder, link.name) == os.minor(device):
                    return False
            elif target.startswith("/dev/") and not is_open:
                is_open = link.stat().st_rdev == device
        except OSError:  # closed meanwhile
            continue
    return is_open


def _open_files(folder: Path) -> list[Path]:
    try:
        return list((folder / "fd").iterdir())
    except OSError:  # another user's process, or one that has ended
        return []


def _pty_number(folder: Path, fd: str) -> int | None:
    """Returns the number of the pty whose master this file is."""
    try:
        for line in (folder / "fdinfo" / fd).read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "tty-index":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def _process_name(folder: Path) -> str:
    """Returns the name of a process in printable characters; `asr33` for this program."""
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        name = (folder / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
    if any(Path(word).name == "asr33" or word == "tools.main" for word in words[:4]):
        name = "asr33"
    return "".join(char for char in name if char.isprintable()) or "a process"
