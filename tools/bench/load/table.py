"""What N lines came to, for people: a row for each run, and below it what the figures hold for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from tools.bench.load.figures import LoadFigures
from tools.bench.load.run import LoadReport
from tools.bench.table import BUSY_LOAD, MEGA, TablePrinter

LATE_DRIVER_S = 0.1  # so late, and a part of what was measured was the driver
COLUMNS = ("lines", "stalls", "s", "wait", "90%", "99%", "worst", "tok/s", "char/s", "errors", "CPU s", "MB")


def print_load_report(report: LoadReport, file: IO[str], max_wait_s: float) -> None:
    sheet = TablePrinter(file)
    sheet.print_lines(_header_lines(report.metadata))
    if report.runs:
        sheet.print_lines([""])
        sheet.print_table(COLUMNS, [_run_row(run) for run in report.runs])
    sheet.print_lines(_footer_lines(report, max_wait_s))


def _header_lines(metadata: dict[str, Any]) -> Iterator[str]:
    people = "all wheels turning" if metadata["turning"] else "people who think, type and read"
    yield f"{metadata['model']}, {metadata['engine']}: {people}, contexts of {metadata['context']} tokens"
    here = metadata["machine"]
    yield f"{here['processor']}, {here['cores']} cores, {here['system']}"


def _run_row(run: LoadFigures) -> Sequence[str]:
    waits = [] if run.waits is None else [run.waits.median, run.waits.of_90, run.waits.of_99, run.waits.worst]
    row = [str(run.lines), str(run.stalls), f"{run.stalled_s:.1f}", *(f"{wait:.2f}" for wait in waits)]
    row += [] if waits else ["-"] * 4
    row += [f"{run.tokens_per_s:.0f}", f"{run.characters_per_s:.0f}", str(sum(run.errors.values()))]
    server = run.server
    return [*row, *(["-", "-"] if server is None else [f"{server.cpu_s:.0f}", f"{server.peak / MEGA:.0f}"])]


def _footer_lines(report: LoadReport, max_wait_s: float) -> Iterator[str]:
    yield ""
    if report.max_clients is not None:
        patience = f" and 99 of 100 first strikes within {max_wait_s:g} s" if max_wait_s else ""
        surely = "" if report.is_complete else ", as far as it came"
        yield f"The largest number of lines with no stall{patience}: {report.max_clients}{surely}."
    for fault in report.failures:
        yield f"Failed: {fault}"
    if not report.is_complete:
        yield "Ended before its time: the figures are those of what there was."
    if not report.runs:
        return
    last = report.runs[-1]
    yield (
        f"The last run: {last.seconds:.0f} s, {last.answers} answers; {last.stalled_lines} wheels stood still for more "
        "than 0.2 s. Waits are seconds from RETURN to the first strike."
    )
    if last.errors:
        yield f"Errors: {', '.join(f'{count} {kind}' for kind, count in last.errors.items())}."
    share = 100 * last.driver.cpu_s / last.seconds
    yield f"The driver itself: {share:.0f}% of a core, at most {1000 * last.late_s:.0f} ms late."
    if last.late_s > LATE_DRIVER_S:
        yield "So late, some of the stalls may be the driver's own: drive from another machine by --model URL."
    yield from describe_engine(last)
    here = report.metadata["machine"]
    if here["load"] > BUSY_LOAD * here["cores"]:
        yield f"Something else ran here too (load {here['load']}, {here['cores']} cores): measure when nothing does."


def describe_engine(run: LoadFigures) -> Iterator[str]:
    """What the time went into, where the server tells."""
    done = run.engine
    if not done.get("steps") or not done.get("stepped"):
        return
    rows, along = done["stepped"] / done["steps"], done["along"] / done["stepped"]
    yield (
        f"The engine: {100 * done['step_s'] / run.seconds:.0f}% of the time in steps, of {rows:.0f} rows and "
        f"{1000 * done['step_s'] / done['steps']:.0f} ms each, {100 * along:.0f}% of the rows nobody's; "
        f"{100 * done['read_s'] / run.seconds:.0f}% reading prompts, {done['read'] / run.seconds:.0f} tokens a "
        f"second in pieces of {done['read'] / max(1, done['pieces']):.0f}, and {done['reused'] / run.seconds:.0f} that "
        "were in a cache."
    )
