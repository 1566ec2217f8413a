"""A corpus for people: its report in tables, and some of its documents as the model will see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.corpus import storage
from tools.corpus.errors import NothingTaken
from tools.corpus.rendering import render_documents
from tools.corpus.report import THREADS, CorpusReport

NO_TERMINAL_COLUMNS = 200  # columns where there is no terminal: nothing is folded that a program may read
MAX_SHOWN_CHARS = 2000  # characters of a document that are shown
MAX_DAMAGED = 20  # files that are named

ReportRows = Sequence[Sequence[str]]


def print_report(report: CorpusReport, stream: IO[str]) -> None:
    """Warnings first, then tables."""
    terminal = stream.isatty()
    console = Console(file=stream, width=None if terminal else NO_TERMINAL_COLUMNS, highlight=False, emoji=False)
    for line in _summary_lines(report):
        console.print(_make_printable(line), markup=False, soft_wrap=True)
    for warning in report.warnings:
        console.print(f"! {_make_printable(warning)}", markup=False, soft_wrap=True, style="bold")
    for title, columns, rows in report_tables(report):
        console.print(f"\n{title}", markup=False, soft_wrap=True)
        console.print(_build_table(columns, rows))
    for line in ("", *_training_lines(report)):
        console.print(line, markup=False, soft_wrap=True)


def report_tables(report: CorpusReport) -> Iterator[tuple[str, Sequence[str], ReportRows]]:
    """(title, columns, rows) of each that has rows."""
    sources = [
        (batch.path, batch.kind, f"{batch.members:,}", f"{batch.records:,}", f"{sum(batch.skipped.values()):,}")
        for batch in report.batches
        if batch.kind
    ]
    if sources:
        yield "Where it is from", ("path", "taken for", "files", "texts", "left out"), sources
    if report.skipped:
        yield "Left out, having no text", ("what", "times"), [(why, f"{n:,}") for why, n in report.skipped.items()]
    if report.unclaimed:
        yield (
            "Files that nobody knew, by their endings",
            ("ending", "files"),
            [(ending, f"{n:,}") for ending, n in report.unclaimed.items()],
        )
    damaged = [pair for batch in report.batches for pair in batch.damaged]
    if damaged:
        more = [] if len(damaged) <= MAX_DAMAGED else [(f"and {len(damaged) - MAX_DAMAGED:,} more", "")]
        yield "Damaged, and gone over", ("file", "what ails it"), [*damaged[:MAX_DAMAGED], *more]
    if steps := list(_step_rows(report)):
        yield "Cleaned", ("step", "changed", "dropped", "more", "for example"), steps
    if report.statistics.people:
        people = [(who, f"{texts:,}", f"{100 * share:.0f} %") for who, texts, share in report.statistics.people]
        yield f"Who writes ({report.statistics.people_count:,})", ("name", "texts", "of all"), people


def _step_rows(report: CorpusReport) -> Iterator[Sequence[str]]:
    for name, count in report.counts.steps.items():
        if count:
            numbers = (f"{number:,}" if number else "" for number in (count.changed, count.dropped, count.added))
            yield name, *numbers, count.examples[0] if count.examples else ""


def _summary_lines(report: CorpusReport) -> Iterator[str]:
    found = report.statistics
    size = "1 document" if found.documents == 1 else f"{found.documents:,} documents"
    yield (
        f"{report.name}: {report.counts.read:,} texts found, {found.texts:,} kept, {size} of "
        f"{found.characters:,} characters, {found.words:,} words, {found.lines:,} lines"
    )
    asked = [f"--person {report.options.person}"] if report.options.person else []
    asked += ["--anonymous"] if report.options.anonymous else []
    asked += [f"--without {name}" for name in sorted(report.options.without)]
    if asked:
        yield f"cleaned with {' '.join(asked)}"


def _training_lines(report: CorpusReport) -> Iterator[str]:
    plan = report.training
    about = "" if plan.counted else "about "
    yield f"{about}{plan.tokens:,} tokens with the vocabulary of {plan.base}"
    yield (
        f"an epoch of training {plan.base} ({plan.parameters / 1e6:.1f} M parameters): {plan.steps:,} steps of "
        f"{plan.batch} x {plan.context} tokens, about {format_duration(plan.seconds)} and {plan.memory / 1e9:.1f} GB of memory"
    )
    yield f"reckoned for {THREADS} cores of a server, in float32; a Pi takes ten times as long, a GPU a hundredth"


def format_duration(seconds: float) -> str:
    """A duration that is an estimate: one figure or two, and its unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "a second"


def print_documents(name: str, count: int, seed: int, stream: IO[str]) -> None:
    """So many documents, drawn by the seed, in the order of the corpus. Raises CorpusNotFound, NothingTaken."""
    drawn, whole = _draw_sample(render_documents(storage.open_kept_records(name)), count, Random(seed))
    if not drawn:
        raise NothingTaken(f"{name}: no text is left in it; see why: asr33 corpus report {name}")
    for number, text in drawn:
        shown = "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text[:MAX_SHOWN_CHARS])
        stream.write(f"--- document {number:,} of {whole:,}, {len(text):,} characters\n{shown}\n")
        if len(text) > MAX_SHOWN_CHARS:
            stream.write(f"--- and {len(text) - MAX_SHOWN_CHARS:,} characters more\n")
    stream.flush()


def _draw_sample(texts: Iterator[str], count: int, draw: Random) -> tuple[list[tuple[int, str]], int]:
    """(number from 1, document) of a fair sample, and how many there are; it holds no more than the sample."""
    some: list[tuple[int, str]] = []
    number = 0
    for number, text in enumerate(texts, start=1):
        if len(some) < count:
            some.append((number, text))
        elif (place := draw.randrange(number)) < count:
            some[place] = (number, text)
    return sorted(some), number


def _build_table(columns: Sequence[str], rows: ReportRows) -> Table:
    """As narrow as may be; what is long is folded, no figure is cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    numbers = {"files", "texts", "left out", "times", "changed", "dropped", "more", "of all"}
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape_cell(cell) for cell in row))
    return table


def _escape_cell(cell: str) -> str:
    """Neither the terminal nor rich takes anything in it for a command."""
    return escape(_make_printable(cell))


def _make_printable(line: str) -> str:
    """Names in an archive may have been chosen to move a cursor, or to turn a line round."""
    return "".join(c if c.isprintable() else "·" for c in line)
