"""What an importer is: it sees the members of what was handed over, claims those that are its own, and reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tools.corpus.archive import Member
from tools.corpus.record import ImportItem


class Importer(Protocol):
    """One importer, as a module: `tools/corpora/sources/NAME.py` has a KIND and these two functions."""

    KIND: str  # what `corpus add --as` calls it, and a person is told that it was taken for

    def claim(self, members: Sequence[Member]) -> Sequence[Member]:
        """Those of the members that are this importer's, by names and first bytes. Opens no more than it must."""
        ...

    def read_items(self, members: Sequence[Member]) -> Iterator[ImportItem]:
        """All that is in them, one thread after the other. A member that is damaged is told as such and gone over;
        it holds one message at a time, and what it must to put a thread in order, never the whole."""
        ...
