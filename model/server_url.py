"""The URL of a model server, as users write it: http(s)://host[:port][/v1][#model]. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from model.errors import ModelError

# This machine, RFC 1918, RFC 4193 and link-local addresses. Tunnels (6to4, Teredo, NAT64) are absent because they lead
# to other networks, and 100.64.0.0/10 because a carrier's customers share it.
PRIVATE_NETWORKS = "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 ::1 fc00::/7 fe80::/10"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """`base_url` is the URL without /v1/completions; `model` is empty for the server's first model."""

    scheme: str
    host: str
    base_url: str
    model: str = ""

    @property
    def is_encrypted(self) -> bool:
        return self.scheme == "https"


def is_url(name: str) -> bool:
    """Whether a model's name is the URL of a server."""
    return "://" in name


def parse_server_url(url: str) -> ServerUrl:
    """Parses and checks a URL. Raises ModelError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host and ":" not in host:
            host.encode("idna")  # as the resolver will; raises a subclass of ValueError
    except ValueError as error:
        raise ModelError(f"{url!r} is not a URL: {error}", "argument") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or not url.isprintable() or " " in url:
        message = f"{url!r} is not the URL of a model server: write http://HOST:8033 or https://HOST#MODEL"
        raise ModelError(message, "argument")
    if parts.username is not None or parts.password is not None:
        message = "a key does not belong in a URL, where others can see it: put it in a file, key_file = ..."
        raise ModelError(message, "argument")
    path = parts.path.rstrip("/").removesuffix("/completions").removesuffix("/v1")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return ServerUrl(parts.scheme, host, f"{parts.scheme}://{netloc}{path}", parts.fragment)


def is_private_host(host: str) -> bool | None:
    """Whether an address belongs to this machine or to a private network; None for a name, which needs a look-up."""
    import ipaddress  # here, because it would slow the start of every command

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in ipaddress.ip_network(network) for network in PRIVATE_NETWORKS.split())
