"""How far an import is, for whoever waits: nothing in the first two seconds, then a line that changes, or one at times.

It knows the clock and the terminal, and counts what others tell it; it knows no corpus.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, cast

from tools.cli.output import print_message
from tools.corpus.archive import Member

INITIAL_DELAY_S = 2.0  # what takes no longer needs no word
TERMINAL_INTERVAL_S = 0.2  # on a terminal
LOG_INTERVAL_S = 10.0  # elsewhere
RECORDS_PER_CHECK = 256  # records between two looks at the clock


class ImportProgress:
    """One command's work, phase by phase."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._phase_started = clock()
        self._next_update = self._started + INITIAL_DELAY_S
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._is_drawn = False
        self._title = ""
        self._total = 0
        self._bytes = self._records = 0
        self._files: set[str] = set()

    def start_phase(self, title: str, total: int = 0) -> None:
        """What is done from now on, and the bytes that it goes through."""
        self._title = title
        self._total = total
        self._bytes = self._records = 0
        self._files.clear()
        self._phase_started = self._clock()

    def count_bytes(self, member: Member) -> Member:
        """The same, its bytes counted as they are read."""
        return replace(member, open_raw=lambda: self._open_counted(member))

    def count_record(self) -> None:
        """One more."""
        self._records += 1
        if self._records % RECORDS_PER_CHECK == 0:
            self.update()

    def update(self) -> None:
        """Say how far it is, if it is time."""
        now = self._clock()
        if now < self._next_update:
            return
        self._next_update = now + (TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S)
        if self._is_terminal:
            self._is_drawn = True
            sys.stderr.write(f"\r{self.status_line()[: _terminal_columns() - 1]}\x1b[K")
            sys.stderr.flush()
        else:
            print_message(f"asr33: {self.status_line()}")

    def status_line(self) -> str:
        """Files, megabytes, records and their rate."""
        seconds = max(self._clock() - self._phase_started, 1e-3)
        parts = [self._title]
        if self._files:
            parts.append(f"{len(self._files):,} file{'s' if len(self._files) > 1 else ''}")
        if self._bytes:
            share = f" ({min(100.0, 100 * self._bytes / self._total):.0f} %)" if self._total else ""
            parts.append(f"{self._bytes / 1e6:,.0f} MB{share}")
        if self._records:
            parts.append(f"{self._records:,} records, {self._records / seconds:,.0f} a second")
        return "  ".join(parts)

    def clear(self) -> None:
        """The line goes; what is written next begins where it stood."""
        if self._is_drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_drawn = False

    def _open_counted(self, member: Member) -> IO[bytes]:
        self._files.add(member.location)
        return cast(IO[bytes], _CountingStream(member.open_raw(), self._count_read))

    def _count_read(self, count: int) -> None:
        self._bytes += count
        self.update()


class _CountingStream:
    """A stream that tells how much was read of it."""

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


@contextmanager
def show_progress() -> Iterator[ImportProgress]:
    """One that clears its line however the work ends."""
    one = ImportProgress()
    try:
        yield one
    finally:
        one.clear()


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
