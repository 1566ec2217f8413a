"""Which replica has a conversation: the ring of Ray Serve's consistent hash router, as it is set up by default. Pure.

`ray.serve.experimental.consistent_hash_router`: each replica has a hundred places on the ring, a conversation goes to
the next one after its own hash, and to the second and third where that has no room. The hash here is another; what
follows from a hash does not depend on which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from hashlib import blake2b

VIRTUAL_NODES = 100  # DEFAULT_NUM_VIRTUAL_NODES
FALLBACK_REPLICAS = 2  # DEFAULT_NUM_FALLBACK_REPLICAS


class HashRing:
    def __init__(self, replicas: Iterable[str], virtual_nodes: int = VIRTUAL_NODES) -> None:
        """By unique names: one that is started anew has a new one, and so new places."""
        named = [(_hash(f"{name}:{place}"), name) for name in replicas for place in range(virtual_nodes)]
        named.sort()
        self._hashes = [number for number, _ in named]
        self._names = [name for _, name in named]

    def home_replica(self, conversation: str) -> str:
        """The replica that has it; empty while there is none."""
        if not self._names:
            return ""
        return self._names[bisect_right(self._hashes, _hash(conversation)) % len(self._names)]

    def ranked_replicas(self, conversation: str, fallbacks: int = FALLBACK_REPLICAS) -> list[str]:
        """Its own replica, then those that are asked where that has no room."""
        found: list[str] = []
        for name in self._names_from(conversation):
            if name not in found:
                found.append(name)
                if len(found) > fallbacks:
                    break
        return found

    def _names_from(self, conversation: str) -> Iterator[str]:
        at = bisect_right(self._hashes, _hash(conversation)) if self._hashes else 0
        yield from self._names[at:]
        yield from self._names[:at]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
