"""The report of a corpus: sources, what was left out and why, statistics, and the cost of training.

It reads the corpus's folder and the vocabulary of a base model.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model.interface import GPT2Config
from model.store import store
from tools.corpus import storage
from tools.corpus.anonymise import ANONYMITY_LIMITS
from tools.corpus.cleaning.counts import CleaningCounts, counts_from_dict
from tools.corpus.cleaning.steps import CleaningOptions
from tools.corpus.metadata import CorpusMetadata, ImportBatch, sum_counts
from tools.corpus.statistics import CorpusStatistics, StatisticsCollector, find_warnings
from tools.train import memory
from tools.train.run_config import DEFAULT_BATCH

MAX_COUNTED_BYTES = 4 << 20  # a larger corpus is estimated from every n-th line
LINES_AT_ONCE = 4096
BYTES_PER_TOKEN = 4.0  # of English with GPT-2's vocabulary; used if the engine is not installed
THREADS = 2  # as `asr33 train` uses by default
# Operations per second and core. Measured on two cores in runs of hours with float32: 83e9 to 190e9.
OPERATIONS_PER_SECOND = 65e9
# The advised steps: where the embedded model was best on 28,000 and 114,000 tokens of manuals, in docs/training.md.
# Muennighoff et al. 2023, arXiv:2305.16264, find four epochs as good as new text, and a gain that fades after these.
ADVISED_EPOCHS, MIN_ADVISED_STEPS = 6, 100
TRAINED_SHARE = 0.9  # of a corpus: `asr33 train` holds out a tenth


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """The cost of one epoch, and a number of steps to train with; 0: there are too few tokens for one step.

    `counted`: all tokens were counted, not estimated from a part. `memory` is in bytes; `seconds` are for `THREADS`
    cores of a server of the 2020s.
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
    advised_steps: int

    @property
    def advised_seconds(self) -> float:
        return self.advised_steps * self.batch * self.context * self.seconds / max(1, self.tokens)


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """All figures of a corpus. Each warning is a line that names its cure."""

    name: str
    batches: tuple[ImportBatch, ...]
    options: CleaningOptions
    counts: CleaningCounts
    statistics: CorpusStatistics
    training: TrainingEstimate
    warnings: tuple[str, ...]

    @property
    def skipped(self) -> dict[str, int]:
        """The number of items without text, by reason."""
        return dict(sum_counts(batch.skipped for batch in self.batches).most_common())

    @property
    def unclaimed(self) -> dict[str, int]:
        """The number of unclaimed files, by suffix."""
        return dict(sum_counts(batch.left for batch in self.batches).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Returns the report for JSON."""
        batches = [asdict(batch) for batch in self.batches]
        for batch in batches:
            del batch["digests"], batch["named"], batch["files"]
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
    """Computes the report of a corpus, with tokens of the base model's vocabulary. Raises ToolError, ModelError."""
    metadata = _anonymise_metadata(storage.read_metadata(name))
    folder = store.find_model(base)
    collector = StatisticsCollector(storage.open_kept_records(name), metadata.options.anonymous)
    tokens, counted = _count_tokens(collector, folder, metadata.kept_bytes)
    statistics = collector.to_statistics()
    training = _estimate_training(base, store.read_manifest(folder).shape, tokens, counted)
    window = math.ceil((training.context * (training.batch + 1) + 1) / TRAINED_SHARE)
    return CorpusReport(
        name=name,
        batches=metadata.batches,
        options=metadata.options,
        counts=counts_from_dict(metadata.counts) if metadata.counts else CleaningCounts(),
        statistics=statistics,
        training=training,
        warnings=(*_stored_warnings(metadata), *find_warnings(statistics, metadata.options, tokens, window)),
    )


def _anonymise_metadata(metadata: CorpusMetadata) -> CorpusMetadata:
    """Removes names if the corpus is anonymous: examples, people, notes, and the paths inside archives."""
    if not metadata.options.anonymous:
        return metadata
    counts = counts_from_dict(metadata.counts)
    for count in counts.steps.values():
        count.examples.clear()
        count.cut_from = ""
    counts.people, counts.notes = {}, [ANONYMITY_LIMITS]
    options = replace(metadata.options, person=metadata.options.person and "(one)", drop=())
    batches = tuple(map(_anonymise_batch, metadata.batches))
    return replace(metadata, counts=counts.to_dict(), options=options, batches=batches)


def _anonymise_batch(batch: ImportBatch) -> ImportBatch:
    def hide_locations(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((batch.path, text.replace(location, batch.path) if location else text) for location, text in pairs)

    return replace(batch, damaged=hide_locations(batch.damaged), warned=hide_locations(batch.warned))


def _stored_warnings(metadata: CorpusMetadata) -> Iterator[str]:
    """Yields the warnings of the importers and the notes of the last cleaning."""
    for batch in metadata.batches:
        yield from (f"{location}: {message}" for location, message in batch.warned)
    yield from metadata.counts.get("notes", ())


def _count_tokens(collector: StatisticsCollector, folder: Path, size: int) -> tuple[int, bool]:
    """Returns the number of tokens, and whether all were counted."""
    try:
        from model.onnx import tokenizer
    except ImportError:  # installed without the engine
        deque(collector.iter_documents(), maxlen=0)
        return round(collector.to_statistics().bytes / BYTES_PER_TOKEN), False
    encoder = tokenizer.from_json((folder / store.TOKENIZER_FILE).read_text("utf-8"))
    step = -(-size // MAX_COUNTED_BYTES) or 1
    line_number = sampled_bytes = tokens = 0
    sample: list[str] = []
    for document in collector.iter_documents():
        for line in document.splitlines(keepends=True):
            line_number += 1
            if line_number % step == 0:
                sample.append(line)
                sampled_bytes += len(line.encode())
        if len(sample) > LINES_AT_ONCE:
            tokens += sum(map(len, encoder.encode_many(sample)))
            sample = []
    tokens += sum(map(len, encoder.encode_many(sample)))
    statistics = collector.to_statistics()
    if step > 1:
        tokens = round(tokens * statistics.bytes / max(1, sampled_bytes))
    return tokens + statistics.documents, step == 1  # each document begins with an end-of-text token


def _estimate_training(base: str, shape: GPT2Config, tokens: int, counted: bool) -> TrainingEstimate:
    sequences = min(memory.MICROBATCH_SEQUENCES, DEFAULT_BATCH)
    estimate = memory.MemoryEstimate(shape, *memory.count_trainable(shape, 0), sequences, THREADS)
    operations = 6 * shape.parameters + 12 * shape.n_layer * shape.n_positions * shape.n_embd  # per token
    return TrainingEstimate(
        base=base,
        parameters=shape.parameters,
        context=shape.n_positions,
        batch=DEFAULT_BATCH,
        tokens=tokens,
        counted=counted,
        steps=max(0, tokens - 1) // (shape.n_positions * DEFAULT_BATCH),
        seconds=tokens * operations / (THREADS * OPERATIONS_PER_SECOND),
        memory=estimate.total_bytes,
        advised_steps=advise_steps(tokens, shape.n_positions, DEFAULT_BATCH),
    )


def advise_steps(tokens: int, context: int, batch: int) -> int:
    """Returns a number of steps for a corpus, in two digits: ADVISED_EPOCHS, and at least MIN_ADVISED_STEPS.

    It is 0 if what is not held out is too short for a step.
    """
    trained = int(TRAINED_SHARE * tokens)
    if trained < context * (batch + 1) + 1:
        return 0
    steps = max(MIN_ADVISED_STEPS, math.ceil(ADVISED_EPOCHS * trained / (context * batch)))
    unit = int("1" + "0" * (len(str(steps)) - 2))
    return math.ceil(steps / unit) * unit
