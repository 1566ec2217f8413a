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

from tools.corpora.members import Member
from tools.output import say

QUIET_S = 2.0  # what takes no longer needs no word
CHANGES_S = 0.2  # on a terminal
LINES_S = 10.0  # elsewhere
LOOK = 256  # records between two looks at the clock


class Progress:
    """One command's work, phase by phase."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = self._phase_begun = clock()
        self._next = self._begun + QUIET_S
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False
        self._title = ""
        self._total = 0
        self._bytes = self._records = 0
        self._files: set[str] = set()

    def phase(self, title: str, total: int = 0) -> None:
        """What is done from now on, and the bytes that it goes through."""
        self._title = title
        self._total = total
        self._bytes = self._records = 0
        self._files.clear()
        self._phase_begun = self._clock()

    def metered(self, member: Member) -> Member:
        """The same, its bytes counted as they are read."""
        return replace(member, opened=lambda: self._opened(member))

    def record(self) -> None:
        """One more."""
        self._records += 1
        if self._records % LOOK == 0:
            self.look()

    def look(self) -> None:
        """Say how far it is, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (CHANGES_S if self._terminal else LINES_S)
        if self._terminal:
            self._shown = True
            sys.stderr.write(f"\r{self.line()[: _columns() - 1]}\x1b[K")
            sys.stderr.flush()
        else:
            say(f"asr33: {self.line()}")

    def line(self) -> str:
        """Files, megabytes, records and their rate."""
        seconds = max(self._clock() - self._phase_begun, 1e-3)
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
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

    def _opened(self, member: Member) -> IO[bytes]:
        self._files.add(member.place)
        return cast(IO[bytes], _Metered(member.opened(), self._read))

    def _read(self, count: int) -> None:
        self._bytes += count
        self.look()


class _Metered:
    """A stream that tells how much was read of it."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell
        self.seekable = file.seekable
        self.seek = file.seek
        self.close = file.close

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._tell(len(data))
        return data


@contextmanager
def progress() -> Iterator[Progress]:
    """One that clears its line however the work ends."""
    one = Progress()
    try:
        yield one
    finally:
        one.clear()


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
