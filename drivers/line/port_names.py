"""The names of lines: which ports this computer has, what stands behind a name, and what is wrong with one.

Looks at /dev and /sys, and opens nothing. Every failure of the system leaves here as one line that names the cure.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from socket import gaierror
from typing import Literal
from urllib.parse import urlsplit

from drivers.errors import DriverError, LineBusy, LineNotFound, LineRefused, LineUnfit

PortKind = Literal["tty", "pty", "socket"]

# Linux Documentation/admin-guide/devices.txt: what is a tty and what only looks like one.
_PTY_MAJORS = range(136, 144)
_PTMX = (5, 2)
_CONSOLES = {4: range(64), 5: range(2)}  # the screens, /dev/tty and /dev/console
_MAX_NAME_LENGTH = 255  # of a name in a message; also what Linux allows a file's
_HINT_PORT = "give a port like /dev/ttyUSB0, or the path of a pty"
_HINT_SOCKET = "write it socket://HOST:PORT, with no more to it"


def port_kind(port_name: str) -> PortKind:
    """What kind of line a name is for; raises if there is nothing to open."""
    if "://" in port_name:
        parse_socket_url(port_name)
        return "socket"
    if not port_name:
        raise LineNotFound(f"the line has no name: {_available_ports_text()}")
    try:
        found = Path(port_name).stat()
    except OSError as error:
        raise driver_error_for(port_name, error) from None
    except ValueError:  # a NUL in it, or what no file name can hold
        raise LineNotFound(f"no port {printable(port_name)}: {_available_ports_text()}") from None
    if not stat.S_ISCHR(found.st_mode):
        raise LineUnfit(f"{printable(port_name)} is no tty: {_HINT_PORT}")
    return _device_kind(printable(port_name), os.major(found.st_rdev), os.minor(found.st_rdev))


def _device_kind(name: str, major: int, minor: int) -> PortKind:
    if major in _PTY_MAJORS:
        return "pty"
    if (major, minor) == _PTMX:
        raise LineUnfit(f"{name} makes ptys and is none: give the path of one, as the program at its far end shows it")
    if minor in _CONSOLES.get(major, ()):
        raise LineUnfit(f"{name} is a screen of this computer and no port: {_HINT_PORT}")
    return "tty"


def parse_socket_url(url: str) -> tuple[str, int]:
    """Host and port of a `socket://` line. Raises LineUnfit."""
    name = printable(url)
    if url.lower().startswith("rfc2217://"):
        raise LineUnfit(f"{name}: RFC 2217 is not spoken here: let the server give the port raw, and {_HINT_SOCKET}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise LineUnfit(f"{name} is no line: {_HINT_SOCKET}") from None
    if parts.scheme != "socket":
        raise LineUnfit(f"{name}: no line of that kind here: {_HINT_PORT}, or socket://HOST:PORT")
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not host or not port or more or not url.isprintable():
        raise LineUnfit(f"{name} is no line: {_HINT_SOCKET}")
    return host, port


def list_ports(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[str]:
    """The serial ports of this computer: by the name that stays when it is plugged in again, where one exists."""
    links = ((_tty_behind_link(link), str(link)) for link in sorted(_folder_entries(dev / "serial" / "by-id")))
    by_id = {name: link for name, link in links if name}
    plain = [port.name for port in sorted(_folder_entries(sys / "class" / "tty")) if _is_hardware_port(port)]
    return [*by_id.values(), *(str(dev / name) for name in plain if name not in by_id)]


def driver_error_for(port_name: str, error: Exception) -> DriverError:
    """What the system said of a tty or pty, as one of ours."""
    number, name = _errno_of(error), printable(port_name)
    if number == errno.ENAMETOOLONG:
        return LineNotFound(f"no port has a name of {len(port_name)} characters: {_available_ports_text()}")
    if number == errno.ELOOP:
        return LineNotFound(f"{name} is a link that leads to itself: {_available_ports_text()}")
    if number == errno.ENOENT and Path(port_name).is_symlink():
        return LineNotFound(
            f"{name} leads to {printable(os.path.realpath(port_name))}, which is not there: {_available_ports_text()}"
        )
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return LineNotFound(f"no port {name}: {_available_ports_text()}")
    if number in (errno.EACCES, errno.EPERM):
        return LineRefused(f"you may not open {name}: sudo usermod -aG dialout $USER, then log in anew")
    if number in (errno.EBUSY, errno.EAGAIN):
        return LineBusy(f"{name} is held by another program: `fuser -v {name}` names it; stop that first")
    reason = os.strerror(number) if number else "the system does not say why"
    return LineUnfit(f"{name} cannot be the line of a Teletype ({reason}): give the port of a serial adapter, or a pty")


def connect_error_for(url: str, error: Exception) -> DriverError:
    """Why nobody answers at a `socket://` line, as one of ours."""
    host, port = parse_socket_url(url)
    name, host = printable(url), printable(host)
    match error:
        case ConnectionRefusedError():
            return LineNotFound(f"{name}: nothing listens at port {port} of {host}: start the serial server there")
        case TimeoutError():
            return LineNotFound(f"{name}: {host} does not answer: see that it is on and the network reaches it")
        case UnicodeError() | gaierror():
            return LineNotFound(f"{name}: no host {host} is known: correct the name, or give its number")
    return LineNotFound(f"{name}: {host} cannot be reached: see that the network and its serial server run")


def printable(port_name: str) -> str:
    """The name for a message of one line, whatever somebody has put into it."""
    shown = port_name if port_name.isprintable() else ascii(port_name)
    return shown if len(shown) <= _MAX_NAME_LENGTH else f"{shown[:_MAX_NAME_LENGTH]}..."


def list_ports_text(names: list[str]) -> str:
    """What there is to choose from, for the end of a message."""
    there = ", ".join(map(printable, names))
    return f"there are {there}" if there else "this computer shows no serial port; plug the adapter in"


def _available_ports_text() -> str:
    return list_ports_text(list_ports())


def _tty_behind_link(link: Path) -> str | None:
    """The name of the tty that a link leads to, if it does."""
    try:
        return Path(os.path.realpath(link, strict=True)).name
    except OSError:  # to nowhere, or to itself
        return None


def _folder_entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_hardware_port(port: Path) -> bool:
    """Consoles have no device behind them, and the kernel keeps ttyS ports of type 0 for cards not plugged in."""
    try:
        return (port / "device").exists() and (port / "type").read_text().strip() != "0"
    except OSError:  # only the ports of serial_core have a type
        return (port / "device").exists()


def _errno_of(error: BaseException | None) -> int | None:
    """The system's own number for it: pyserial gives some of its errors none, and has it in the one before."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None
