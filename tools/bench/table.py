"""A report for people: rich's tables on a terminal, the same columns with blanks between them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import IO

from rich.console import Console
from rich.table import Table

from tools.bench.figures import CandidateComparison, CandidateResult, SpeedReport, compare_candidates

MEGA = 1e6
BUSY_LOAD = 0.3  # of the cores: a load from which on the figures are others' too
CPU_CACHE_BYTES = 48e6  # bytes: a processor's caches may hold that much
PLAIN_COLUMNS = 200  # columns where there is no terminal: nothing is folded that a program may read

TableRows = Sequence[Sequence[str]]


def print_report(report: SpeedReport, file: IO[str]) -> None:
    sheet = TablePrinter(file)
    sheet.print_lines(_header_lines(report))
    for title, columns, rows in build_tables(report):
        sheet.print_lines(["", title])
        sheet.print_table(columns, rows, has_row_names=True)
    sheet.print_lines(_footer_lines(report))


class TablePrinter:
    """A report as it is written to a terminal or to a file; no line of it is ever folded."""

    def __init__(self, file: IO[str]) -> None:
        self._is_terminal = file.isatty()
        width = None if self._is_terminal else PLAIN_COLUMNS
        self._console = Console(file=file, width=width, highlight=False, emoji=False)

    def print_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)

    def print_table(self, columns: Sequence[str], rows: TableRows, *, has_row_names: bool = False) -> None:
        """As narrow as may be, with 80 columns in mind; no figure is ever cut. `named`: the first column is words."""
        table = Table(box=None, padding=(0, 1 if self._is_terminal else 2, 0, 0), pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if has_row_names and not number else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


def build_tables(report: SpeedReport) -> Iterator[tuple[str, Sequence[str], TableRows]]:
    """(title, columns, rows) of each table that has rows."""
    whole = [result for result in report.results if result.visits and not result.fault]
    if whole:
        title = "Tokens a second; share of the memory's bandwidth; lines of 10 cps so fed; ms to the first token"
        yield title, *_speed_table(whole, report)
        yield "Seconds to load; MB in memory, at most, and in files; quality against float32", *_memory_table(whole)
    if pairs := compare_candidates(report.results, report.prompts):
        title = "Ours against theirs of the same width, above 1 is ours ahead: median of the rounds, the worst below it"
        yield title, *_ratio_table(pairs, whole, report)


def _header_lines(report: SpeedReport) -> Iterator[str]:
    about = report.metadata
    rounds = f"{about['rounds']} round{'s' if about['rounds'] != 1 else ''}"
    yield f"{about['model']}: {about['threads']} threads, {rounds}, one text at a time; medians [least-most]"
    yield f"{about['machine']['processor']}, {about['machine']['cores']} cores, {about['machine']['system']}"


def _speed_table(results: Sequence[CandidateResult], report: SpeedReport) -> tuple[Sequence[str], TableRows]:
    columns = ["", "tok/s", "[least-most]", "read", "lines", *(f"1st {prompt}" for prompt in report.prompts)]
    rows = []
    for result in results:
        decode = result.decode_rates
        row = [
            result.candidate.name,
            _format_figure(median(decode)),
            f"[{_format_figure(min(decode))}-{_format_figure(max(decode))}]",
        ]
        row += [_format_bandwidth_share(result), f"{result.teletypes_fed(report.chars_per_token):.0f}"]
        rows.append(
            row + [_format_figure(1000 * median(result.first_token_times(prompt))) for prompt in report.prompts]
        )
    return columns, rows


def _format_figure(number: float) -> str:
    """Three digits or more."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _format_bandwidth_share(result: CandidateResult) -> str:
    """What a cache may hold is not read from memory."""
    return f"{100 * median(result.bandwidth_shares):.0f}%" if result.step_bytes > CPU_CACHE_BYTES else "-"


def _memory_table(results: Sequence[CandidateResult]) -> tuple[Sequence[str], TableRows]:
    columns = ["", "load s", "MB", "peak", "file", "KL", "perplexity", "same token"]
    rows = []
    for result in results:
        visits, quality = result.visits, result.quality
        row = [result.candidate.name, f"{median(visit.load_s for visit in visits):.2f}"]
        row += [f"{median(visit.resident_bytes for visit in visits) / MEGA:.0f}"]
        row += [f"{median(visit.peak_bytes for visit in visits) / MEGA:.0f}", f"{result.file_bytes / MEGA:.0f}"]
        if quality is None:
            row += ["-", "-", "-"]
        else:
            ratio = "-" if quality.perplexity is None else f"x {quality.perplexity:.4f}"
            row += [f"{quality.divergence:.5f}", ratio, f"{100 * quality.agreement:.1f}%"]
        rows.append(row)
    return columns, rows


def _ratio_table(
    pairs: Sequence[CandidateComparison], results: Sequence[CandidateResult], report: SpeedReport
) -> tuple[Sequence[str], TableRows]:
    quality = {result.candidate.name: result.quality for result in results}
    columns = ["", "decode", *(f"1st {prompt}" for prompt in report.prompts), "load", "peak", "KL no worse"]
    rows = []
    for pair in pairs:
        own, other = quality[pair.ours], quality[pair.theirs]
        no_worse = "-" if own is None or other is None else "yes" if own.divergence <= other.divergence else "no"
        ratios = pair.ratios.values()
        name = f"{pair.ours.removeprefix('ours ')} / {pair.theirs}"
        rows.append([name, *(_format_figure(ratio.median) for ratio in ratios), no_worse])
        rows.append(["", *(_format_figure(ratio.worst) for ratio in ratios), ""])
    return columns, rows


def _footer_lines(report: SpeedReport) -> Iterator[str]:
    results = report.results
    read = [visit.bandwidth for result in results for visit in result.visits]
    yield ""
    if read:
        yield (
            f"Memory read beside it: {median(read) / 1e9:.1f} GB/s [{min(read) / 1e9:.1f}-{max(read) / 1e9:.1f}]; "
            "the share of it is what the reading of weights takes while decoding."
        )
    how = "on the model's own tokenizer" if report.has_measured_chars_per_token else "assumed, there is no tokenizer"
    yield f"Lines: at {report.chars_per_token:.2f} characters a token, {how}."
    versions = dict.fromkeys(result.version for result in results if result.version)
    yield f"Engines: {'; '.join(versions)}."
    if any(result.quality for result in results) and not report.has_measured_chars_per_token:
        yield "Quality on random weights shows that all run the same model; it ranks nothing."
    here = report.metadata["machine"]
    if here["load"] > BUSY_LOAD * here["cores"]:
        load = f"load {here['load']}, {here['cores']} cores"
        yield f"Something else ran here too ({load}): measure again when nothing does."
    for result in results:
        if result.fault:
            yield f"Left out: {result.fault}"
    for why in report.absent_peers.values():
        yield f"Left out: {why}"
