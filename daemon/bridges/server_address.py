"""The address of a bridge's server, and the certificates to trust there."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the server is; without `tls` the connection is plain."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_server_address(section: str, server: str, port: int, example: str) -> tuple[str, int]:
    """Returns host and port of a name, HOST:PORT or [IPV6]:PORT; `port` if it names none. Raises ConfigError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+))(?::(\d{1,5}))?", server)
    port = int(match[3] or port) if match else 0
    if match is None or not 0 < port < 65_536:
        raise ConfigError(f'[{section}] server = {server!r}: write HOST or HOST:PORT, such as "{example}"')
    return match[1] or match[2], port


def make_tls_context(section: str, ca_file: Path | None) -> ssl.SSLContext:
    """Returns the context of an encrypted connection to a server whose name is checked. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca_file.expanduser() if ca_file else None)
    except OSError as error:  # SSLError is one
        raise ConfigError(f"[{section}] ca_file: {ca_file}: {error.strerror or error}") from None
