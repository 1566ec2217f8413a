"""Adds files to a corpus: detects their kinds, drops known files, reads the new ones, cleans and commits.

If any of this fails, the corpus stays as it was.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tools.cli.errors import ToolError
from tools.corpus import detect, storage
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.detect import DetectionResult, ImportGroup
from tools.corpus.dialogue import Convert
from tools.corpus.fields import make_printable
from tools.corpus.importers.registry import KINDS
from tools.corpus.metadata import CorpusMetadata, ImportBatch, sum_counts
from tools.corpus.progress import ImportProgress
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning
from tools.corpus.storage import CorpusDraft, RecordFile

MAX_REPORTED = 200  # damaged files and warnings listed one by one; others are counted
MAX_NAMED = 3  # damaged files in an error


@dataclass(slots=True)
class AddResult:
    """The result of an import. `already_present` counts the known files of each path.

    `metadata` is unchanged if there are no new records.
    """

    metadata: CorpusMetadata
    batches: list[ImportBatch] = field(default_factory=list)
    already_present: Counter[str] = field(default_factory=Counter)

    @property
    def record_count(self) -> int:
        return sum(batch.records for batch in self.batches)


def add_paths(
    name: str,
    paths: Sequence[Path],
    kind: str,
    options: CleaningOptions | None,
    progress: ImportProgress,
    encoding: str = "",
    column: str = "",
    convert: Convert | None = None,
) -> AddResult:
    """Adds all new files of the paths. Without `options`, those of the last cleaning apply.

    `kind` and `encoding` are those of all files; "" lets them be recognised. `column` names or numbers the column of
    the texts of tables. `convert` replaces the items of each group of files by others.

    Raises ToolError ("damaged" if no path has a text, "argument" if there is a column but no table).
    """
    with storage.open_draft(name) as draft:
        result = AddResult(draft.metadata)
        known = draft.metadata.known_digests()
        progress.start_phase("looking")
        detected = [(path, detect.detect_kinds(path, kind, progress.count_bytes, encoding)) for path in paths]
        groups = detect.join_multipart(group for _, kinds in detected for group in kinds.groups)
        if column and not any(KINDS[group.kind].has_columns for group in groups):
            raise ToolError(f"--column {column}: no path is a table; to read one as such: --as table", "argument")
        for group in groups:
            _import_group(group, draft, known, result, progress, column, convert)
        result.batches += [batch for path, kinds in detected for batch in _unclaimed_batches(path, kinds)]
        if draft.added_count:
            new_options = replace(options or draft.metadata.options, secret=draft.metadata.options.secret)
            all_batches = (*draft.metadata.batches, *result.batches)
            result.metadata = clean_and_commit(draft, all_batches, new_options, progress)
        elif not result.already_present:
            raise ToolError(make_printable(_no_text_message(paths, result.batches)), "damaged")
    return result


def clean_corpus(name: str, options: CleaningOptions, progress: ImportProgress) -> CorpusMetadata:
    """Cleans all records of a corpus again. Raises ToolError."""
    new_options = replace(options, secret=storage.read_metadata(name).options.secret)
    with storage.open_draft(name) as draft:
        return clean_and_commit(draft, draft.metadata.batches, new_options, progress)


def _import_group(
    group: ImportGroup,
    draft: CorpusDraft,
    known: set[str],
    result: AddResult,
    progress: ImportProgress,
    column: str,
    convert: Convert | None,
) -> None:
    progress.start_phase("comparing", sum(member.size for member in group.members))
    new, known_count = detect.drop_known_files(group, known)
    if known_count:
        result.already_present[str(new.path)] += known_count
    if new.members:
        known.update(new.digests)
        progress.start_phase(f"reading {new.kind}", sum(member.size for member in new.members))
        items = detect.read_items(new, column)
        result.batches.append(_read_group(new, convert(items) if convert else items, _timestamp(), draft, progress))


def _unclaimed_batches(path: Path, detected: DetectionResult) -> Iterator[ImportBatch]:
    """Yields a batch without a kind if a path has files that no importer claimed."""
    if detected.unclaimed or detected.damaged:
        collector = _ItemCollector()
        for damaged in detected.damaged:
            collector.add_item(damaged)
        batch = collector.to_batch(path, "", _timestamp(), left=dict(detected.unclaimed))
        yield replace(batch, left_texts=detected.unclaimed_texts)


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read_group(
    group: ImportGroup, items: Iterable[ImportItem], now: str, draft: CorpusDraft, progress: ImportProgress
) -> ImportBatch:
    collector = _ItemCollector()
    before = draft.added_count
    for item in items:
        progress.count_record()
        if isinstance(item, Record):
            draft.add_record(item)
        else:
            collector.add_item(item)
    batch = collector.to_batch(group.path, group.kind, now, left={})
    taken = Counter(detect.suffix_label(member) for member in group.members)
    records = draft.added_count - before
    files = tuple(member.location for member in group.members)
    return replace(batch, members=len(files), taken=dict(taken), digests=group.digests, records=records, files=files)


class _ItemCollector:
    """Counts and lists the items that are not records."""

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
        for label, pairs in (("damaged", self._damaged), ("warned", self._warned)):
            if self._unlisted[label]:
                pairs.append((str(path), f"{self._unlisted[label]:,} more"))
        return ImportBatch(
            str(path),
            kind,
            now,
            skipped=dict(self._skipped.most_common()),
            damaged=tuple(self._damaged),
            warned=tuple(self._warned),
            left=left,
            named=tuple(sorted(self._people)),
        )

    def _append_limited(self, pairs: list[tuple[str, str]], label: str, source: str, text: str) -> None:
        if len(pairs) < MAX_REPORTED:
            pairs.append((source, text))
        else:
            self._unlisted[label] += 1


@dataclass(frozen=True, slots=True)
class _CountedRecords:
    """The records of a file; each one that is read calls `on_record`."""

    records: RecordFile
    on_record: Callable[[], None]

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            self.on_record()
            yield record


def clean_and_commit(
    draft: CorpusDraft, batches: Sequence[ImportBatch], options: CleaningOptions, progress: ImportProgress
) -> CorpusMetadata:
    """Cleans all records of a draft and makes it the corpus. Raises ToolError."""
    if not options.secret:
        options = replace(options, secret=secrets.token_hex(16))
    counts = CleaningCounts()
    progress.start_phase("cleaning")
    known_people = {name for batch in batches for name in batch.named}
    records = _CountedRecords(draft.all_records(), progress.count_record)
    draft.write_kept_records(clean_records(records, options, counts, known_people))
    return draft.commit(batches=tuple(batches), options=options, counts=counts.to_dict())


def _no_text_message(paths: Sequence[Path], batches: Sequence[ImportBatch]) -> str:
    skipped = sum_counts(batch.skipped for batch in batches)
    unclaimed = sum_counts(batch.left for batch in batches)
    damaged = [f"{source}: {reason}" if source else reason for batch in batches for source, reason in batch.damaged]
    path_list = ", ".join(map(str, paths))
    if damaged:
        more = f" (and {len(damaged) - MAX_NAMED:,} more such)" if len(damaged) > MAX_NAMED else ""
        return f"nothing was imported: {'; also '.join(damaged[:MAX_NAMED])}{more}"
    if skipped:
        what = format_reasons(skipped) if skipped.total() > 1 else next(iter(skipped))
        return f"nothing was imported: in {path_list} is only {what}; name a file, a folder or a ZIP with texts"
    if unclaimed:
        has_texts = any(batch.left_texts for batch in batches)
        cure = "to import text files anyway: --as text" if has_texts else "name a file, a folder or a ZIP with texts"
        return f"{path_list}: no known kind of file ({format_counts(unclaimed)}); {cure}"
    return f"{path_list}: no text; name a file, a folder or a ZIP that has some"


def merge_batches(path: str, batches: Sequence[ImportBatch]) -> ImportBatch:
    """Returns the sum of several batches, for display."""
    kinds = sorted({batch.kind for batch in batches if batch.kind})
    return ImportBatch(
        path,
        " and ".join(kinds),
        batches[-1].added,
        members=sum(batch.members for batch in batches),
        records=sum(batch.records for batch in batches),
        skipped=sum_counts(batch.skipped for batch in batches),
        damaged=tuple(pair for batch in batches for pair in batch.damaged),
        warned=tuple(pair for batch in batches for pair in batch.warned),
        left=sum_counts(batch.left for batch in batches),
        left_texts=sum(batch.left_texts for batch in batches),
        taken=sum_counts(batch.taken for batch in batches),
    )


def format_counts(counts: Counter[str], limit: int = 8) -> str:
    """Returns `12 .jpg, 3 .mp4`, the most frequent first."""
    listed = ", ".join(f"{number:,} {label}" for label, number in counts.most_common(limit))
    return f"{listed} and {len(counts) - limit} more kinds" if len(counts) > limit else listed


def format_reasons(counts: Counter[str], limit: int = 8) -> str:
    """Returns `a photo (12), a call (3)`, the most frequent first."""
    listed = ", ".join(f"{reason} ({number:,})" for reason, number in counts.most_common(limit))
    return f"{listed} and {len(counts) - limit} more kinds" if len(counts) > limit else listed
