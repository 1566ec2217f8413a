"""Who is in at a server's door, how many may be, and how long each may dawdle. Pure but for whom it sends away.

Where all places are taken, the one who has waited longest without having asked makes room. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections, how large a header, and the seconds that each part of a visit may take."""

    connections: int = 8192
    header: int = 8192  # bytes
    header_s: float = 10.0  # from the connection, or the first byte of the next request, to the end of the header
    idle_s: float = 60.0  # between two requests
    rest_s: float = 3.0  # for what still comes after the answer was given
    unread_s: float = 180.0  # for an answer that is not taken


class Guest(Protocol):
    """A connection."""

    def leave(self) -> None: ...


class Hall:
    """All who are in: those who have not asked for anything yet, the longest there first."""

    def __init__(self, patience: Patience = Patience()) -> None:
        self.patience = patience
        self.inside: set[Guest] = set()
        self.waiting: dict[Guest, None] = {}
        self.turned_away = self.cut = 0

    def enter(self, guest: Guest) -> bool:
        """Whether there is room; one who waits may have to leave for it."""
        self.inside.add(guest)
        if len(self.inside) > self.patience.connections:
            if not self.waiting:
                self.turned_away += 1
                return False
            self.cut += 1
            longest = next(iter(self.waiting))
            self.left(longest)  # at once: its transport says so only when all who came with this one are in
            longest.leave()
        return True

    def waits(self, guest: Guest) -> None:
        """It has not asked yet; those who wait already keep their turn."""
        if guest in self.inside:
            self.waiting.setdefault(guest)

    def asked(self, guest: Guest) -> None:
        """It is answered now, and does not make room for anybody."""
        self.waiting.pop(guest, None)

    def left(self, guest: Guest) -> None:
        self.inside.discard(guest)
        self.waiting.pop(guest, None)

    def gauges(self) -> Mapping[str, float]:
        """For `/metrics`."""
        counts = {"": len(self.inside), "_turned_away": self.turned_away, "_cut": self.cut}
        return {f"connections{what}": float(count) for what, count in counts.items()}
