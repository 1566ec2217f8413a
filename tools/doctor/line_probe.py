"""Reads what the kernel, udev and the group database say of the ports. Opens no port."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from drivers.errors import DriverError
from drivers.line.port_names import list_ports, port_kind
from drivers.line.serial_chip import adapter_at
from drivers.line.tty_holders import find_holders
from tools.doctor.finding import Unread
from tools.doctor.line_findings import ModemManagerState, PortAccess, PortReading

_IGNORE = "E:ID_MM_DEVICE_IGNORE=1"  # a line of udev's database, as its rules write it
_SERIAL = "E:ID_SERIAL="


def choose_ports(configured: str | None, daemon_lines: Iterable[str], root: Path) -> list[str]:
    """Returns the configured line and those of the daemons; all ports of this computer if there are none."""
    lines = [line for line in (configured, *daemon_lines) if line]
    return list(dict.fromkeys(lines)) or list_ports(root / "dev", root / "sys")


def read_port(port: str, daemon_pid: int | None, root: Path) -> PortReading:
    """`daemon_pid`: of the daemon that has this line, or None."""
    tty = Path(os.path.realpath(port)).name
    try:
        kind = port_kind(port)
    except DriverError as error:
        return PortReading(port, tty, "", problem=str(error))
    if kind == "socket":
        return PortReading(port, "", kind)
    proc = root / "proc"
    return PortReading(
        port,
        tty,
        kind,
        adapter=adapter_at(port, root / "sys"),
        access=_read_access(port),
        holders=tuple(find_holders(port, proc)),
        hidden=count_hidden_processes(proc),
        daemon_pid=daemon_pid,
        modem_manager=_read_modem_manager(port, root),
    )


def _read_access(port: str) -> PortAccess | Unread:
    try:
        status = Path(port).stat()
    except OSError as error:
        return Unread(f"its permissions cannot be read ({error.strerror})")
    user, group = user_name(os.geteuid()), _group_name(status.st_gid)
    return PortAccess(
        may_open=os.access(port, os.R_OK | os.W_OK, effective_ids=True),
        user=user,
        group=group,
        group_may=status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP,
        in_group=status.st_gid in _groups_of(user),
        is_active=status.st_gid in {*os.getgroups(), os.getegid()},
    )


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _groups_of(user: str) -> list[int]:
    """Returns the groups that a new login of the user would have."""
    try:
        return os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return []


def count_hidden_processes(proc: Path) -> int:
    """Returns how many processes hide their open files from this user."""
    hidden = 0
    for folder in proc.glob("[0-9]*"):
        try:
            next((folder / "fd").iterdir(), None)
        except PermissionError:
            hidden += 1
        except OSError:  # it has ended
            continue
    return hidden


def _read_modem_manager(port: str, root: Path) -> ModemManagerState | Unread:
    try:
        names = {_read_name(folder) for folder in (root / "proc").iterdir() if folder.name.isdigit()}
    except OSError as error:
        return Unread(f"the processes cannot be listed ({error.strerror})")
    if "ModemManager" not in names:
        return ModemManagerState(runs=False)
    device = Path(port).stat().st_rdev
    try:
        file = root / "run/udev/data" / f"c{os.major(device)}:{os.minor(device)}"
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return ModemManagerState(runs=True)
    serial = next((line.removeprefix(_SERIAL) for line in lines if line.startswith(_SERIAL)), "")
    return ModemManagerState(runs=True, is_told=_IGNORE in lines, serial=serial)


def _read_name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""
