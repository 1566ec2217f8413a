"""Prints the report of a corpus as tables, and a sample of its documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from random import Random
from typing import IO

from tools.cli.errors import ToolError
from tools.cli.table import format_table
from tools.corpus import storage
from tools.corpus.fields import format_count, make_printable
from tools.corpus.importers.registry import describe_kinds
from tools.corpus.rendering import render_documents
from tools.corpus.report import ADVISED_EPOCHS, MIN_ADVISED_STEPS, THREADS, CorpusReport

MAX_SHOWN_CHARS = 2000  # of one document
MAX_DAMAGED = 20  # damaged files listed
NUMBER_COLUMNS = {"files", "texts", "left out", "times", "changed", "dropped", "more", "of all"}

ReportTable = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # title, columns, rows


def print_report(report: CorpusReport, stream: IO[str]) -> None:
    """Writes the summary, the warnings and the tables."""
    lines = [*_summary_lines(report), *(f"! {warning}" for warning in report.warnings)]
    for title, columns, rows in report_tables(report):
        left = [number for number, column in enumerate(columns) if column not in NUMBER_COLUMNS]
        printable = [[make_printable(cell, "·") for cell in row] for row in rows]
        lines += ["", title, *format_table(columns, printable, left=left)]
    stream.writelines(make_printable(line, "·") + "\n" for line in [*lines, "", *_training_lines(report)])


def report_tables(report: CorpusReport) -> Iterator[ReportTable]:
    """Yields the tables that have rows."""
    sources = [
        (
            batch.path,
            describe_kinds(batch.kind),
            f"{batch.members:,}",
            f"{batch.records:,}",
            f"{sum(batch.skipped.values()):,}",
        )
        for batch in report.batches
        if batch.kind
    ]
    if sources:
        yield "Sources", ("path", "read as", "files", "texts", "left out"), sources
    taken = [
        (suffix, describe_kinds(batch.kind), f"{count:,}")
        for batch in report.batches
        for suffix, count in batch.taken.items()
    ]
    if len(taken) > 1:
        yield "Files taken", ("ending", "read as", "files"), taken
    if report.skipped:
        rows = [(reason, f"{count:,}") for reason, count in report.skipped.items()]
        yield "Left out, without text", ("what", "times"), rows
    if report.unclaimed:
        rows = [(suffix, f"{count:,}") for suffix, count in report.unclaimed.items()]
        yield "Files left out", ("ending", "files"), rows
    damaged = [pair for batch in report.batches for pair in batch.damaged]
    if damaged:
        more = [] if len(damaged) <= MAX_DAMAGED else [(f"and {len(damaged) - MAX_DAMAGED:,} more", "")]
        yield "Not read", ("file", "reason"), [*damaged[:MAX_DAMAGED], *more]
    if steps := list(_step_rows(report)):
        yield "Cleaned", ("step", "changed", "dropped", "more", "for example"), steps
    if report.statistics.repeated:
        repeated = [(text, f"{count:,}", f"{100 * share:.1f} %") for text, count, share in report.statistics.repeated]
        yield "Identical texts", ("text", "times", "of all"), repeated
    if report.statistics.people:
        people = [(who, f"{texts:,}", f"{100 * share:.0f} %") for who, texts, share in report.statistics.people]
        yield f"Writers ({report.statistics.people_count:,})", ("name", "texts", "of all"), people


def _step_rows(report: CorpusReport) -> Iterator[Sequence[str]]:
    for name, count in report.counts.steps.items():
        if count:
            numbers = (f"{number:,}" if number else "" for number in (count.changed, count.dropped, count.added))
            yield name, *numbers, count.examples[0] if count.examples else ""


def _summary_lines(report: CorpusReport) -> Iterator[str]:
    statistics = report.statistics
    documents = format_count(statistics.documents, "document")
    yield (
        f"{report.name}: {format_count(report.counts.read, 'text')} found, {statistics.texts:,} kept, {documents} of "
        f"{format_count(statistics.characters, 'character')}, {format_count(statistics.words, 'word')}, "
        f"{format_count(statistics.lines, 'line')}"
    )
    options = [f"--person {report.options.person}"] if report.options.person else []
    options += ["--anonymous"] if report.options.anonymous else []
    options += [f"--drop {shlex.quote(pattern)}" for pattern in report.options.drop]
    options += [f"--without {name}" for name in sorted(report.options.without)]
    if options:
        yield f"cleaned with {' '.join(options)}"


def _training_lines(report: CorpusReport) -> Iterator[str]:
    training = report.training
    about = "" if training.counted else "about "
    yield f"{about}{format_count(training.tokens, 'token')} with the vocabulary of {training.base}"
    yield (
        f"an epoch of training {training.base} ({training.parameters / 1e6:.1f} M parameters): "
        f"{format_count(training.steps, 'step')} of {training.batch} x {training.context} tokens, "
        f"about {format_duration(training.seconds)} and {training.memory / 1e9:.1f} GB of memory"
    )
    yield f"estimated for {THREADS} cores of a server, in float32; a Pi takes ten times as long, a GPU a hundredth"
    if training.advised_steps:
        base = shlex.quote(training.base)
        yield f"to train: asr33 train {report.name} --name voice --base {base} --steps {training.advised_steps}"
        yield (
            f"these are {ADVISED_EPOCHS} epochs and at least {MIN_ADVISED_STEPS} steps, about "
            f"{format_duration(training.advised_seconds)}; the run ends earlier if the text held out gets no better"
        )


def format_duration(seconds: float) -> str:
    """Returns an estimated duration in one or two digits with a unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "a second"


def print_documents(name: str, count: int, seed: int, stream: IO[str]) -> None:
    """Writes `count` random documents in the order of the corpus. Raises ToolError ("missing", "damaged")."""
    sample, total = _draw_sample(render_documents(storage.open_kept_records(name)), count, Random(seed))
    if not sample:
        raise ToolError(f"{name}: no text is left after cleaning; to see why: asr33 corpus report {name}", "damaged")
    for number, text in sample:
        shown = "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text[:MAX_SHOWN_CHARS])
        stream.write(f"--- document {number:,} of {total:,}, {format_count(len(text), 'character')}\n{shown}\n")
        if len(text) > MAX_SHOWN_CHARS:
            stream.write(f"--- and {format_count(len(text) - MAX_SHOWN_CHARS, 'character')} more\n")
    stream.flush()


def _draw_sample(texts: Iterator[str], count: int, random: Random) -> tuple[list[tuple[int, str]], int]:
    """Returns a uniform sample of (number from 1, document) and the total. Memory holds only the sample."""
    sample: list[tuple[int, str]] = []
    number = 0
    for number, text in enumerate(texts, start=1):
        if len(sample) < count:
            sample.append((number, text))
        elif (index := random.randrange(number)) < count:
            sample[index] = (number, text)
    return sorted(sample), number
