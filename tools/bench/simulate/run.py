"""A simulated run from what is asked to figures: one hall, or the largest number of lines that one replica holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tools.bench.load import figures
from tools.bench.load.figures import LoadFigures, ProcessCost
from tools.bench.load.max_clients import MaxClientsSearch, step_down
from tools.bench.progress import BenchProgress
from tools.bench.simulate import cost_per_client
from tools.bench.simulate.cluster import SimulatedCluster
from tools.bench.simulate.cost_per_client import ClientCost
from tools.bench.simulate.engines import EngineCostTable
from tools.bench.simulate.reconnect_storm import Outage, Reconnection
from tools.bench.simulate.scenario import Scenario

ATTEMPT_S, WARM_UP_S = 60.0, 45.0
HEADROOM = 1.2  # caches for each line: who has gone may come again


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """`figures` are those of the lines that were worked through, at `worked` of so many replicas."""

    lines: int
    replicas: int
    worked: int
    figures: LoadFigures
    busy: float  # part of the time that a replica was at work: the mean, and the most
    busiest: float
    fewest: int  # lines of a replica, by the ring
    most: int
    moved: int  # answers that went on at another replica
    stalled_others: int  # wheels that stood still though their replica lived
    there: tuple[tuple[float, int], ...]  # how many replicas there were, from when on
    bill: ClientCost

    def meets_limits(self, max_wait_s: float) -> bool:
        return self.figures.meets_limits(max_wait_s)


@dataclass(slots=True)
class SimulationReport:
    metadata: dict[str, Any]
    runs: list[SimulationRun] = field(default_factory=list)
    max_clients: int | None = None
    outage: Outage | None = None
    reconnection: Reconnection | None = None

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        known: dict[str, Any] = {"largest": self.max_clients, "runs": [asdict(run) for run in self.runs]}
        if self.outage and self.reconnection:
            known |= {"outage": asdict(self.outage), "back": self.reconnection.to_json()}
        return {"format": 1, "simulated": True, **self.metadata, **known}


def run_scenario(scenario: Scenario, costs: EngineCostTable) -> SimulationRun:
    """The whole case, as fast as it goes."""
    begun = time.process_time()
    hall = SimulatedCluster(scenario, costs, lambda name: random.Random(f"{scenario.seed} {name}"))
    lines, span = hall.run()
    found = figures.compute_figures(
        lines, span, ProcessCost(time.process_time() - begun), engine=hall.engine_counters()
    )
    busy = [min(1.0, part) for part in hall.busy_shares(span)] or [0.0]
    worked = min(scenario.sampled_replicas or scenario.replicas, scenario.replicas)
    at = Counter(filter(None, (hall.home_replica(seat.name) for seat in hall.clients)))
    others = sum(bool(seat.record.print_buffer.stalls) and not seat.interruptions for seat in hall.clients)
    there = tuple(
        (max(0.0, round(at - span.started_at, 3)), count)
        for at, count in hall.replica_counts
        if count >= scenario.replicas or at
    )
    mean = sum(busy) / len(busy)
    return SimulationRun(
        lines=scenario.clients,
        replicas=scenario.replicas,
        worked=worked,
        figures=found,
        busy=mean,
        busiest=max(busy),
        fewest=min(at.values(), default=0),
        most=max(at.values(), default=0),
        moved=hall.moved_answers,
        stalled_others=others,
        there=there,
        bill=cost_per_client.cost_per_client(costs, max(1.0, len(hall.clients) / worked), mean, scenario.context),
    )


def search_max_clients(
    scenario: Scenario,
    costs: EngineCostTable,
    size_replicas: Callable[[Scenario], Scenario],
    report: SimulationReport,
    max_wait_s: float,
    on_progress: BenchProgress,
) -> None:
    """The largest number that one replica holds: short runs to find it, then the whole time, with fewer if need be."""

    def holds(lines: int, seconds: float) -> bool:
        on_progress(f"{lines} lines")
        report.runs.append(
            run_scenario(
                size_replicas(replace(scenario, clients=lines, replicas=1, seconds=seconds, sampled_replicas=0)), costs
            )
        )
        return report.runs[-1].meets_limits(max_wait_s)

    search = MaxClientsSearch(scenario.clients)
    while (lines := search.next_attempt) is not None:
        search.record(lines, holds(lines, min(ATTEMPT_S, scenario.seconds)))
    report.max_clients = search.largest_passed
    while report.max_clients and not holds(report.max_clients, scenario.seconds):
        report.max_clients = step_down(report.max_clients)
