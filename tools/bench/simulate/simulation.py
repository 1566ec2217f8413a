"""A simulation from scenario to figures: one run, or the search for the most clients that one replica holds."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from drivers.clock import CHARACTER_S
from model.openai_api import response
from tools.bench.load import figures
from tools.bench.load.figures import LoadFigures, ProcessCost
from tools.bench.load.max_clients import MaxClientsSearch, step_down
from tools.bench.progress import BenchProgress
from tools.bench.simulate.cluster import SimulatedCluster
from tools.bench.simulate.engine_costs import EngineCostTable
from tools.bench.simulate.reconnect_storm import Outage, Reconnection
from tools.bench.simulate.replica import WORD
from tools.bench.simulate.scenario import Scenario

ATTEMPT_S, WARM_UP_S = 60.0, 45.0
HEADROOM = 1.2  # cache slots per client: a client that left may come again
CHUNK_BYTES = 6  # of HTTP around each event: its length in hex, and two ends of line
TLS_BYTES = 22  # of TLS 1.3 around each event
PACKET_BYTES = 52  # of TCP and IP, with one event in each packet


@dataclass(frozen=True, slots=True)
class ClientCost:
    """The cost of one client. `core_ms`: milliseconds of a core per second, of the engine and Python together.

    Power and money depend on the machine and are left out. The fields are JSON keys.
    """

    core_ms: float
    cache_mb: float  # of its own, with a full context
    weights_mb: float  # its share
    bytes_a_character: float  # on the network
    bytes_a_second: float  # while it prints


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """The figures of one run, which simulates `worked` of the replicas and their clients. The fields are JSON keys."""

    lines: int  # clients
    replicas: int
    worked: int
    figures: LoadFigures
    busy: float  # share of the time that the replicas were busy: the mean, and the highest
    busiest: float
    fewest: int  # clients of a replica, by the hash ring
    most: int
    moved: int  # answers that continued at another replica
    stalled_others: int  # printers that stalled though their replica lived
    there: tuple[tuple[float, int], ...]  # (moment, number of replicas from then on)
    bill: ClientCost


@dataclass(slots=True)
class SimulationReport:
    metadata: dict[str, Any]
    runs: list[SimulationRun] = field(default_factory=list)
    max_clients: int | None = None
    outage: Outage | None = None
    reconnection: Reconnection | None = None

    def to_json(self) -> dict[str, Any]:
        results: dict[str, Any] = {"largest": self.max_clients, "runs": [asdict(run) for run in self.runs]}
        if self.outage and self.reconnection:
            results |= {"outage": asdict(self.outage), "back": asdict(self.reconnection)}
        return {"format": 1, "simulated": True, **self.metadata, **results}


def run_scenario(scenario: Scenario, costs: EngineCostTable) -> SimulationRun:
    """Simulates the whole scenario, without waiting for the clock."""
    started_at = time.process_time()
    cluster = SimulatedCluster(scenario, costs, lambda name: random.Random(f"{scenario.seed} {name}"))
    records, span = cluster.run()
    driver = ProcessCost(time.process_time() - started_at)
    busy = [min(1.0, share) for share in cluster.busy_shares(span)] or [0.0]
    mean_busy = sum(busy) / len(busy)
    worked = min(scenario.sampled_replicas or scenario.replicas, scenario.replicas)
    clients = Counter(filter(None, (cluster.home_replica(client.name) for client in cluster.clients)))
    counts = [(moment, count) for moment, count in cluster.replica_counts if count >= scenario.replicas or moment]
    return SimulationRun(
        lines=scenario.clients,
        replicas=scenario.replicas,
        worked=worked,
        figures=figures.compute_figures(records, span, driver, engine=cluster.engine_counters()),
        busy=mean_busy,
        busiest=max(busy),
        fewest=min(clients.values(), default=0),
        most=max(clients.values(), default=0),
        moved=cluster.moved_answers,
        stalled_others=sum(bool(c.record.print_buffer.stalls) and not c.interruptions for c in cluster.clients),
        there=tuple((max(0.0, round(moment - span.started_at, 3)), count) for moment, count in counts),
        bill=cost_per_client(costs, max(1.0, len(cluster.clients) / worked), mean_busy, scenario.context),
    )


def event_bytes(model: str = "gpt2") -> int:
    """Returns the size in bytes of the event of one token, as the server's app sends it."""
    chunk = response.CompletionChunk("cmpl-" + 24 * "0", 1_700_000_000, model, WORD, (290,))
    return len(response.encode_event(chunk))


def cost_per_client(costs: EngineCostTable, clients: float, busy: float, context: int) -> ClientCost:
    """Returns the cost of each client of a replica that is busy for this share of the time."""
    sent = (event_bytes() + CHUNK_BYTES + TLS_BYTES + PACKET_BYTES) / len(WORD)
    return ClientCost(
        core_ms=1000 * busy * costs.cores / clients,
        cache_mb=context * costs.a_token / 1e6,
        weights_mb=costs.weights / clients / 1e6,
        bytes_a_character=sent,
        bytes_a_second=sent / CHARACTER_S,
    )


def search_max_clients(
    scenario: Scenario,
    costs: EngineCostTable,
    size_replicas: Callable[[Scenario], Scenario],
    report: SimulationReport,
    max_wait_s: float,
    on_progress: BenchProgress,
) -> None:
    """Finds the most clients of one replica by short runs, and confirms them by full ones, with fewer if one fails."""

    def passes(clients: int, seconds: float) -> bool:
        on_progress(f"{clients} clients")
        attempt = replace(scenario, clients=clients, replicas=1, seconds=seconds, sampled_replicas=0)
        report.runs.append(run_scenario(size_replicas(attempt), costs))
        return report.runs[-1].figures.meets_limits(max_wait_s)

    search = MaxClientsSearch(scenario.clients)
    while (clients := search.next_attempt) is not None:
        search.record(clients, passes(clients, min(ATTEMPT_S, scenario.seconds)))
    report.max_clients = search.largest_passed
    while report.max_clients and not passes(report.max_clients, scenario.seconds):
        report.max_clients = step_down(report.max_clients)
