"""All there is to say of a corpus: where it is from, what was left out and why, what is left, what training takes.

It reads the corpus's folder and the vocabulary of a base; the figures are worked out elsewhere.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model.interface import GPT2Config
from model.store import store
from tools.corpus import storage
from tools.corpus.anonymise import ANONYMITY_LIMITS
from tools.corpus.cleaning.counts import CleaningCounts, counts_from_dict
from tools.corpus.cleaning.options import CleaningOptions
from tools.corpus.metadata import CorpusMetadata, ImportBatch
from tools.corpus.statistics import CorpusStatistics, StatisticsCollector
from tools.corpus.warnings import find_warnings
from tools.train import memory
from tools.train.run_config import DEFAULT_BATCH

MAX_COUNTED_BYTES = 4 << 20  # bytes that are made into tokens; of more every so many lines are
LINES_AT_ONCE = 4096
BYTES_PER_TOKEN = 4.0  # bytes: what English has with GPT-2's vocabulary, where none is at hand
THREADS = 2  # as `asr33 train` has it
# Operations a second on each core: 83 to 190 thousand million on two were measured in runs of hours with float32.
OPERATIONS_PER_SECOND = 65e9


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What an epoch takes. `counted` tells tokens that were counted from those estimated from a part.

    `memory` is in bytes. The seconds are of `THREADS` cores of a server of the
    2020s; a Pi takes ten times as long, a GPU a hundredth.
    """

    base: str
    parameters: int
    context: int
    batch: int
    tokens: int
    counted: bool
    steps: int
    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """`warnings` are what a person must hear, each a line with its cure."""

    name: str
    batches: tuple[ImportBatch, ...]
    options: CleaningOptions
    counts: CleaningCounts
    statistics: CorpusStatistics
    training: TrainingEstimate
    warnings: tuple[str, ...]

    @property
    def skipped(self) -> dict[str, int]:
        """Why how many things that are no texts were not taken."""
        return _sum_counts(batch.skipped for batch in self.batches)

    @property
    def unclaimed(self) -> dict[str, int]:
        """Endings of files that no importer knew, and how many there are."""
        return _sum_counts(batch.left for batch in self.batches)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        batches = [asdict(batch) for batch in self.batches]
        for batch in batches:
            del batch["digests"], batch["named"]
        options = asdict(self.options) | {"without": sorted(self.options.without)}
        del options["secret"]
        return {
            "name": self.name,
            "sources": batches,
            "options": options,
            "skipped": self.skipped,
            "left": self.unclaimed,
            "cleaning": self.counts.to_dict(),
            "figures": asdict(self.statistics),
            "training": asdict(self.training),
            "warnings": list(self.warnings),
        }


def build_report(name: str, base: str = store.EMBEDDED) -> CorpusReport:
    """Of a corpus, its tokens in the vocabulary of a base. Raises CorpusNotFound, CorpusDamaged, ModelError."""
    ledger = _anonymise_metadata(storage.read_metadata(name))
    folder = store.find_model(base)
    measure = StatisticsCollector(storage.open_kept_records(name))
    tokens, counted = _count_tokens(measure, folder, ledger.kept_bytes)
    found = measure.to_statistics()
    training = _estimate_training(base, store.read_manifest(folder).shape, tokens, counted)
    window = training.context * (training.batch + 1) + 1
    return CorpusReport(
        name=name,
        batches=ledger.batches,
        options=ledger.options,
        counts=counts_from_dict(ledger.counts) if ledger.counts else CleaningCounts(),
        statistics=found,
        training=training,
        warnings=(*_stored_warnings(ledger), *find_warnings(found, ledger.options, tokens, window)),
    )


def _anonymise_metadata(metadata: CorpusMetadata) -> CorpusMetadata:
    """Where all is anonymous, the report is as well: no examples from before, no word of who was meant, and of a file
    in an archive only which archive, since folders of messages are called after people."""
    if not metadata.options.anonymous:
        return metadata
    counts = counts_from_dict(metadata.counts)
    for count in counts.steps.values():
        count.examples.clear()
    counts.people, counts.notes = {}, [ANONYMITY_LIMITS]
    person = metadata.options.person and "(one)"
    options = replace(metadata.options, person=person)
    return replace(
        metadata, counts=counts.to_dict(), options=options, batches=tuple(map(_anonymise_batch, metadata.batches))
    )


def _anonymise_batch(batch: ImportBatch) -> ImportBatch:
    def outside(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((batch.path, why.replace(place, batch.path) if place else why) for place, why in pairs)

    return replace(batch, damaged=outside(batch.damaged), warned=outside(batch.warned))


def _sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for count in counts:
        whole.update(count)
    return dict(whole.most_common())


def _stored_warnings(metadata: CorpusMetadata) -> Iterator[str]:
    """What importers and cleaning said when they worked."""
    for batch in metadata.batches:
        yield from (f"{place}: {what}" for place, what in batch.warned)
    yield from metadata.counts.get("notes", ())


def _count_tokens(collector: StatisticsCollector, folder: Path, size: int) -> tuple[int, bool]:
    """How many the documents are, and whether they were counted one by one."""
    try:
        from model.onnx import tokenizer
    except ImportError:  # a thin client can look at a corpus as well
        deque(collector.iter_documents(), maxlen=0)
        return round(collector.to_statistics().bytes / BYTES_PER_TOKEN), False
    words = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    every = -(-size // MAX_COUNTED_BYTES) or 1
    number = taken = tokens = 0
    some: list[str] = []
    for document in collector.iter_documents():
        for line in document.splitlines(keepends=True):
            number += 1
            if number % every == 0:
                some.append(line)
                taken += len(line.encode())
        if len(some) > LINES_AT_ONCE:
            tokens += sum(map(len, words.encode_many(some)))
            some = []
    tokens += sum(map(len, words.encode_many(some)))
    found = collector.to_statistics()
    if every > 1:
        tokens = round(tokens * found.bytes / max(1, taken))
    return tokens + found.documents, every == 1  # an end of text before each


def _estimate_training(base: str, shape: GPT2Config, tokens: int, counted: bool) -> TrainingEstimate:
    operations = 6 * shape.parameters + 12 * shape.n_layer * shape.n_positions * shape.n_embd  # of a token
    return TrainingEstimate(
        base=base,
        parameters=shape.parameters,
        context=shape.n_positions,
        batch=DEFAULT_BATCH,
        tokens=tokens,
        counted=counted,
        steps=max(0, tokens - 1) // (shape.n_positions * DEFAULT_BATCH),
        seconds=tokens * operations / (THREADS * OPERATIONS_PER_SECOND),
        memory=_estimate_memory(shape),
    )


def _estimate_memory(shape: GPT2Config) -> int:
    return memory.MemoryEstimate(
        shape, *memory.count_trainable(shape, 0), min(memory.MICROBATCH_SEQUENCES, DEFAULT_BATCH), THREADS
    ).total_bytes
