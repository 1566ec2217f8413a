"""What a corpus says of itself, `corpus.json`: where its records are from, what was left out and why. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tools.corpus.cleaning import CleaningOptions
from tools.corpus.errors import CorpusDamaged

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """What one path gave as one kind, and by `digests` what that was; without a kind, what was `left` of the path.

    Of many that are `damaged` the first are named, the others counted by the last.
    """

    path: str
    kind: str
    added: str  # the moment, in ISO 8601
    members: int = 0
    digests: tuple[str, ...] = ()
    records: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)  # why, and how often
    damaged: tuple[tuple[str, str], ...] = ()  # the file, and what ails it
    warned: tuple[tuple[str, str], ...] = ()
    left: Mapping[str, int] = field(default_factory=dict)  # endings of files that nobody knew
    named: tuple[str, ...] = ()  # whom an export has a name for, for --anonymous


@dataclass(frozen=True, slots=True)
class CorpusMetadata:
    """`records` and `record_bytes` are what counts of records.jsonl, `kept` is the file with what cleaning left.

    `counts` is `Counts.data()` of that cleaning.
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

    def known_digests(self) -> set[str]:
        """Of all that is in it already."""
        return {digest for batch in self.batches for digest in batch.digests}


def to_json(metadata: CorpusMetadata) -> str:
    """For `from_json`, and for people."""
    options = asdict(metadata.options) | {"without": sorted(metadata.options.without)}
    return (
        json.dumps({"format": FORMAT_VERSION, **asdict(metadata), "options": options}, indent=1, ensure_ascii=False)
        + "\n"
    )


def from_json(text: str) -> CorpusMetadata:
    """Raises CorpusDamaged."""
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT_VERSION:
            raise CorpusDamaged("it was written by another asr33; remove it and add its files again")
        options = dict(data.pop("options"))
        batches = tuple(_batch_from_json(batch) for batch in data.pop("batches"))
        options["without"] = frozenset(options["without"])
        if set(data) - {item.name for item in fields(CorpusMetadata)}:
            raise ValueError("a key that is none of ours")
        return CorpusMetadata(**data, batches=batches, options=CleaningOptions(**options))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusDamaged(f"not what was written there ({error}); remove it and add its files again") from None


def _batch_from_json(data: Mapping[str, Any]) -> ImportBatch:
    pairs = {key: tuple((str(one), str(why)) for one, why in data[key]) for key in ("damaged", "warned")}
    return ImportBatch(**{**data, **pairs, "digests": tuple(data["digests"]), "named": tuple(data.get("named", ()))})
