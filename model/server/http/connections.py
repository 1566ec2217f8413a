"""The limit on open connections and their timeouts. It knows no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from model.server.middleware import log_time

log = logging.getLogger("asr33.serve")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The number of connections, the size of a header, and the seconds of each phase of a connection."""

    max_connections: int = 8192
    header_bytes: int = 8192
    header_s: float = 10.0  # from the connection, or the first byte of a later request, to the end of the header
    idle_s: float = 60.0  # between two requests
    linger_s: float = 3.0  # for what the client still sends after the answer
    unread_s: float = 180.0  # for an answer that the client does not read


class AbortableConnection(Protocol):
    """A connection that the limiter can close at once."""

    def abort(self) -> None: ...


class ConnectionLimiter:
    """Holds all open connections, and the idle ones among them, the longest idle first."""

    def __init__(self, limits: ConnectionLimits = ConnectionLimits()) -> None:
        self.limits = limits
        self.connections: set[AbortableConnection] = set()
        self.idle_connections: dict[AbortableConnection, None] = {}
        self.rejected_count = self.aborted_count = self.refused_count = 0

    def admit(self, connection: AbortableConnection) -> bool:
        """Adds a connection. At the limit, aborts the longest idle one, or returns False if none is idle."""
        self.connections.add(connection)
        if len(self.connections) > self.limits.max_connections:
            if not self.idle_connections:
                self.rejected_count += 1
                return False
            self.aborted_count += 1
            longest_idle = next(iter(self.idle_connections))
            self.remove(longest_idle)  # at once, because asyncio accepts a whole burst before it reports the loss
            longest_idle.abort()
        return True

    def mark_idle(self, connection: AbortableConnection) -> None:
        """Notes that no answer is in progress. A connection that is idle already keeps its place in the order."""
        if connection in self.connections:
            self.idle_connections.setdefault(connection)

    def mark_active(self, connection: AbortableConnection) -> None:
        """Notes that an answer is in progress, so that the connection is not aborted for a new one."""
        self.idle_connections.pop(connection, None)

    def remove(self, connection: AbortableConnection) -> None:
        self.connections.discard(connection)
        self.idle_connections.pop(connection, None)

    def record_refusal(self, status: int, address: str) -> None:
        """Counts and logs a connection that got an error before it had sent a whole request."""
        self.refused_count += 1
        log.info("%s (no request) %d, from %s", log_time(), status, address)

    def gauges(self) -> Mapping[str, float]:
        """The numbers for `/metrics`."""
        return {
            "connections": float(len(self.connections)),
            "connections_turned_away_total": float(self.rejected_count),
            "connections_cut_total": float(self.aborted_count),
            "connections_refused_total": float(self.refused_count),
        }
