"""All there is to say of a corpus: where it is from, what was left out and why, what is left, what training takes.

It reads the corpus's folder and the vocabulary of a base; the figures are worked out elsewhere.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model import store
from model.base import Shape
from tools.corpora import keeping
from tools.corpora.anonymous import CANNOT
from tools.corpora.cleaning.counts import Counts, from_data
from tools.corpora.cleaning.options import CleaningOptions
from tools.corpora.faults import faults
from tools.corpora.figures import Figures, Measure
from tools.corpora.ledger import Batch, Ledger
from tools.training import memory
from tools.training.recipe import BATCH

COUNTED = 4 << 20  # bytes that are made into tokens; of more every so many lines are
LINES_AT_ONCE = 4096
PER_TOKEN = 4.0  # bytes: what English has with GPT-2's vocabulary, where none is at hand
THREADS = 2  # as `asr33 train` has it
# Operations a second on each core: 83 to 190 thousand million on two were measured in runs of hours with float32.
PACE = 65e9


@dataclass(frozen=True, slots=True)
class Training:
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
class Report:
    """`warnings` are what a person must hear, each a line with its cure."""

    name: str
    batches: tuple[Batch, ...]
    options: CleaningOptions
    counts: Counts
    figures: Figures
    training: Training
    warnings: tuple[str, ...]

    @property
    def skipped(self) -> dict[str, int]:
        """Why how many things that are no texts were not taken."""
        return _sum(batch.skipped for batch in self.batches)

    @property
    def left(self) -> dict[str, int]:
        """Endings of files that no importer knew, and how many there are."""
        return _sum(batch.left for batch in self.batches)

    def data(self) -> dict[str, Any]:
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
            "left": self.left,
            "cleaning": self.counts.data(),
            "figures": asdict(self.figures),
            "training": asdict(self.training),
            "warnings": list(self.warnings),
        }


def figures(name: str, base: str = store.EMBEDDED) -> Report:
    """Of a corpus, its tokens in the vocabulary of a base. Raises CorpusNotFound, CorpusDamaged, ModelError."""
    ledger = _nameless(keeping.read(name))
    folder = store.find(base)
    measure = Measure(keeping.kept(name))
    tokens, counted = _tokens(measure, folder, ledger.kept_bytes)
    found = measure.figures()
    training = _training(base, store.read_manifest(folder).shape, tokens, counted)
    window = training.context * (training.batch + 1) + 1
    return Report(
        name=name,
        batches=ledger.batches,
        options=ledger.options,
        counts=from_data(ledger.counts) if ledger.counts else Counts(),
        figures=found,
        training=training,
        warnings=(*_told(ledger), *faults(found, ledger.options, tokens, window)),
    )


def _nameless(ledger: Ledger) -> Ledger:
    """Where all is anonymous, the report is as well: no examples from before, no word of who was meant, and of a file
    in an archive only which archive, since folders of messages are called after people."""
    if not ledger.options.anonymous:
        return ledger
    counts = from_data(ledger.counts)
    for count in counts.steps.values():
        count.examples.clear()
    counts.people, counts.notes = {}, [CANNOT]
    person = ledger.options.person and "(one)"
    options = replace(ledger.options, person=person)
    return replace(ledger, counts=counts.data(), options=options, batches=tuple(map(_placeless, ledger.batches)))


def _placeless(batch: Batch) -> Batch:
    def outside(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((batch.path, why.replace(place, batch.path) if place else why) for place, why in pairs)

    return replace(batch, damaged=outside(batch.damaged), warned=outside(batch.warned))


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for count in counts:
        whole.update(count)
    return dict(whole.most_common())


def _told(ledger: Ledger) -> Iterator[str]:
    """What importers and cleaning said when they worked."""
    for batch in ledger.batches:
        yield from (f"{place}: {what}" for place, what in batch.warned)
    yield from ledger.counts.get("notes", ())


def _tokens(measure: Measure, folder: Path, size: int) -> tuple[int, bool]:
    """How many the documents are, and whether they were counted one by one."""
    try:
        from model import tokenizer
    except ImportError:  # a thin client can look at a corpus as well
        deque(measure.documents(), maxlen=0)
        return round(measure.figures().bytes / PER_TOKEN), False
    words = tokenizer.from_json((folder / store.TOKENIZER).read_text("utf-8"))
    every = -(-size // COUNTED) or 1
    number = taken = tokens = 0
    some: list[str] = []
    for document in measure.documents():
        for line in document.splitlines(keepends=True):
            number += 1
            if number % every == 0:
                some.append(line)
                taken += len(line.encode())
        if len(some) > LINES_AT_ONCE:
            tokens += sum(map(len, words.encode_many(some)))
            some = []
    tokens += sum(map(len, words.encode_many(some)))
    found = measure.figures()
    if every > 1:
        tokens = round(tokens * found.bytes / max(1, taken))
    return tokens + found.documents, every == 1  # an end of text before each


def _training(base: str, shape: Shape, tokens: int, counted: bool) -> Training:
    operations = 6 * shape.parameters + 12 * shape.n_layer * shape.n_positions * shape.n_embd  # of a token
    return Training(
        base=base,
        parameters=shape.parameters,
        context=shape.n_positions,
        batch=BATCH,
        tokens=tokens,
        counted=counted,
        steps=max(0, tokens - 1) // (shape.n_positions * BATCH),
        seconds=tokens * operations / (THREADS * PACE),
        memory=_memory(shape),
    )


def _memory(shape: Shape) -> int:
    return memory.Load(shape, *memory.moved(shape, 0), min(memory.SEQUENCES, BATCH), THREADS).bytes
