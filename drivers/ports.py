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

Kind = Literal["tty", "pty", "socket"]

# Linux Documentation/admin-guide/devices.txt: what is a tty and what only looks like one.
_PTY_MAJORS = range(136, 144)
_PTMX = (5, 2)
_CONSOLES = {4: range(64), 5: range(2)}  # the screens, /dev/tty and /dev/console
_LONGEST = 255  # of a name in a message; also what Linux allows a file's
_GIVE = "give a port like /dev/ttyUSB0, or the path of a pty"
_SOCKET = "write it socket://HOST:PORT, with no more to it"


def kind_of(where: str) -> Kind:
    """What kind of line a name is for; raises if there is nothing to open."""
    if "://" in where:
        address(where)
        return "socket"
    if not where:
        raise LineNotFound(f"the line has no name: {_those_there()}")
    try:
        found = Path(where).stat()
    except OSError as error:
        raise translated(where, error) from None
    except ValueError:  # a NUL in it, or what no file name can hold
        raise LineNotFound(f"no port {legible(where)}: {_those_there()}") from None
    if not stat.S_ISCHR(found.st_mode):
        raise LineUnfit(f"{legible(where)} is no tty: {_GIVE}")
    return _kind_of_device(legible(where), os.major(found.st_rdev), os.minor(found.st_rdev))


def _kind_of_device(name: str, major: int, minor: int) -> Kind:
    if major in _PTY_MAJORS:
        return "pty"
    if (major, minor) == _PTMX:
        raise LineUnfit(f"{name} makes ptys and is none: give the path of one, as the program at its far end shows it")
    if minor in _CONSOLES.get(major, ()):
        raise LineUnfit(f"{name} is a screen of this computer and no port: {_GIVE}")
    return "tty"


def address(url: str) -> tuple[str, int]:
    """Host and port of a `socket://` line. Raises LineUnfit."""
    name = legible(url)
    if url.lower().startswith("rfc2217://"):
        raise LineUnfit(f"{name}: RFC 2217 is not spoken here: let the server give the port raw, and {_SOCKET}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise LineUnfit(f"{name} is no line: {_SOCKET}") from None
    if parts.scheme != "socket":
        raise LineUnfit(f"{name}: no line of that kind here: {_GIVE}, or socket://HOST:PORT")
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not host or not port or more or not url.isprintable():
        raise LineUnfit(f"{name} is no line: {_SOCKET}")
    return host, port


def ports(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[str]:
    """The serial ports of this computer: by the name that stays when it is plugged in again, where one exists."""
    links = ((_behind(link), str(link)) for link in sorted(_entries(dev / "serial" / "by-id")))
    by_id = {name: link for name, link in links if name}
    plain = [port.name for port in sorted(_entries(sys / "class" / "tty")) if _has_hardware(port)]
    return [*by_id.values(), *(str(dev / name) for name in plain if name not in by_id)]


def translated(where: str, error: Exception) -> DriverError:
    """What the system said of a tty or pty, as one of ours."""
    number, name = _number(error), legible(where)
    if number == errno.ENAMETOOLONG:
        return LineNotFound(f"no port has a name of {len(where)} characters: {_those_there()}")
    if number == errno.ELOOP:
        return LineNotFound(f"{name} is a link that leads to itself: {_those_there()}")
    if number == errno.ENOENT and Path(where).is_symlink():
        return LineNotFound(f"{name} leads to {legible(os.path.realpath(where))}, which is not there: {_those_there()}")
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return LineNotFound(f"no port {name}: {_those_there()}")
    if number in (errno.EACCES, errno.EPERM):
        return LineRefused(f"you may not open {name}: sudo usermod -aG dialout $USER, then log in anew")
    if number in (errno.EBUSY, errno.EAGAIN):
        return LineBusy(f"{name} is held by another program: `fuser -v {name}` names it; stop that first")
    reason = os.strerror(number) if number else "the system does not say why"
    return LineUnfit(f"{name} cannot be the line of a Teletype ({reason}): give the port of a serial adapter, or a pty")


def unreached(url: str, error: Exception) -> DriverError:
    """Why nobody answers at a `socket://` line, as one of ours."""
    host, port = address(url)
    name, host = legible(url), legible(host)
    match error:
        case ConnectionRefusedError():
            return LineNotFound(f"{name}: nothing listens at port {port} of {host}: start the serial server there")
        case TimeoutError():
            return LineNotFound(f"{name}: {host} does not answer: see that it is on and the network reaches it")
        case UnicodeError() | gaierror():
            return LineNotFound(f"{name}: no host {host} is known: correct the name, or give its number")
    return LineNotFound(f"{name}: {host} cannot be reached: see that the network and its serial server run")


def legible(where: str) -> str:
    """The name for a message of one line, whatever somebody has put into it."""
    shown = where if where.isprintable() else ascii(where)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def listed(names: list[str]) -> str:
    """What there is to choose from, for the end of a message."""
    there = ", ".join(map(legible, names))
    return f"there are {there}" if there else "this computer shows no serial port; plug the adapter in"


def _those_there() -> str:
    return listed(ports())


def _behind(link: Path) -> str | None:
    """The name of the tty that a link leads to, if it does."""
    try:
        return Path(os.path.realpath(link, strict=True)).name
    except OSError:  # to nowhere, or to itself
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _has_hardware(port: Path) -> bool:
    """Consoles have no device behind them, and the kernel keeps ttyS ports of type 0 for cards not plugged in."""
    try:
        return (port / "device").exists() and (port / "type").read_text().strip() != "0"
    except OSError:  # only the ports of serial_core have a type
        return (port / "device").exists()


def _number(error: BaseException | None) -> int | None:
    """The system's own number for it: pyserial gives some of its errors none, and has it in the one before."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None
