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

_PTY_MAJORS = range(136, 144)  # UNIX98 pty slaves, Linux Documentation/admin-guide/devices.txt
_SOCKET = "write it socket://HOST:PORT, with no more to it"


def kind_of(where: str) -> Kind:
    """What kind of line a name is for; raises if there is nothing to open."""
    if "://" in where:
        address(where)
        return "socket"
    name = legible(where)
    try:
        found = Path(where).stat()
    except OSError as error:
        raise translated(where, error) from None
    except ValueError:  # a NUL in it, or what no file name can hold
        raise LineNotFound(f"no port {name}: {_those_there()}") from None
    if not stat.S_ISCHR(found.st_mode):
        raise LineUnfit(f"{name} is no tty: give a port like /dev/ttyUSB0, or the path of a pty")
    return "pty" if os.major(found.st_rdev) in _PTY_MAJORS else "tty"


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
        raise LineUnfit(
            f"{name}: no line of that kind here: give a port like /dev/ttyUSB0, the path of a pty, or socket://HOST:PORT"
        )
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not host or not port or more or not url.isprintable():
        raise LineUnfit(f"{name} is no line: {_SOCKET}")
    return host, port


def ports(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[str]:
    """The serial ports of this computer: by the name that stays when it is plugged in again, where one exists."""
    by_id = {link.resolve().name: str(link) for link in sorted(_entries(dev / "serial" / "by-id"))}
    plain = [port.name for port in sorted(_entries(sys / "class" / "tty")) if _has_hardware(port)]
    return [*by_id.values(), *(str(dev / name) for name in plain if name not in by_id)]


def translated(where: str, error: Exception) -> DriverError:
    """What the system said of a tty or pty, as one of ours."""
    number, name = _number(error), legible(where)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG):
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
    match error:
        case ConnectionRefusedError():
            return LineNotFound(f"{url}: nothing listens at port {port} of {host}: start the serial server there")
        case TimeoutError():
            return LineNotFound(f"{url}: {host} does not answer: see that it is switched on and the network reaches it")
        case UnicodeError() | gaierror():
            return LineNotFound(f"{url}: no host {host} is known: correct the name, or give its number")
    return LineNotFound(f"{url}: {host} cannot be reached: see that the network and its serial server run")


def legible(where: str) -> str:
    """The name for a message of one line, whatever somebody has put into it."""
    return where if where.isprintable() else ascii(where)


def _those_there() -> str:
    there = ports()
    return f"there are {', '.join(there)}" if there else "this computer shows no serial port; plug the adapter in"


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
