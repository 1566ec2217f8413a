"""The report of a load test as text: a row for each run, and notes on what the figures depend on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from tools.bench.load.figures import LoadFigures
from tools.bench.load.load_test import LoadReport
from tools.bench.print_results import MEGA, describe_load, print_lines, print_table

LATE_DRIVER_S = 0.1  # a longer delay of the load generator spoils the figures
COLUMNS = ("clients", "stalls", "s", "wait", "90%", "99%", "worst", "tok/s", "char/s", "errors", "CPU s", "MB")


def print_load_report(report: LoadReport, file: IO[str], max_wait_s: float) -> None:
    print_lines(file, _header_lines(report.metadata))
    if report.runs:
        print_lines(file, [""])
        print_table(file, COLUMNS, [_run_row(run) for run in report.runs])
    print_lines(file, _footer_lines(report, max_wait_s))


def _header_lines(metadata: dict[str, Any]) -> Iterator[str]:
    users = "users without pauses" if metadata["turning"] else "users who think, type and read"
    yield f"{metadata['model']}, {metadata['engine']}: {users}, contexts of {metadata['context']} tokens"
    machine = metadata["machine"]
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"


def format_waits(run: LoadFigures) -> list[str]:
    """Formats the four columns of waits."""
    waits = run.waits
    return [f"{s:.2f}" for s in (waits.median, waits.of_90, waits.of_99, waits.worst)] if waits else ["-"] * 4


def _run_row(run: LoadFigures) -> Sequence[str]:
    row = [str(run.lines), str(run.stalls), f"{run.stalled_s:.1f}", *format_waits(run)]
    row += [f"{run.tokens_per_s:.0f}", f"{run.characters_per_s:.0f}", str(sum(run.errors.values()))]
    server = run.server
    return [*row, *(["-", "-"] if server is None else [f"{server.cpu_s:.0f}", f"{server.peak / MEGA:.0f}"])]


def _footer_lines(report: LoadReport, max_wait_s: float) -> Iterator[str]:
    yield ""
    if report.max_clients is not None:
        limit = f" and 99 of 100 first characters within {max_wait_s:g} s" if max_wait_s else ""
        so_far = "" if report.is_complete else ", as far as the search went"
        yield f"The largest number of clients with no stall{limit}: {report.max_clients}{so_far}."
    for failure in report.failures:
        yield f"Failed: {failure}"
    if not report.is_complete:
        yield "Interrupted: the figures are those of the time until then."
    if not report.runs:
        return
    last = report.runs[-1]
    yield (
        f"The last run: {last.seconds:.0f} s, {last.answers} answers; {last.stalled_lines} printers stalled for more "
        "than 0.2 s. Waits are seconds from RETURN to the first character."
    )
    yield from describe_errors(last)
    share = 100 * last.driver.cpu_s / last.seconds
    yield f"The load generator: {share:.0f}% of a core, at most {1000 * last.late_s:.0f} ms late."
    if last.late_s > LATE_DRIVER_S:
        yield "Some of the stalls may be its own: run it on another machine, with --model URL."
    yield from describe_engine(last)
    yield from describe_load(report.metadata["machine"])


def describe_errors(run: LoadFigures) -> Iterator[str]:
    if run.errors:
        yield f"Errors: {', '.join(f'{count} {kind}' for kind, count in run.errors.items())}."


def describe_engine(run: LoadFigures) -> Iterator[str]:
    """Yields how the engine spent its time, if the server gives its counters."""
    counters = run.engine
    if not counters.get("steps") or not counters.get("rows"):
        return
    rows, padding = counters["rows"] / counters["steps"], counters["padding_rows"] / counters["rows"]
    chunk = counters["read"] / max(1, counters["prefill_chunks"])
    yield (
        f"The engine: {100 * counters['step_s'] / run.seconds:.0f}% of the time in decode steps, of {rows:.0f} rows "
        f"and {1000 * counters['step_s'] / counters['steps']:.0f} ms each, {100 * padding:.0f}% of the rows padding; "
        f"{100 * counters['read_s'] / run.seconds:.0f}% in prefill, {counters['read'] / run.seconds:.0f} tokens per "
        f"second in chunks of {chunk:.0f}, and {counters['reused'] / run.seconds:.0f} found in a cache."
    )
