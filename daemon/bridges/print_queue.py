"""What a bridge needs of the spool: a place for lines that shall come to paper when the machine is idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PrintReceipt:
    """What becomes of a text: its place in the queue and the seconds until its paper, or the reason of a refusal."""

    place: int = 0
    seconds: float = 0.0
    refusal: str = ""
    is_denied: bool = False  # this person may print nothing here


class PrintQueue(Protocol):
    """The spool, as a bridge sees it."""

    async def submit(
        self, source: str, person: str, text: str, key: str = "", keep_s: float = float("inf"), talk: str = ""
    ) -> PrintReceipt:
        """Queues a text for paper. A second one with the same `key` is the same job; after `keep_s` it expires.

        The lines of one `talk` stay in their order.
        """
        ...
