"""The address of this machine in its network, its live page and its server, in one line for the paper."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.config import Config
from daemon.errors import ConfigError, SpoolRefused
from model.server_url import is_url

if TYPE_CHECKING:
    from daemon.spool.desk import SpoolDesk

CHECK_INTERVAL_S = 30.0
_KEEP_S = 86_400.0  # a job that waits for longer has no news
# Addresses for documentation, RFC 5737 and 3849: a UDP socket that is connected to one sends nothing.
_FAR_ENDS = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger("asr33")


def find_own_address() -> str:
    """Returns the address from which this computer reaches others; "" without a network."""
    for family, far_end in _FAR_ENDS:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far_end, 9))
            address: str = probe.getsockname()[0]
            return address
    return ""


def read_boot_id() -> str:
    """Returns a text that names the time since this computer was switched on; "" if the kernel has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


class MachineAddress:
    """Describes the address by the configuration and by the network at this moment."""

    def __init__(self, config: Config, find_address: Callable[[], str] = find_own_address) -> None:
        self._page, self._model = config.web.listen, config.model.name
        self._find_address = find_address

    def describe(self) -> str:
        """Returns one line: this computer, and if there are any its live page and the server of its model."""
        own = self._find_address()
        parts = [f"{socket.gethostname()} {own or 'without a network'}"]
        if self._page:
            parts.append(f"page {self._describe_page(own)}")
        if is_url(self._model):
            parts.append(f"server {self._model}")
        return ", ".join(parts)

    def find_change(self, struck: str) -> str:
        """Returns the line if there is a network and the line is not the one that was struck; otherwise ""."""
        line = self.describe() if self._find_address() else ""
        return "" if line == struck else line

    def _describe_page(self, own: str) -> str:
        from daemon.web.access import is_loopback, parse_address

        try:
            host, port = parse_address(self._page)
        except ConfigError:
            return self._page
        if is_loopback(host):
            return f"http://{host}:{port}/ on this computer only"
        host = own if host in ("0.0.0.0", "::") and own else host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def submit_address_forever(address: MachineAddress, desk: SpoolDesk, boot_id: str = "") -> None:
    """Puts the line into the spool once after a boot, and when it changes."""
    from daemon.spool.job import JobRequest
    from daemon.spool.layout import lay_out

    boot_id, submitted = boot_id or read_boot_id(), ""
    while True:
        if line := address.find_change(submitted):
            lines = lay_out(line, desk.profile)
            request = JobRequest("machine", "address", lines, _KEEP_S, once=f"address {boot_id} {line}")
            try:
                await desk.submit(request)
            except SpoolRefused as refusal:
                _log.warning("the machine's address is not struck: %s", refusal)
            submitted = line
        await asyncio.sleep(CHECK_INTERVAL_S)
