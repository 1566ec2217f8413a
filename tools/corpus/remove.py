"""Takes files out of a corpus again: drops their records, cleans the others, and commits. The files are not touched.

A source is a path that was added, a file in it (`folder/file`, `archive.zip: file`), or a folder of such files.
If any of this fails, the corpus stays as it was.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from tools.cli.errors import ToolError
from tools.corpus import storage
from tools.corpus.add import clean_and_commit
from tools.corpus.fields import format_count, make_printable, repair_surrogates
from tools.corpus.metadata import CorpusMetadata, ImportBatch
from tools.corpus.progress import ImportProgress
from tools.corpus.record import Record

MAX_LISTED = 5  # sources in a message


def remove_sources(name: str, sources: Sequence[str], progress: ImportProgress) -> tuple[CorpusMetadata, list[str]]:
    """Removes the records of all sources. Returns the new metadata, and lines that tell what was removed.

    Raises ToolError ("missing" for an unknown source, "usage" if no record would be left, "damaged").
    """
    metadata = storage.read_metadata(name)  # an unknown corpus is an error before its folder is made
    if metadata.records != sum(batch.records for batch in metadata.batches):
        raise ToolError(f"{name}: its sources do not have its records; remove it and add its files again", "damaged")
    wanted = [repair_surrogates(str(PurePosixPath(source))) for source in sources]
    with storage.open_draft(name) as draft:
        removal = _Removal(draft.metadata.batches, wanted)
        progress.start_phase("removing")
        draft.rewrite_records(removal.filter_records(_count_records(draft.all_records(), progress)))
        removal.require_matches(name)
        if not draft.added_count:
            cure = f"to remove the whole corpus: asr33 corpus remove {name}"
            raise ToolError(f"{', '.join(wanted)}: there is nothing else in {name}; {cure}", "usage")
        remaining = removal.remaining_batches()
        batches = [batch for batch in remaining if batch is not None]
        metadata = clean_and_commit(draft, batches, draft.metadata.options, progress)
    return metadata, list(removal.report_lines(remaining))


def _count_records(records: Iterable[Record], progress: ImportProgress) -> Iterator[Record]:
    for record in records:
        progress.count_record()
        yield record


def _is_inside(location: str, source: str) -> bool:
    """Whether a location is the source, or a file in this folder or ZIP."""
    if source == ".":
        return not location.startswith("/")
    return location == source or location.startswith((f"{source.rstrip('/')}/", f"{source}: "))


class _Removal:
    """The removal of some sources from the batches of a corpus. First `filter_records` has to be exhausted."""

    def __init__(self, batches: Sequence[ImportBatch], sources: Sequence[str]) -> None:
        self._batches, self._sources = batches, sources
        self._records_left = [0] * len(batches)
        self._known = dict.fromkeys(batch.path for batch in batches)  # locations, as an ordered set
        for batch in batches:
            reported = (location for location, _ in (*batch.damaged, *batch.warned) if location)
            self._known |= dict.fromkeys((*batch.files, *reported))

    def filter_records(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yields the records that stay. The records of a batch follow those of the batch before it."""
        batch_of_record = (number for number, batch in enumerate(self._batches) for _ in range(batch.records))
        for record, number in zip(records, batch_of_record, strict=True):
            self._known[record.source] = None
            if not (self._is_removed(self._batches[number].path) or self._is_removed(record.source)):
                self._records_left[number] += 1
                yield record

    def require_matches(self, name: str) -> None:
        """Raises ToolError ("missing") for a source that the corpus does not have."""
        for source in self._sources:
            if not any(_is_inside(location, source) for location in self._known):
                raise ToolError(f"{name} has no source {source!r}; {self._suggest(source)}", "missing")

    def remaining_batches(self) -> list[ImportBatch | None]:
        """Returns each batch without the removed files, or None if nothing of it is left."""
        return [self._reduce(number, batch) for number, batch in enumerate(self._batches)]

    def report_lines(self, remaining: Sequence[ImportBatch | None]) -> Iterator[str]:
        left = [batch for batch in remaining if batch is not None]
        records = sum(batch.records for batch in self._batches) - sum(batch.records for batch in left)
        files = sum(batch.members for batch in self._batches) - sum(batch.members for batch in left)
        removed = f"{format_count(files, 'file')}, {format_count(records, 'record')}"
        yield f"{make_printable(', '.join(self._sources))}: {removed} removed; the files themselves are unchanged"
        for before, after in zip(self._batches, remaining, strict=True):
            if after is not None and after.records < before.records and after.digests == before.digests:
                path = make_printable(after.path)
                yield f"{path}: the removed part counts as known; to add it again, remove the whole of {path} first"

    def _is_removed(self, location: str) -> bool:
        return any(_is_inside(location, source) for source in self._sources)

    def _reduce(self, number: int, batch: ImportBatch) -> ImportBatch | None:
        left = {location for location in batch.files if not self._is_removed(location)}
        files = tuple(location for location in batch.files if location in left)
        damaged, warned = (
            tuple(pair for pair in pairs if not self._is_removed(pair[0])) for pairs in (batch.damaged, batch.warned)
        )
        records = self._records_left[number]
        has_left = records or files if batch.kind else batch.left or damaged
        if self._is_removed(batch.path) or not has_left:
            return None
        digests, gone = batch.digests, Counter(_suffix(location) for location in batch.files if location not in left)
        if len(digests) == len(batch.files):  # one for each file; an export has one for all
            digests = tuple(digest for digest, file in zip(digests, batch.files, strict=True) if file in left)
        return replace(
            batch,
            records=records,
            files=files,
            members=batch.members - (len(batch.files) - len(files)),
            digests=digests,
            taken={suffix: count - gone[suffix] for suffix, count in batch.taken.items() if count > gone[suffix]},
            damaged=damaged,
            warned=warned,
        )

    def _suggest(self, source: str) -> str:
        """Returns a hint at the nearest source: one with this end, name or beginning, or a similar one."""
        folders = (str(parent) for location in self._known for parent in PurePosixPath(location).parents)
        known = [location for location in dict.fromkeys((*self._known, *folders)) if location not in (".", "/")]
        last_part = PurePosixPath(source).name
        by_last_part = {PurePosixPath(location).name: location for location in reversed(known)}
        near = [location for location in known if location.endswith((f"/{source}", f": {source}"))]
        near += [by_last_part[last_part]] if last_part in by_last_part else []
        near += sorted((location for location in known if location.startswith(source)), key=len)
        for cutoff in (0.8, 0.6):
            near += [by_last_part[name] for name in difflib.get_close_matches(last_part, by_last_part, 1, cutoff)]
            near += difflib.get_close_matches(source, known, 1, cutoff)
        if near:
            return f"did you mean {near[0]!r}?"
        paths = list(dict.fromkeys(batch.path for batch in self._batches))
        more = f" and {len(paths) - MAX_LISTED:,} more" if len(paths) > MAX_LISTED else ""
        return f"there are {', '.join(map(repr, paths[:MAX_LISTED]))}{more}"


def _suffix(location: str) -> str:
    """Returns the ending by which a file was counted in `taken`."""
    return PurePosixPath(location).suffix.lower() or "without an ending"
