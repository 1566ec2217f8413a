"""Slows down clients that send wrong API keys, by address. A right key is never slowed down.

The keys are long, so this is no wall against guessing: it keeps a client with an old key, or a program that guesses,
from filling the log and the processor. Clients behind one proxy share its address, so a right key always passes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress

FIRST_DELAY_S, MAX_DELAY_S = 0.1, 5.0  # each further wrong key of an address doubles the delay
FORGET_AFTER_S = 600.0  # without a wrong key
MAX_ADDRESSES = 4096  # of which the wrong keys are remembered; about 1 MB
MAX_HELD, MAX_HELD_PER_ADDRESS = 256, 16  # requests that wait at once; the others are refused at once
WARN_AT = 10  # wrong keys of one address
IPV6_PREFIX_BITS = 64  # a customer's network, in which he may choose any address

log = logging.getLogger("asr33.serve")


class KeyThrottle:
    """Counts the wrong keys of each address, and holds their refusals back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count and time of the last, oldest first
        self._held: Counter[str] = Counter()

    def record_failure(self, address: str) -> float:
        """Notes a wrong key. Returns the seconds for which its refusal is to be held back."""
        network, now = _network_of(address), self._clock()
        self._forget(now)
        count = self._failures.pop(network, (0, 0.0))[0] + 1
        self._failures[network] = (count, now)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        if count == WARN_AT:
            log.warning("asr33: %d wrong keys from %s: its refusals now take up to %g s", count, address, MAX_DELAY_S)
        return min(FIRST_DELAY_S * 2.0 ** min(count - 1, 30), MAX_DELAY_S)

    async def hold(self, address: str) -> bool:
        """Notes a wrong key and waits. Returns False at once if too many requests wait already."""
        seconds, network = self.record_failure(address), _network_of(address)
        if self._held.total() >= MAX_HELD or self._held[network] >= MAX_HELD_PER_ADDRESS:
            return False
        self._held[network] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._held[network] -= 1
            if not self._held[network]:
                del self._held[network]
        return True

    def _forget(self, now: float) -> None:
        while self._failures:
            network, (_, last) = next(iter(self._failures.items()))
            if last + FORGET_AFTER_S > now:
                return
            del self._failures[network]


def _network_of(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 address the network."""
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            if parsed.ipv4_mapped:
                return str(parsed.ipv4_mapped)
            return str(ipaddress.ip_network((parsed, IPV6_PREFIX_BITS), strict=False))
    return address
