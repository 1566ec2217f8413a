"""Names of ports: the ports of this computer, the kind of a port, and the errors of opening a port.

Reads /dev and /sys, and opens nothing. Each error of the system becomes one line that names the cure.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from socket import gaierror
from typing import Literal
from urllib.parse import urlsplit

from drivers.errors import DriverError

PortKind = Literal["tty", "pty", "socket"]

# Linux Documentation/admin-guide/devices.txt: device numbers of ttys, and of devices that only look like one.
_PTY_MAJORS = range(136, 144)
_PTMX = (5, 2)
_CONSOLES = {4: range(64), 5: range(2)}  # the virtual consoles, /dev/tty and /dev/console
_MAX_NAME_LENGTH = 255  # of a name in a message; also the limit of Linux for file names
_HINT_PORT = "give a port like /dev/ttyUSB0, or the path of a pty"
NETWORK_SCHEMES = ("socket", "telnet", "rfc2217")  # raw bytes; telnet; telnet with the server's port settings


def port_kind(port_name: str) -> PortKind:
    """Returns the kind of line that a name is for. Raises DriverError if there is no such port."""
    if "://" in port_name:
        parse_socket_url(port_name)
        return "socket"
    if not port_name:
        raise _no_such_port("the line has no name")
    try:
        status = Path(port_name).stat()
    except OSError as error:
        raise driver_error_for(port_name, error) from None
    except ValueError:  # a NUL, or a character that no file name can hold
        raise _no_such_port(f"no port {printable(port_name)}") from None
    if not stat.S_ISCHR(status.st_mode):
        raise DriverError(f"{printable(port_name)} is not a tty: {_HINT_PORT}")
    return _device_kind(printable(port_name), os.major(status.st_rdev), os.minor(status.st_rdev))


def _device_kind(name: str, major: int, minor: int) -> PortKind:
    if major in _PTY_MAJORS:
        return "pty"
    if (major, minor) == _PTMX:
        raise DriverError(
            f"{name} makes ptys and is not one: give the path of a pty, as the program at its far end shows it"
        )
    if minor in _CONSOLES.get(major, ()):
        raise DriverError(f"{name} is a console of this computer, not a port: {_HINT_PORT}")
    return "tty"


def url_scheme(url: str) -> str:
    """Returns `socket`, `telnet` or `rfc2217` of a line on the network; empty for another line."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    return scheme if scheme in NETWORK_SCHEMES else ""


def parse_socket_url(url: str) -> tuple[str, int]:
    """Returns host and port of a `socket://`, `telnet://` or `rfc2217://` line. Raises DriverError."""
    name, scheme = printable(url), url_scheme(url)
    hint = f"write it {scheme or 'socket'}://HOST:PORT, with no more to it"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise DriverError(f"{name} is not a line: {hint}") from None
    if not scheme:
        kinds = ", ".join(f"{scheme}://" for scheme in NETWORK_SCHEMES)
        raise DriverError(f"{name}: this kind of line is not supported: {_HINT_PORT}, or {kinds} and HOST:PORT")
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not host or not port or more or not url.isprintable():
        raise DriverError(f"{name} is not a line: {hint}")
    return host, port


def list_ports(dev: Path = Path("/dev"), sys: Path = Path("/sys")) -> list[str]:
    """Returns the serial ports of this computer, each by a name that survives replugging if it has one."""
    links = ((_tty_behind_link(link), str(link)) for link in sorted(_folder_entries(dev / "serial" / "by-id")))
    by_id = {name: link for name, link in links if name}
    plain = [port.name for port in sorted(_folder_entries(sys / "class" / "tty")) if _is_hardware_port(port)]
    return [*by_id.values(), *(str(dev / name) for name in plain if name not in by_id)]


def driver_error_for(port_name: str, error: Exception) -> DriverError:
    """Returns the DriverError for an error of the system on opening a tty or pty."""
    number, name = _errno_of(error), printable(port_name)
    if number == errno.ENAMETOOLONG:
        return _no_such_port(f"no port has a name of {len(port_name)} characters")
    if number == errno.ELOOP:
        return _no_such_port(f"{name} is a link that leads to itself")
    if number == errno.ENOENT and Path(port_name).is_symlink():
        return _no_such_port(f"{name} leads to {printable(os.path.realpath(port_name))}, which is not there")
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return _no_such_port(f"no port {name}")
    if number in (errno.EACCES, errno.EPERM):
        return DriverError(f"you may not open {name}: sudo usermod -aG dialout $USER, then log in again", "denied")
    if number in (errno.EBUSY, errno.EAGAIN):
        return DriverError(f"{name} is held by another program: `fuser -v {name}` names it; stop that first", "busy")
    reason = os.strerror(number) if number else "the system does not say why"
    return DriverError(
        f"{name} cannot be the line of a Teletype ({reason}): give the port of a serial adapter, or a pty"
    )


def connect_error_for(url: str, error: Exception) -> DriverError:
    """Returns the DriverError for a failed connection to a line on the network."""
    host, port = parse_socket_url(url)
    name, host = printable(url), printable(host)
    match error:
        case ConnectionRefusedError():
            reason = f"nothing listens at port {port} of {host}: start the serial server there"
        case TimeoutError():
            reason = f"{host} does not answer: see that it is on and the network reaches it"
        case UnicodeError() | gaierror():
            reason = f"no host {host} is known: correct the name, or give its number"
        case _:
            reason = f"{host} cannot be reached: see that the network and its serial server run"
    return DriverError(f"{name}: {reason}", "missing")


def printable(port_name: str) -> str:
    """Returns the name in a form that fits into a message of one line."""
    shown = port_name if port_name.isprintable() else ascii(port_name)
    return shown if len(shown) <= _MAX_NAME_LENGTH else f"{shown[:_MAX_NAME_LENGTH]}..."


def _no_such_port(reason: str) -> DriverError:
    return DriverError(f"{reason}: {list_ports_text(list_ports())}", "missing")


def list_ports_text(names: list[str]) -> str:
    """Returns the available ports as the end of a message."""
    ports = ", ".join(map(printable, names))
    return f"there are {ports}" if ports else "this computer shows no serial port; plug the adapter in"


def _tty_behind_link(link: Path) -> str | None:
    """Returns the name of the tty that a link leads to; None if it leads nowhere."""
    try:
        return Path(os.path.realpath(link, strict=True)).name
    except OSError:  # a dangling or circular link
        return None


def _folder_entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_hardware_port(port: Path) -> bool:
    """Whether hardware is behind a tty: a console has no device, and a ttyS port without a card has type 0."""
    try:
        return (port / "device").exists() and (port / "type").read_text().strip() != "0"
    except OSError:  # only the ports of serial_core have a type
        return (port / "device").exists()


def _errno_of(error: BaseException | None) -> int | None:
    """Returns the errno of an error: some of pyserial's errors carry it only in their context."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__context__
    return None
