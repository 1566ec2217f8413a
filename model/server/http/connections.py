"""Who is in at a server's door, how many may be, and how long each may dawdle. Pure but for whom it sends away.

Where all places are taken, the one who has waited longest without having asked makes room. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections, how large a header, and the seconds that each part of a visit may take."""

    max_connections: int = 8192
    header_bytes: int = 8192  # bytes
    header_s: float = 10.0  # from the connection, or the first byte of the next request, to the end of the header
    idle_s: float = 60.0  # between two requests
    linger_s: float = 3.0  # for what still comes after the answer was given
    unread_s: float = 180.0  # for an answer that is not taken


class AbortableConnection(Protocol):
    """A connection."""

    def abort(self) -> None: ...


class ConnectionLimiter:
    """All who are in: those who have not asked for anything yet, the longest there first."""

    def __init__(self, limits: ConnectionLimits = ConnectionLimits()) -> None:
        self.limits = limits
        self.connections: set[AbortableConnection] = set()
        self.idle_connections: dict[AbortableConnection, None] = {}
        self.rejected_count = self.aborted_count = 0

    def admit(self, connection: AbortableConnection) -> bool:
        """Whether there is room; one who waits may have to leave for it."""
        self.connections.add(connection)
        if len(self.connections) > self.limits.max_connections:
            if not self.idle_connections:
                self.rejected_count += 1
                return False
            self.aborted_count += 1
            longest = next(iter(self.idle_connections))
            self.remove(longest)  # at once: its transport says so only when all who came with this one are in
            longest.abort()
        return True

    def mark_idle(self, connection: AbortableConnection) -> None:
        """It has not asked yet; those who wait already keep their turn."""
        if connection in self.connections:
            self.idle_connections.setdefault(connection)

    def mark_active(self, connection: AbortableConnection) -> None:
        """It is answered now, and does not make room for anybody."""
        self.idle_connections.pop(connection, None)

    def remove(self, connection: AbortableConnection) -> None:
        self.connections.discard(connection)
        self.idle_connections.pop(connection, None)

    def gauges(self) -> Mapping[str, float]:
        """For `/metrics`."""
        counts = {"": len(self.connections), "_turned_away": self.rejected_count, "_cut": self.aborted_count}
        return {f"connections{what}": float(count) for what, count in counts.items()}
