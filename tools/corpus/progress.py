"""The progress of an import: files, megabytes, records, and records a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO, cast

from tools.cli.progress import ProgressLine
from tools.corpus.archive import Member
from tools.corpus.fields import format_count

RECORDS_PER_UPDATE = 256


class ImportProgress(ProgressLine):
    """Counts what a command has read, phase by phase. As a context manager it clears its line at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._now = clock
        self.start_phase("")

    def start_phase(self, title: str, total: int = 0) -> None:
        """Resets all counters. `total` is the number of bytes to read, 0 if unknown."""
        self._title = title
        self._total = total
        self._bytes = self._records = 0
        self._files: set[str] = set()
        self._phase_started = self._now()

    def count_bytes(self, member: Member) -> Member:
        """Returns a member whose bytes are counted while they are read."""
        return replace(member, open_raw=lambda: self._open_counted(member))

    def count_record(self) -> None:
        self._records += 1
        if self._records % RECORDS_PER_UPDATE == 0:
            self.show(self.status_line)

    def status_line(self) -> str:
        seconds = max(self._now() - self._phase_started, 1e-3)
        parts = [self._title]
        if self._files:
            parts.append(format_count(len(self._files), "file"))
        if self._bytes:
            share = f" ({min(100.0, 100 * self._bytes / self._total):.0f} %)" if self._total else ""
            parts.append(f"{self._bytes / 1e6:,.0f} MB{share}")
        if self._records:
            parts.append(f"{self._records:,} records, {self._records / seconds:,.0f} a second")
        return "  ".join(parts)

    def _open_counted(self, member: Member) -> IO[bytes]:
        self._files.add(member.location)
        return cast(IO[bytes], _CountingStream(member.open_raw(), self._count_read))

    def _count_read(self, count: int) -> None:
        self._bytes += count
        self.show(self.status_line)


class _CountingStream:
    """A stream that reports the number of bytes of each read."""

    def __init__(self, file: IO[bytes], on_read: Callable[[int], None]) -> None:
        self._file = file
        self._on_read = on_read
        self.seekable = file.seekable
        self.seek = file.seek
        self.close = file.close

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._on_read(len(data))
        return data
