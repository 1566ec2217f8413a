"""The options of `asr33 bench --simulate`, and the run. It imports the heavy modules only when it runs."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench.candidates import OWN_BACKENDS
from tools.bench.load.command import add_alias
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError

if TYPE_CHECKING:
    from model.server.engine.scheduler import SchedulingPolicy
    from tools.bench.simulate.engine_costs import EngineCostTable
    from tools.bench.simulate.scenario import Scenario
    from tools.bench.simulate.simulation import SimulationReport

MAX_CLIENTS = 10_000_000
MAX_ANSWERS = 1024  # of a replica, running or waiting
SECONDS = ranged_number(float, 0, 1e6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulation: the real scheduler on a clock that jumps, with --clients N")
    add, whole, number = group.add_argument, partial(ranged_number, int), partial(ranged_number, float)
    add("--simulate", action="store_true", help="simulate model and server with the times of a table (default: off)")
    costs = "cost table of the engine, a name or a JSON file (default %(default)s)"
    add("--engine-costs", default="two-cores", metavar="NAME|FILE", help=costs)
    add("--front-ms", type=number(0, 1e6), metavar="MS", help="ms of Python to send a token (default: as in the table)")
    replicas = "simulated replicas (default 0: as many as the clients need)"
    add("--replicas", type=whole(0, MAX_CLIENTS), default=0, metavar="N", help=replicas)
    clients = "clients per replica (default %(default)s)"
    per_replica = add("--clients-per-replica", type=whole(1, MAX_CLIENTS), default=100, metavar="N", help=clients)
    sample = "replicas that are simulated, with their clients, 0: all (default %(default)s)"
    add("--sample", type=whole(0, MAX_CLIENTS), default=4, metavar="N", help=sample)
    moments = "seconds at which a replica fails; all replicas are simulated (default: none fails)"
    failures = add("--failures", type=_parse_seconds, default=(), metavar="S,S", help=moments)
    delay = "seconds until a failure is detected (default %(default)g)"
    detection = add("--detection", type=SECONDS, default=0.0, metavar="S", help=delay)
    start = "seconds until a new replica takes requests (default %(default)g)"
    startup = add("--replica-start", type=SECONDS, default=15.0, metavar="S", help=start)
    limit = "most replicas of the autoscaler (default 0: no autoscaler)"
    max_replicas = add("--max-replicas", type=whole(0, MAX_CLIENTS), default=0, metavar="N", help=limit)
    target = "active answers per replica that the autoscaler aims at (default %(default)s)"
    add("--target", type=whole(1, MAX_CLIENTS), default=64, metavar="N", help=target)
    spells = "factor and seconds of slow spells, by other load on the machine (default: none)"
    slowdown = add("--slowdown", type=_parse_slowdown, default=(1.0, 0.0), metavar="TIMES,S", help=spells)
    downtime = "seconds that all servers are down; simulates how the clients reconnect (default: off)"
    add("--outage", type=SECONDS, default=0.0, metavar="S", help=downtime)
    connection = "milliseconds of a server to connect a client, TLS included (default %(default)g)"
    connect_ms = add("--connect-ms", type=number(0.001, 1e6), default=4.0, metavar="MS", help=connection)
    old_flags = {"each": per_replica, "kill": failures, "noticed": detection, "load": startup}
    old_flags |= {"up-to": max_replicas, "guests": slowdown, "knock-ms": connect_ms}
    for flag, option in old_flags.items():
        add_alias(group, f"--{flag}", option)


def run_simulation(args: argparse.Namespace) -> SimulationReport:
    """Raises ToolError and OSError."""
    from tools.bench.progress import show_progress
    from tools.bench.simulate import simulation

    costs = _engine_costs(args)
    metadata = {"engine": costs.name, "source": costs.source, "order": _scheduling_policy(args.engine)}
    metadata |= {"seed": args.seed, "turning": args.continuous, "context": args.context}
    metadata |= {"patience_s": args.max_wait, "each": args.clients_per_replica, "guests": args.slowdown}
    report = simulation.SimulationReport(metadata)
    if args.outage:
        _simulate_outage(args, report)
        return report
    scenario = _build_scenario(args)
    with show_progress(1) as on_progress:
        if args.until_stall:
            size = partial(_size_replicas, args, costs)
            simulation.search_max_clients(scenario, costs, size, report, args.max_wait, on_progress)
        else:
            on_progress(f"{scenario.clients} clients")
            report.runs.append(simulation.run_scenario(_size_replicas(args, costs, scenario), costs))
    return report


def _simulate_outage(args: argparse.Namespace, report: SimulationReport) -> None:
    import random

    from tools.bench.simulate import reconnect_storm

    servers, clients = _count_replicas(args), args.clients or 1
    places = max(MAX_ANSWERS, math.ceil(clients / servers))
    connect_s, is_silent = args.connect_ms / 1000, args.detection > 0
    report.outage = reconnect_storm.Outage(clients, args.outage, servers, places, connect_s, silent=is_silent)
    report.reconnection = reconnect_storm.simulate_reconnect(report.outage, random.Random(args.seed))


def _build_scenario(args: argparse.Namespace) -> Scenario:
    from tools.bench.simulate.scenario import Scenario
    from tools.bench.simulate.simulation import WARM_UP_S

    return Scenario(
        args.clients or 8,
        60 * args.minutes,
        min(WARM_UP_S, 60 * args.minutes),
        replicas=_count_replicas(args),
        context=args.context,
        is_continuous=args.continuous,
        policy=_scheduling_policy(args.engine),
        sampled_replicas=0 if args.failures or args.max_replicas else args.sample,
        seed=args.seed,
        failure_times=args.failures,
        detection_s=args.detection,
        startup_s=args.replica_start,
        max_replicas=args.max_replicas,
        target_answers=args.target,
        slowdown=args.slowdown[0],
        slow_spell_s=args.slowdown[1],
    )


def _scheduling_policy(engine: str) -> SchedulingPolicy:
    """Raises ToolError for the engine of a peer."""
    if engine not in OWN_BACKENDS:
        raise ToolError(f"--engine {engine}: only ours and arrival can be simulated", "damaged")
    return "arrival" if engine == "arrival" else "paper"


def _size_replicas(args: argparse.Namespace, costs: EngineCostTable, scenario: Scenario) -> Scenario:
    """Sets batch size and cache slots: as given, or enough for the clients of a replica and of one that failed."""
    from tools.bench.simulate.simulation import HEADROOM

    clients = math.ceil(scenario.clients / max(1, scenario.replicas - len(scenario.failure_times)))
    enough = math.ceil(HEADROOM * clients) + 4
    rows = args.rows or enough
    cache_bytes = (scenario.context + 1) * costs.a_token
    slots = max(rows, args.memory * 1_000_000 // cache_bytes) if args.memory else max(rows, enough)
    max_answers = max(scenario.max_answers, 4 * rows)
    target = scenario.target_answers if scenario.max_replicas else max(scenario.target_answers, rows)
    return replace(scenario, batch_size=rows, cache_slots=slots, max_answers=max_answers, target_answers=target)


def _count_replicas(args: argparse.Namespace) -> int:
    return int(args.replicas or math.ceil((args.clients or 1) / args.clients_per_replica))


def _engine_costs(args: argparse.Namespace) -> EngineCostTable:
    costs = _load_costs(args.engine_costs)
    return costs if args.front_ms is None else replace(costs, front_ms=args.front_ms)


def _load_costs(name: str) -> EngineCostTable:
    from tools.bench.simulate import engine_costs

    if name in engine_costs.COST_TABLES:
        return engine_costs.COST_TABLES[name]
    try:
        data: Any = json.loads(Path(name).read_text("utf-8"))
    except OSError:
        names = ", ".join(engine_costs.COST_TABLES)
        raise ToolError(f"--engine-costs {name}: no such file, and no table; there are: {names}", "damaged") from None
    except ValueError as error:
        raise ToolError(f"--engine-costs {name}: not JSON: {error}", "damaged") from None
    return engine_costs.parse_engine_costs(data)


def _parse_slowdown(text: str) -> tuple[float, float]:
    try:
        factor, seconds = text.split(",")
        return ranged_number(float, 1, 1e3)(factor), SECONDS(seconds)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor and seconds such as 2,4") from None


def _parse_seconds(text: str) -> tuple[float, ...]:
    try:
        return tuple(SECONDS(word) for word in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seconds such as 60,90") from None
