"""The spool as the queue of a bridge: text becomes lines of paper, and a refusal becomes a receipt."""

from __future__ import annotations

from daemon.bridges.print_queue import PrintReceipt
from daemon.errors import SpoolRefused
from daemon.spool.desk import SpoolDesk
from daemon.spool.job import JobRequest
from daemon.spool.layout import lay_out
from daemon.spool.spool import EX_NOPERM


class SpoolQueue:
    """Implements `PrintQueue`."""

    def __init__(self, desk: SpoolDesk) -> None:
        self._desk = desk

    async def submit(
        self, source: str, person: str, text: str, key: str = "", keep_s: float = float("inf"), talk: str = ""
    ) -> PrintReceipt:
        """Queues a text; it is on the disk when this returns."""
        lines, keep_s = lay_out(text, self._desk.profile), min(keep_s, self._desk.keep_s)
        request = JobRequest(source, person, lines, keep_s, key, talk)
        try:
            place = await self._desk.submit(request)
        except SpoolRefused as refusal:
            is_denied = refusal.exit_code == EX_NOPERM
            return PrintReceipt(seconds=refusal.retry_after_s or 0.0, refusal=str(refusal), is_denied=is_denied)
        return PrintReceipt(place.place, place.seconds)
