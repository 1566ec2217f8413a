"""The URL of a model server, as people write it: http(s)://host[:port][/v1][#model]. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from model.errors import AddressWrong

SCHEMES = ("http", "https")
# This machine, and RFC 1918, RFC 4193 and what no router passes on. A tunnel's ends are elsewhere, and carriers share
# 100.64.0.0/10 among strangers.
PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """`base` is what /v1/completions is put behind; `model` is empty where the server's first is meant."""

    scheme: str
    host: str
    base_url: str
    model: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether nobody on the way can read along."""
        return self.scheme == "https"


def is_url(name: str) -> bool:
    """Whether a model's name is the URL of a server."""
    return "://" in name


def parse_server_url(url: str) -> ServerUrl:
    """Raises AddressWrong."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host and ":" not in host:
            host.encode("idna")  # as whoever looks it up will; it raises a kind of ValueError
    except ValueError as error:
        raise AddressWrong(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in SCHEMES or not host or parts.query or not url.isprintable() or " " in url:
        raise AddressWrong(f"{url!r} is not the URL of a model server: write http://HOST:8033 or https://HOST#MODEL")
    if parts.username is not None or parts.password is not None:
        raise AddressWrong("a key does not belong in a URL, where everybody sees it: put it in a file, key_file = ...")
    path = parts.path.rstrip("/").removesuffix("/completions").removesuffix("/v1")
    where = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{where}{f':{port}' if port else ''}{path}"
    return ServerUrl(parts.scheme, host, base, parts.fragment)


def is_private_host(host: str) -> bool | None:
    """Whether an address is this machine's or of a private network; None for a name, which must be looked up."""
    import ipaddress  # one more name in every command's first tenth of a second otherwise

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in ipaddress.ip_network(each) for each in PRIVATE_NETWORKS)
