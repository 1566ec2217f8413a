"""What `asr33 bench --simulate` is told, and what it comes to. Loads nothing heavy before it is asked to run."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ask import ranged_number

if TYPE_CHECKING:
    from model.server.engine.scheduler import SchedulingPolicy
    from tools.bench.simulate.engines import EngineCostTable
    from tools.bench.simulate.run import SimulationReport
    from tools.bench.simulate.scenario import Scenario

MAX_CLIENTS = 10_000_000  # lines
MAX_ANSWERS = 1024  # of a server, where nobody says
SECONDS = ranged_number(float, 0, 1e6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulated: the real scheduler on a clock that jumps, with --lines N")
    add, whole = group.add_argument, ranged_number(int, 0, MAX_CLIENTS)
    add("--simulate", action="store_true", help="no model and no server: passes last as long as a table says")
    add("--engine-costs", default="two-cores", metavar="NAME|FILE", help="the table: a name, or JSON (%(default)s)")
    add(
        "--front-ms",
        type=ranged_number(float, 0, 1e6),
        metavar="MS",
        help="Python's for a token on its way out (the table's)",
    )
    add("--replicas", type=whole, default=0, metavar="N", help="0: one for each --each lines")
    add(
        "--each",
        type=ranged_number(int, 1, MAX_CLIENTS),
        default=100,
        metavar="N",
        help="lines of a replica (%(default)s)",
    )
    add("--sample", type=whole, default=4, metavar="N", help="replicas worked through, 0: all (%(default)s)")
    add(
        "--kill", type=_parse_seconds, default=(), metavar="S,S", help="a replica dies at these seconds; all are worked"
    )
    add("--noticed", type=SECONDS, default=0.0, metavar="S", help="until that is known (%(default)g)")
    add("--load", type=SECONDS, default=15.0, metavar="S", help="until a new one answers (%(default)g)")
    add("--up-to", type=whole, default=0, metavar="N", help="replicas that there may be when lines want more")
    add(
        "--target",
        type=ranged_number(int, 1, MAX_CLIENTS),
        default=64,
        metavar="N",
        help="answers of one (%(default)s)",
    )
    add("--guests", type=_parse_guests, default=(1.0, 0.0), metavar="TIMES,S", help=_GUESTS_HELP)
    add("--outage", type=SECONDS, default=0.0, metavar="S", help="all servers are away so long: how lines come back")
    add("--knock-ms", type=ranged_number(float, 0.001, 1e6), default=4.0, metavar="MS", help=_KNOCK_HELP)


_GUESTS_HELP = "others on the machine: now and then all takes so many times as long, for so many seconds"
_KNOCK_HELP = "what a door takes to let one in again, TLS and all (%(default)g)"


def run_simulation(args: argparse.Namespace) -> SimulationReport:
    """Raises NotComparable and OSError."""
    from tools.bench.progress import show_progress
    from tools.bench.simulate import run

    engine = _engine_costs(args)
    about = {
        "engine": engine.name,
        "source": engine.source,
        "order": _scheduling_policy(args.engine),
        "seed": args.seed,
    }
    about |= {"turning": args.turning, "context": args.context, "patience_s": args.patience, "each": args.each}
    about |= {"guests": args.guests}
    found = run.SimulationReport(about)
    if args.outage:
        _simulate_outage(args, found)
        return found
    case = _build_scenario(args)
    with show_progress(1) as tell:
        if args.until_stall:
            run.search_max_clients(
                case, engine, lambda case: _size_replicas(args, case, engine), found, args.patience, tell
            )
        else:
            tell(f"{case.clients} lines")
            found.runs.append(run.run_scenario(_size_replicas(args, case, engine), engine))
    return found


def _simulate_outage(args: argparse.Namespace, report: SimulationReport) -> None:
    import random

    from tools.bench.simulate import reconnect_storm

    doors = _count_replicas(args)
    lines, knock_s = args.lines or 1, args.knock_ms / 1000
    places = max(MAX_ANSWERS, math.ceil(lines / doors))
    report.outage = reconnect_storm.Outage(lines, args.outage, doors, places, knock_s, silent=args.noticed > 0)
    report.reconnection = reconnect_storm.simulate_reconnect(report.outage, random.Random(args.seed))


def _build_scenario(args: argparse.Namespace) -> Scenario:
    from tools.bench.simulate.run import WARM_UP_S
    from tools.bench.simulate.scenario import Scenario

    return Scenario(
        args.lines or 8,
        60 * args.minutes,
        min(WARM_UP_S, 60 * args.minutes),
        replicas=_count_replicas(args),
        context=args.context,
        is_continuous=args.turning,
        policy=_scheduling_policy(args.engine),
        sampled_replicas=0 if args.kill or args.up_to else args.sample,
        seed=args.seed,
        failure_times=args.kill,
        detection_s=args.noticed,
        startup_s=args.load,
        max_replicas=args.up_to,
        target_answers=args.target,
        slowdown=args.guests[0],
        slow_spell_s=args.guests[1],
    )


def _scheduling_policy(engine: str) -> SchedulingPolicy:
    """Raises NotComparable for an engine of others."""
    from tools.bench.errors import NotComparable

    if engine not in ("ours", "arrival"):
        raise NotComparable(f"--engine {engine}: only ours and arrival can be simulated")
    return "arrival" if engine == "arrival" else "paper"


def _size_replicas(args: argparse.Namespace, scenario: Scenario, costs: EngineCostTable) -> Scenario:
    """Rows and caches of a replica: as they are given, or enough for its lines and for those of one that died."""
    from tools.bench.simulate.run import HEADROOM

    each = math.ceil(scenario.clients / max(1, scenario.replicas - len(scenario.failure_times)))
    rows = args.rows or math.ceil(HEADROOM * each) + 4
    a_cache = (scenario.context + 1) * costs.a_token
    caches = max(rows, args.memory * 1_000_000 // a_cache) if args.memory else max(rows, math.ceil(HEADROOM * each) + 4)
    places = max(scenario.max_answers, 4 * rows)
    target = scenario.target_answers if scenario.max_replicas else max(scenario.target_answers, rows)
    return replace(scenario, batch_size=rows, cache_slots=caches, max_answers=places, target_answers=target)


def _count_replicas(args: argparse.Namespace) -> int:
    return int(args.replicas or math.ceil((args.lines or 1) / args.each))


def _engine_costs(args: argparse.Namespace) -> EngineCostTable:
    engine = _load_costs(args.engine_costs)
    return engine if args.front_ms is None else replace(engine, front_ms=args.front_ms)


def _load_costs(name: str) -> EngineCostTable:
    from tools.bench.errors import NotComparable
    from tools.bench.simulate import engines

    if name in engines.COST_TABLES:
        return engines.COST_TABLES[name]
    try:
        data: Any = json.loads(Path(name).read_text("utf-8"))
    except OSError:
        known = ", ".join(engines.COST_TABLES)
        raise NotComparable(f"--engine-costs {name}: no such file, and no table; there are: {known}") from None
    except ValueError as error:
        raise NotComparable(f"--engine-costs {name}: not JSON: {error}") from None
    return engines.parse_engine_costs(data)


def _parse_guests(text: str) -> tuple[float, float]:
    try:
        times, seconds = text.split(",")
        return ranged_number(float, 1, 1e3)(times), SECONDS(seconds)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not so many times as long and so many seconds: 2,4") from None


def _parse_seconds(text: str) -> tuple[float, ...]:
    try:
        return tuple(SECONDS(word) for word in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seconds such as 60,90") from None
