"""Lets the pages of named origins read the server's answers in a browser (CORS). A key is still needed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from model.errors import ModelError

MAX_AGE_S = 600  # for which a browser remembers the answer to a preflight request
DEFAULT_PORTS = {"http": 80, "https": 443}
EXPOSED_HEADERS = ("Retry-After", "WWW-Authenticate")


def parse_origin(text: str) -> str:
    """Returns an origin as browsers write it. Raises ModelError unless it names one page's scheme, host and port."""
    example = "name one origin, such as https://chat.example or http://localhost:3000"
    problem = ModelError(f"--cors-origin {text}: {example}", "argument")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise problem from None
    is_whole = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in DEFAULT_PORTS or not is_whole:
        raise problem
    try:
        host = f"[{ipaddress.IPv6Address(host)}]" if ":" in host else host.encode("idna").decode()
    except ValueError:
        raise problem from None
    if not host or not all(char.isalnum() or char in "-.[]:_" for char in host):
        raise problem
    return f"{parts.scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def cors_middleware(origins: Sequence[str]) -> list[Middleware]:
    """Returns the layer that answers preflight requests and marks the answers, none without origins."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            allow_private_network=True,  # the server of a page on the internet may be at home
            max_age=MAX_AGE_S,
        )
    ]
