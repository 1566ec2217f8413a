"""Who may see the page: without a key only browsers on this computer; with one, a browser that has shown it once.

The key comes in a POST or in an Authorization header, never in a URL, which proxies log. Pure.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Mapping

from daemon.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:8034"
COOKIE = "asr33"
COOKIE_DAYS = 400  # the longest that browsers keep one
POST_HEADER = "x-asr33"  # a page of another site cannot send it without leave, which it never gets


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches the host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> tuple[str, int]:
    """Returns host and port of "8034", "0.0.0.0:8034" or "[::1]:8034"; the host is loopback by default.

    Raises ConfigError.
    """
    host, _, port = text.strip().rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(f"[web] listen = {text!r}: give a port, or ADDRESS:PORT, such as {DEFAULT_ADDRESS}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class Access:
    """The rule of one page. `accepts_key` is None for a page that only this computer reaches."""

    def __init__(self, accepts_key: Callable[[str], bool] | None = None) -> None:
        self.accepts_key = accepts_key

    def allows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers, in lower case, may see the page.

        Without a key the request must name this computer: another site's name that points here is refused.
        """
        if self.accepts_key is None:
            return is_loopback(_host_of(headers.get("host", "")))
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.accepts_key(key.strip())
        return bool(key := _cookie_key(headers.get("cookie", ""))) and self.accepts_key(key)


def make_cookie(key: str, *, is_https: bool) -> str:
    """Returns the Set-Cookie header for a browser that has shown the key; it holds as long as the key.

    It has no path: a browser takes the folder of the page, behind a proxy's prefix too.
    """
    value = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    secure = "; Secure" if is_https else ""
    return f"{COOKIE}={value}; Max-Age={COOKIE_DAYS * 86_400}; HttpOnly; SameSite=Lax{secure}"


def _cookie_key(header: str) -> str:
    """Returns the key in a Cookie header, or ""."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            try:
                return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
            except ValueError:
                return ""
    return ""


def _host_of(header: str) -> str:
    """Returns the host of a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
