"""The report of a simulation as text: a row for each run, and notes on what the figures depend on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from tools.bench.load.print_figures import describe_engine, describe_errors, format_waits
from tools.bench.print_results import print_lines, print_table
from tools.bench.simulate.reconnect_storm import Outage, Reconnection
from tools.bench.simulate.simulation import SimulationReport, SimulationRun

COLUMNS = ("clients", "replicas", "worked", "stalls", "s", "wait", "90%", "99%", "worst", "tok/s", "busy", "most")


def print_simulation_report(report: SimulationReport, file: IO[str]) -> None:
    print_lines(file, _header_lines(report))
    if report.runs:
        print_table(file, COLUMNS, [_run_row(run) for run in report.runs])
        print_lines(file, _footer_lines(report, report.runs[-1]))
    if report.outage and report.reconnection:
        print_lines(file, _reconnection_lines(report.outage, report.reconnection))


def _header_lines(report: SimulationReport) -> Iterator[str]:
    metadata = report.metadata
    yield f"Simulated, engine {metadata['engine']}: {metadata['source']}."
    users = "Users without pauses" if metadata["turning"] else "Users who think, type and read"
    users += ", first come, first served" if metadata["order"] == "arrival" else ""
    slowdown, seconds = metadata["guests"]
    users += f", spells of {seconds:g} s that are {slowdown:g} times slower" if seconds else ""
    yield f"{users}, contexts of {metadata['context']} tokens, seed {metadata['seed']}."
    yield ""


def _run_row(run: SimulationRun) -> Sequence[str]:
    figures = run.figures
    return [
        *(str(run.lines), str(run.replicas), str(run.worked), str(figures.stalls), f"{figures.stalled_s:.1f}"),
        *format_waits(figures),
        *(f"{figures.tokens_per_s:.0f}", f"{100 * run.busy:.0f}%", f"{100 * run.busiest:.0f}%"),
    ]


def _footer_lines(report: SimulationReport, last: SimulationRun) -> Iterator[str]:
    yield ""
    if report.max_clients is not None:
        yield f"The largest number of clients that one replica holds: {report.max_clients}."
    figures, cost = last.figures, last.bill
    if last.worked < last.replicas:
        yield f"{last.worked} of {last.replicas:,} replicas were simulated, with their {figures.lines} clients."
    yield f"A replica had {last.fewest} to {last.most} clients, and was busy for {100 * last.busy:.0f}% of the time."
    if last.replicas == 1:
        yield from describe_engine(figures)
    if last.moved or last.stalled_others != figures.stalled_lines:
        yield f"{last.moved} answers continued at another replica; {last.stalled_others} other printers stalled."
    if len(last.there) > 1:
        steps = ", ".join(f"{count} from {moment:.0f} s" for moment, count in last.there)
        yield f"Replicas: {steps}."
    yield from describe_errors(figures)
    yield (
        f"Each client: {cost.core_ms:.1f} ms of a core per second, {cost.cache_mb:.1f} MB of cache, "
        f"{cost.weights_mb:.1f} MB of weights; {cost.bytes_a_character:.0f} bytes on the network per character, "
        f"{cost.bytes_a_second:.0f} per second."
    )
    yield f"Simulated in {figures.driver.cpu_s:.1f} s of processor time."


def _reconnection_lines(outage: Outage, result: Reconnection) -> Iterator[str]:
    yield (
        f"{outage.lines:,} clients at {outage.doors:,} servers that were down for {outage.seconds:g} s and take "
        f"{1000 * outage.knock_s:g} ms for each: {result.within_s:.1f} s, one after the other."
    )
    yield (
        f"Half of the clients were connected after {result.half:.1f} s, 99 of 100 after {result.of_99:.1f}, the last "
        f"after {result.last:.1f}."
    )
    yield f"{result.knocks:,} attempts; {result.left:,} of them timed out, {result.refused:,} got a 429."
