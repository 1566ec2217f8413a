"""What a simulation came to, for people: a row for each run, and below it what the figures hold for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from tools.bench.load.table import describe_engine
from tools.bench.simulate.reconnect_storm import Outage, Reconnection
from tools.bench.simulate.run import SimulationReport, SimulationRun
from tools.bench.table import TablePrinter

COLUMNS = ("lines", "replicas", "worked", "stalls", "s", "wait", "90%", "99%", "worst", "tok/s", "busy", "most")


def print_simulation_report(report: SimulationReport, file: IO[str]) -> None:
    sheet = TablePrinter(file)
    sheet.print_lines(_header_lines(report))
    if report.runs:
        sheet.print_table(COLUMNS, [_run_row(run) for run in report.runs])
        sheet.print_lines(_footer_lines(report, report.runs[-1]))
    if report.outage and report.reconnection:
        sheet.print_lines(_reconnection_lines(report.outage, report.reconnection))


def _header_lines(report: SimulationReport) -> Iterator[str]:
    people = "all wheels turning" if report.metadata["turning"] else "people who think, type and read"
    yield f"Simulated, engine {report.metadata['engine']}: {report.metadata['source']}."
    people += ", first come, first served" if report.metadata["order"] == "arrival" else ""
    times, seconds = report.metadata["guests"]
    people += f", for {seconds:g} s now and then {times:g} times as slow" if seconds else ""
    yield f"{people[0].upper()}{people[1:]}, contexts of {report.metadata['context']} tokens, seed {report.metadata['seed']}."
    yield ""


def _run_row(run: SimulationRun) -> Sequence[str]:
    found = run.figures
    waits = [found.waits.median, found.waits.of_90, found.waits.of_99, found.waits.worst] if found.waits else []
    return [
        *(str(run.lines), str(run.replicas), str(run.worked), str(found.stalls), f"{found.stalled_s:.1f}"),
        *((f"{wait:.2f}" for wait in waits) if waits else ["-"] * 4),
        *(f"{found.tokens_per_s:.0f}", f"{100 * run.busy:.0f}%", f"{100 * run.busiest:.0f}%"),
    ]


def _footer_lines(report: SimulationReport, last: SimulationRun) -> Iterator[str]:
    yield ""
    if report.max_clients is not None:
        yield f"The largest number of lines that one replica holds: {report.max_clients}."
    found, bill = last.figures, last.bill
    if last.worked < last.replicas:
        yield f"Of {last.replicas:,} replicas {last.worked} were worked through, with their {found.lines} lines."
    yield f"A replica had {last.fewest} to {last.most} lines; it was at work for {100 * last.busy:.0f}% of the time."
    if last.replicas == 1:
        yield from describe_engine(found)
    if last.moved or last.stalled_others != found.stalled_lines:
        yield f"{last.moved} answers went on at another replica; {last.stalled_others} other wheels stood still."
    if len(last.there) > 1:
        steps = ", ".join(f"{count} from {at:.0f} s" for at, count in last.there)
        yield f"Replicas: {steps}."
    if found.errors:
        yield f"Errors: {', '.join(f'{count} {kind}' for kind, count in found.errors.items())}."
    yield (
        f"A line: {bill.core_ms:.1f} ms of a core a second, {bill.cache_mb:.1f} MB of cache, {bill.weights_mb:.1f} of "
        f"weights; {bill.bytes_a_character:.0f} bytes on the wire for a character, {bill.bytes_a_second:.0f} a second."
    )
    yield f"Simulated in {found.driver.cpu_s:.1f} s of processor time."


def _reconnection_lines(outage: Outage, reconnection: Reconnection) -> Iterator[str]:
    yield (
        f"{outage.lines:,} lines at {outage.doors:,} doors that were away for {outage.seconds:g} s and take "
        f"{1000 * outage.knock_s:g} ms for each: {reconnection.within_s:.1f} s, one after the other."
    )
    yield f"Half were in after {reconnection.half:.1f} s, 99 of 100 after {reconnection.of_99:.1f}, the last after {reconnection.last:.1f}."
    yield f"{reconnection.knocks:,} knocks; {reconnection.left:,} had left before their turn, {reconnection.refused:,} were told to come again."
