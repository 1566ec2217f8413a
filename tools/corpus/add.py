"""Files into a corpus: looked at, compared with what is there, read, cleaned and settled; or nothing of it at all."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.corpus import detect, storage
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.detect import DetectionResult, ImportGroup
from tools.corpus.errors import NothingTaken
from tools.corpus.metadata import CorpusMetadata, ImportBatch
from tools.corpus.progress import ImportProgress
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.storage import CorpusDraft, RecordFile

MAX_REPORTED = 200  # damaged files, and warnings, that are named one by one


@dataclass(slots=True)
class AddResult:
    """What came of it; `already` are files that were there, by path. Without new records the ledger is the old one."""

    metadata: CorpusMetadata
    batches: list[ImportBatch] = field(default_factory=list)
    already_present: Counter[str] = field(default_factory=Counter)

    @property
    def record_count(self) -> int:
        return sum(batch.records for batch in self.batches)


def add_paths(
    name: str, paths: Sequence[Path], kind: str, options: CleaningOptions | None, progress: ImportProgress
) -> AddResult:
    """All that is new in the paths, cleaned as asked, or as before.

    Raises NothingTaken where there is not one text in them, CorpusError of many a kind; the corpus is then as it was.
    """
    with storage.open_draft(name) as draft:
        added = AddResult(draft.metadata)
        known = draft.metadata.known_digests()
        progress.start_phase("looking")
        wholes = [(path, detect.detect_kinds(path, kind, progress.count_bytes)) for path in paths]
        for lot in detect.join_multipart(lot for _, whole in wholes for lot in whole.groups):
            _import_group(lot, draft, known, added, progress)
        added.batches += [batch for path, whole in wholes for batch in _unclaimed_batches(path, whole)]
        if draft.added_count:
            asked = replace(options or draft.metadata.options, secret=draft.metadata.options.secret)
            added.metadata = _clean_and_commit(draft, (*draft.metadata.batches, *added.batches), asked, progress)
        elif not added.already_present:
            raise NothingTaken(make_printable(_nothing_imported(paths, added.batches)))
    return added


def clean_corpus(name: str, options: CleaningOptions, progress: ImportProgress) -> CorpusMetadata:
    """Its records as they were found, cleaned anew. Raises CorpusNotFound, CorpusError."""
    asked = replace(options, secret=storage.read_metadata(name).options.secret)
    with storage.open_draft(name) as draft:
        return _clean_and_commit(draft, draft.metadata.batches, asked, progress)


def _import_group(
    group: ImportGroup, draft: CorpusDraft, known: set[str], result: AddResult, progress: ImportProgress
) -> None:
    progress.start_phase("comparing", sum(member.size for member in group.members))
    lot, there = detect.drop_known_files(group, known)
    if there:
        result.already_present[str(lot.path)] += there
    if lot.members:
        known.update(lot.digests)
        progress.start_phase(f"reading {lot.kind}", sum(member.size for member in lot.members))
        result.batches.append(_read_group(lot, _timestamp(), draft, progress))


def _unclaimed_batches(path: Path, detected: DetectionResult) -> Iterator[ImportBatch]:
    """What of a path nobody takes."""
    if detected.unclaimed or detected.damaged:
        told = _ItemCollector()
        for damaged in detected.damaged:
            told.add_item(damaged)
        yield told.to_batch(path, "", _timestamp(), left=dict(detected.unclaimed))


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read_group(group: ImportGroup, now: str, draft: CorpusDraft, progress: ImportProgress) -> ImportBatch:
    told = _ItemCollector()
    before = draft.added_count
    for one in detect.read_items(group):
        progress.count_record()
        if isinstance(one, Record):
            draft.add_record(one)
        else:
            told.add_item(one)
    batch = told.to_batch(group.path, group.kind, now, left={})
    return replace(batch, members=len(group.members), digests=group.digests, records=draft.added_count - before)


class _ItemCollector:
    """What is told beside records, counted, and named as far as anybody would read on."""

    def __init__(self) -> None:
        self._skipped: Counter[str] = Counter()
        self._damaged: list[tuple[str, str]] = []
        self._warned: list[tuple[str, str]] = []
        self._unlisted: Counter[str] = Counter()
        self._people: set[str] = set()

    def add_item(self, item: ImportItem) -> None:
        match item:
            case SkippedItem():
                self._skipped[item.reason] += 1
            case DamagedItem():
                self._append_limited(self._damaged, "damaged", item.source, item.reason)
            case SourceWarning():
                self._append_limited(self._warned, "warned", item.source, item.message)
            case KnownPerson():
                self._people.add(item.name)

    def to_batch(self, path: Path, kind: str, now: str, left: dict[str, int]) -> ImportBatch:
        for what, named in (("damaged", self._damaged), ("warned", self._warned)):
            if self._unlisted[what]:
                named.append((str(path), f"{self._unlisted[what]:,} more"))
        counts = dict(self._skipped.most_common())
        return ImportBatch(
            str(path),
            kind,
            now,
            skipped=counts,
            damaged=tuple(self._damaged),
            warned=tuple(self._warned),
            left=left,
            named=tuple(sorted(self._people)),
        )

    def _append_limited(self, named: list[tuple[str, str]], what: str, source: str, why: str) -> None:
        if len(named) < MAX_REPORTED:
            named.append((source, why))
        else:
            self._unlisted[what] += 1


@dataclass(frozen=True, slots=True)
class _CountedRecords:
    """Records that tell of each that is read."""

    records: RecordFile
    on_record: Callable[[], None]

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            self.on_record()
            yield record


def _clean_and_commit(
    draft: CorpusDraft, batches: Sequence[ImportBatch], options: CleaningOptions, progress: ImportProgress
) -> CorpusMetadata:
    # Whoever knows it can tell whether a name that he guesses was in the corpus: it leaves this folder with nothing.
    asked = options if options.secret else replace(options, secret=secrets.token_hex(16))
    counts = CleaningCounts()
    progress.start_phase("cleaning")
    named = {name for batch in batches for name in batch.named}
    draft.write_kept_records(
        clean_records(_CountedRecords(draft.all_records(), progress.count_record), asked, counts, named)
    )
    return draft.commit(batches=tuple(batches), options=asked, counts=counts.to_dict())


def _nothing_imported(paths: Sequence[Path], batches: Sequence[ImportBatch]) -> str:
    skipped = sum((Counter(batch.skipped) for batch in batches), Counter[str]())
    left = sum((Counter(batch.left) for batch in batches), Counter[str]())
    damaged = [f"{place}: {why}" if place else why for batch in batches for place, why in batch.damaged]
    named = ", ".join(map(str, paths))
    if damaged:
        more = f" (and {len(damaged) - 1} more such)" if len(damaged) > 1 else ""
        return f"nothing was taken: {damaged[0]}{more}"
    if skipped:
        return f"{named}: no text in it, but {format_counts(skipped)}"
    if left:
        return f"{named}: of no kind that is known ({format_counts(left)}); what is text all the same: --as text"
    return f"{named}: not one text in it; name a file, a folder or a ZIP that has some"


def merge_batches(path: str, batches: Sequence[ImportBatch]) -> ImportBatch:
    """Many as one, for whoever tells of them."""
    kinds = sorted({batch.kind for batch in batches if batch.kind})
    return ImportBatch(
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


def format_counts(counts: Counter[str], limit: int = 8) -> str:
    """`12 a photo, 3 a call`, the most frequent first."""
    rest = len(counts) - limit
    shown = ", ".join(f"{number:,} {what}" for what, number in counts.most_common(limit))
    return f"{shown} and {rest} kinds more" if rest > 0 else shown


def make_printable(text: str) -> str:
    """A name out of somebody's archive, which moves no cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)
