"""The report of `asr33 bench` as text: a heading, tables, and notes on what the figures depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from statistics import median
from typing import IO, Any

from tools.bench.results import CandidateComparison, CandidateResult, SpeedReport, compare_candidates
from tools.cli.table import format_table

MEGA = 1e6
BUSY_LOAD = 0.3  # load per core from which other programs spoil the figures
CPU_CACHE_BYTES = 48e6  # a processor's caches may hold so much

TableRows = Sequence[Sequence[str]]


def print_report(report: SpeedReport, file: IO[str]) -> None:
    print_lines(file, _header_lines(report))
    for title, columns, rows in build_tables(report):
        print_lines(file, ["", title])
        print_table(file, columns, rows, left=(0,))
    print_lines(file, _footer_lines(report))


def print_lines(file: IO[str], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(line + "\n")


def print_table(file: IO[str], columns: Sequence[str], rows: TableRows, left: Collection[int] = ()) -> None:
    """Prints a table, with narrower gaps on a terminal. The columns numbered in `left` are left-aligned."""
    print_lines(file, format_table(columns, rows, left=left, gap=1 if file.isatty() else 2))


def describe_load(machine: dict[str, Any]) -> Iterator[str]:
    """Yields a warning if other programs used the machine."""
    if machine["load"] > BUSY_LOAD * machine["cores"]:
        load = f"load {machine['load']}, {machine['cores']} cores"
        yield f"Other programs used this machine ({load}): measure again when it is idle."


def build_tables(report: SpeedReport) -> Iterator[tuple[str, Sequence[str], TableRows]]:
    """Yields (title, columns, rows) of each table that has rows."""
    complete = [result for result in report.results if result.visits and not result.fault]
    if complete:
        title = "Tokens per second; share of the memory bandwidth; Teletypes (TTYs) so fed; ms to the first token"
        yield title, *_speed_table(complete, report)
        title = "Seconds to load; MB in memory, now and at most; MB of files; fidelity against float32"
        yield title, *_memory_table(complete)
    if pairs := compare_candidates(report.results, report.prompts):
        title = "asr33 against others of its precision, above 1 asr33 is better: median of the rounds, then the worst"
        yield title, *_ratio_table(pairs, complete, report)


def _header_lines(report: SpeedReport) -> Iterator[str]:
    metadata, machine = report.metadata, report.metadata["machine"]
    rounds = f"{metadata['rounds']} round{'s' if metadata['rounds'] != 1 else ''}"
    yield f"{metadata['model']}: {metadata['threads']} threads, {rounds}, one sequence at a time; medians [least-most]"
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"


def _speed_table(results: Sequence[CandidateResult], report: SpeedReport) -> tuple[Sequence[str], TableRows]:
    columns = ["", "tok/s", "[least-most]", "share", "TTYs", *(f"1st {prompt}" for prompt in report.prompts)]
    rows = []
    for result in results:
        rates = result.decode_rates
        spread = f"[{_format_figure(min(rates))}-{_format_figure(max(rates))}]"
        row = [result.candidate.name, _format_figure(median(rates)), spread]
        row += [_format_bandwidth_share(result), f"{result.teletypes_fed(report.chars_per_token):.0f}"]
        row += [_format_figure(1000 * median(result.first_token_times(prompt))) for prompt in report.prompts]
        rows.append(row)
    return columns, rows


def _format_figure(number: float) -> str:
    """Formats a number with three digits, or more if it is above 1000."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _format_bandwidth_share(result: CandidateResult) -> str:
    """Formats the share, or a dash for weights that may fit into a cache and are not read from memory."""
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
        own, peer = quality[pair.ours], quality[pair.theirs]
        no_worse = "-" if own is None or peer is None else "yes" if own.divergence <= peer.divergence else "no"
        ratios = pair.ratios.values()
        name = f"{pair.ours.removeprefix('ours ')} / {pair.theirs}"
        rows.append([name, *(_format_figure(ratio.median) for ratio in ratios), no_worse])
        rows.append(["", *(_format_figure(ratio.worst) for ratio in ratios), ""])
    return columns, rows


def _footer_lines(report: SpeedReport) -> Iterator[str]:
    results = report.results
    rates = [visit.bandwidth / 1e9 for result in results for visit in result.visits]
    yield ""
    if rates:
        yield (
            f"Memory bandwidth: {median(rates):.1f} GB/s [{min(rates):.1f}-{max(rates):.1f}], measured beside each "
            "candidate. The share is the part of it that reading the weights takes while decoding."
        )
    origin = "with the model's own tokenizer" if report.has_measured_chars_per_token else "assumed, without a tokenizer"
    yield f"Teletypes: at {report.chars_per_token:.2f} characters per token, {origin}."
    versions = dict.fromkeys(result.version for result in results if result.version)
    yield f"Engines: {'; '.join(versions)}."
    if any(result.quality for result in results) and not report.has_measured_chars_per_token:
        yield "Fidelity on random weights shows that all run the same model; it does not rank them."
    yield from describe_load(report.metadata["machine"])
    for result in results:
        if result.fault:
            yield f"Left out: {result.fault}"
    for message in report.absent_peers.values():
        yield f"Left out: {message}"
