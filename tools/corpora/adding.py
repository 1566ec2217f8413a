"""Files into a corpus: looked at, compared with what is there, read, cleaned and settled; or nothing of it at all."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.corpora import keeping, taking
from tools.corpora.cleaning import CleaningOptions, Counts, cleaned
from tools.corpora.errors import NothingTaken
from tools.corpora.keeping import Draft, Records
from tools.corpora.ledger import Batch, Ledger
from tools.corpora.progress import Progress
from tools.corpora.record import Damaged, Found, Named, Record, Skipped, Warned
from tools.corpora.taking import Lot, Sorted

MOST_TOLD = 200  # damaged files, and warnings, that are named one by one


@dataclass(slots=True)
class Added:
    """What came of it; `already` are files that were there, by path. Without new records the ledger is the old one."""

    ledger: Ledger
    batches: list[Batch] = field(default_factory=list)
    already: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        return sum(batch.records for batch in self.batches)


def add(name: str, paths: Sequence[Path], kind: str, options: CleaningOptions | None, shown: Progress) -> Added:
    """All that is new in the paths, cleaned as asked, or as before.

    Raises NothingTaken where there is not one text in them, CorpusError of many a kind; the corpus is then as it was.
    """
    with keeping.draft(name) as draft:
        added = Added(draft.ledger)
        known = draft.ledger.digests()
        shown.phase("looking")
        wholes = [(path, taking.sorted_out(path, kind, shown.metered)) for path in paths]
        for lot in taking.joined(lot for _, whole in wholes for lot in whole.lots):
            _take(lot, draft, known, added, shown)
        added.batches += [batch for path, whole in wholes for batch in _left(path, whole)]
        if draft.written:
            asked = replace(options or draft.ledger.options, secret=draft.ledger.options.secret)
            added.ledger = _settled(draft, (*draft.ledger.batches, *added.batches), asked, shown)
        elif not added.already:
            raise NothingTaken(plain(_nothing(paths, added.batches)))
    return added


def clean(name: str, options: CleaningOptions, shown: Progress) -> Ledger:
    """Its records as they were found, cleaned anew. Raises CorpusNotFound, CorpusError."""
    asked = replace(options, secret=keeping.read(name).options.secret)
    with keeping.draft(name) as draft:
        return _settled(draft, draft.ledger.batches, asked, shown)


def _take(found: Lot, draft: Draft, known: set[str], added: Added, shown: Progress) -> None:
    shown.phase("comparing", sum(member.size for member in found.members))
    lot, there = taking.compared(found, known)
    if there:
        added.already[str(lot.path)] += there
    if lot.members:
        known.update(lot.digests)
        shown.phase(f"reading {lot.kind}", sum(member.size for member in lot.members))
        added.batches.append(_read(lot, _now(), draft, shown))


def _left(path: Path, whole: Sorted) -> Iterator[Batch]:
    """What of a path nobody takes."""
    if whole.left or whole.damaged:
        told = _Told()
        for damaged in whole.damaged:
            told.take(damaged)
        yield told.batch(path, "", _now(), left=dict(whole.left))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(lot: Lot, now: str, draft: Draft, shown: Progress) -> Batch:
    told = _Told()
    before = draft.written
    for one in taking.found(lot):
        shown.record()
        if isinstance(one, Record):
            draft.add(one)
        else:
            told.take(one)
    batch = told.batch(lot.path, lot.kind, now, left={})
    return replace(batch, members=len(lot.members), digests=lot.digests, records=draft.written - before)


class _Told:
    """What is told beside records, counted, and named as far as anybody would read on."""

    def __init__(self) -> None:
        self._skipped: Counter[str] = Counter()
        self._damaged: list[tuple[str, str]] = []
        self._warned: list[tuple[str, str]] = []
        self._more: Counter[str] = Counter()
        self._people: set[str] = set()

    def take(self, one: Found) -> None:
        match one:
            case Skipped():
                self._skipped[one.why] += 1
            case Damaged():
                self._name(self._damaged, "damaged", one.source, one.why)
            case Warned():
                self._name(self._warned, "warned", one.source, one.what)
            case Named():
                self._people.add(one.name)

    def batch(self, path: Path, kind: str, now: str, left: dict[str, int]) -> Batch:
        for what, named in (("damaged", self._damaged), ("warned", self._warned)):
            if self._more[what]:
                named.append((str(path), f"{self._more[what]:,} more"))
        counts = dict(self._skipped.most_common())
        return Batch(
            str(path),
            kind,
            now,
            skipped=counts,
            damaged=tuple(self._damaged),
            warned=tuple(self._warned),
            left=left,
            named=tuple(sorted(self._people)),
        )

    def _name(self, named: list[tuple[str, str]], what: str, source: str, why: str) -> None:
        if len(named) < MOST_TOLD:
            named.append((source, why))
        else:
            self._more[what] += 1


@dataclass(frozen=True, slots=True)
class _Watched:
    """Records that tell of each that is read."""

    records: Records
    tell: Callable[[], None]

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            self.tell()
            yield record


def _settled(draft: Draft, batches: Sequence[Batch], options: CleaningOptions, shown: Progress) -> Ledger:
    # Whoever knows it can tell whether a name that he guesses was in the corpus: it leaves this folder with nothing.
    asked = options if options.secret else replace(options, secret=secrets.token_hex(16))
    counts = Counts()
    shown.phase("cleaning")
    named = {name for batch in batches for name in batch.named}
    draft.keep(cleaned(_Watched(draft.records(), shown.record), asked, counts, named))
    return draft.settle(batches=tuple(batches), options=asked, counts=counts.data())


def _nothing(paths: Sequence[Path], batches: Sequence[Batch]) -> str:
    skipped = sum((Counter(batch.skipped) for batch in batches), Counter[str]())
    left = sum((Counter(batch.left) for batch in batches), Counter[str]())
    damaged = [f"{place}: {why}" if place else why for batch in batches for place, why in batch.damaged]
    named = ", ".join(map(str, paths))
    if damaged:
        more = f" (and {len(damaged) - 1} more such)" if len(damaged) > 1 else ""
        return f"nothing was taken: {damaged[0]}{more}"
    if skipped:
        return f"{named}: no text in it, but {told_counts(skipped)}"
    if left:
        return f"{named}: of no kind that is known ({told_counts(left)}); what is text all the same: --as text"
    return f"{named}: not one text in it; name a file, a folder or a ZIP that has some"


def together(path: str, batches: Sequence[Batch]) -> Batch:
    """Many as one, for whoever tells of them."""
    kinds = sorted({batch.kind for batch in batches if batch.kind})
    return Batch(
        path,
        " and ".join(kinds),
        batches[-1].added,
        members=sum(batch.members for batch in batches),
        records=sum(batch.records for batch in batches),
        skipped=sum((Counter(batch.skipped) for batch in batches), Counter[str]()),
        damaged=tuple(pair for batch in batches for pair in batch.damaged),
        warned=tuple(pair for batch in batches for pair in batch.warned),
        left=sum((Counter(batch.left) for batch in batches), Counter[str]()),
    )


def told_counts(counts: Counter[str], most: int = 8) -> str:
    """`12 a photo, 3 a call`, the most frequent first."""
    rest = len(counts) - most
    shown = ", ".join(f"{number:,} {what}" for what, number in counts.most_common(most))
    return f"{shown} and {rest} kinds more" if rest > 0 else shown


def plain(text: str) -> str:
    """A name out of somebody's archive, which moves no cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
