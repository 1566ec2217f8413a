"""The metadata of a corpus, `corpus.json`: where its records come from, and what was left out and why. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tools.cli.errors import ToolError
from tools.corpus.cleaning import CleaningOptions

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """The files of one path and kind; without a kind, the files of the path that no importer claimed.

    `files` are the locations of the files; corpora of older versions have none. `digests` identify them: one for each
    file ("" if it was not readable), or one for a whole export. Only the first damaged files and warnings are listed;
    the last entry counts others.
    """

    path: str
    kind: str
    added: str  # time, ISO 8601
    members: int = 0
    digests: tuple[str, ...] = ()
    records: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)  # number of items by reason
    damaged: tuple[tuple[str, str], ...] = ()  # file, reason
    warned: tuple[tuple[str, str], ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)  # number of unclaimed files by suffix and reason
    left_texts: int = 0  # of these, files that --as text imports
    taken: Mapping[str, int] = field(default_factory=dict)  # number of imported files by suffix
    named: tuple[str, ...] = ()  # people that the export names, for --anonymous
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CorpusMetadata:
    """The content of `corpus.json`.

    `records` and `record_bytes` are the valid part of `record_file`, which has the records of batch after batch.
    `kept` is the file with the cleaned records, and `counts` is `CleaningCounts.to_dict()` of the last cleaning.
    """

    name: str
    batches: tuple[ImportBatch, ...] = ()
    records: int = 0
    record_bytes: int = 0
    kept: str = ""
    kept_records: int = 0
    kept_bytes: int = 0
    generation: int = 0
    options: CleaningOptions = field(default_factory=CleaningOptions)
    counts: Mapping[str, Any] = field(default_factory=dict)
    record_file: str = "records.jsonl"

    @property
    def kinds(self) -> list[str]:
        """The kinds of the imported files, sorted."""
        return sorted({batch.kind for batch in self.batches if batch.kind})

    def known_digests(self) -> set[str]:
        """Returns the digests of all imported files."""
        return {digest for batch in self.batches for digest in batch.digests}


def sum_counts(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Returns the sum of several counts by key."""
    return sum(map(Counter, counts), Counter())


def to_json(metadata: CorpusMetadata) -> str:
    """Returns the JSON text that `from_json` reads, indented for people."""
    options = asdict(metadata.options) | {"without": sorted(metadata.options.without)}
    content = {"format": FORMAT_VERSION, **asdict(metadata), "options": options}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> CorpusMetadata:
    """Parses `corpus.json`. Raises ToolError ("damaged")."""
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT_VERSION:
            raise ToolError("written by another version of asr33; remove the corpus and add its files again", "damaged")
        options = dict(data.pop("options"))
        batches = tuple(_batch_from_json(batch) for batch in data.pop("batches"))
        options["without"] = frozenset(options["without"])
        options["drop"] = tuple(options.get("drop", ()))
        if data.keys() - {item.name for item in fields(CorpusMetadata)}:
            raise ValueError("unknown key")
        return CorpusMetadata(**data, batches=batches, options=CleaningOptions(**options))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ToolError(f"damaged ({error}); remove the corpus and add its files again", "damaged") from None


def _batch_from_json(data: Mapping[str, Any]) -> ImportBatch:
    pairs = {key: tuple((str(source), str(text)) for source, text in data[key]) for key in ("damaged", "warned")}
    tuples = {key: tuple(data.get(key, ())) for key in ("digests", "named", "files")}
    return ImportBatch(**{**data, **pairs, **tuples})
