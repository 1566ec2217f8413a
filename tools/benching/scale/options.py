"""What `asr33 bench --simulate` is told, and what it comes to. Loads nothing heavy before it is asked to run."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ask import number

if TYPE_CHECKING:
    from model.serving.deadlines import Order
    from tools.benching.scale.case import Case
    from tools.benching.scale.engines import Engine
    from tools.benching.scale.run import Report

MOST = 10_000_000  # lines
PLACES = 1024  # of a server, where nobody says
SECONDS = number(float, 0, 1e6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("simulated: the real scheduler on a clock that jumps, with --lines N")
    add, whole = group.add_argument, number(int, 0, MOST)
    add("--simulate", action="store_true", help="no model and no server: passes last as long as a table says")
    add("--engine-costs", default="two-cores", metavar="NAME|FILE", help="the table: a name, or JSON (%(default)s)")
    add(
        "--front-ms", type=number(float, 0, 1e6), metavar="MS", help="Python's for a token on its way out (the table's)"
    )
    add("--replicas", type=whole, default=0, metavar="N", help="0: one for each --each lines")
    add("--each", type=number(int, 1, MOST), default=100, metavar="N", help="lines of a replica (%(default)s)")
    add("--sample", type=whole, default=4, metavar="N", help="replicas worked through, 0: all (%(default)s)")
    add("--kill", type=_seconds, default=(), metavar="S,S", help="a replica dies at these seconds; all are worked")
    add("--noticed", type=SECONDS, default=0.0, metavar="S", help="until that is known (%(default)g)")
    add("--load", type=SECONDS, default=15.0, metavar="S", help="until a new one answers (%(default)g)")
    add("--up-to", type=whole, default=0, metavar="N", help="replicas that there may be when lines want more")
    add("--target", type=number(int, 1, MOST), default=64, metavar="N", help="answers of one (%(default)s)")
    add("--guests", type=_guests, default=(1.0, 0.0), metavar="TIMES,S", help=_GUESTS)
    add("--outage", type=SECONDS, default=0.0, metavar="S", help="all servers are away so long: how lines come back")
    add("--knock-ms", type=number(float, 0.001, 1e6), default=4.0, metavar="MS", help=_KNOCK)


_GUESTS = "others on the machine: now and then all takes so many times as long, for so many seconds"
_KNOCK = "what a door takes to let one in again, TLS and all (%(default)g)"


def report(args: argparse.Namespace) -> Report:
    """Raises NotComparable and OSError."""
    from tools.benching.progress import shown
    from tools.benching.scale import run

    engine = _engine(args)
    about = {"engine": engine.name, "source": engine.source, "order": _order(args.engine), "seed": args.seed}
    about |= {"turning": args.turning, "context": args.context, "patience_s": args.patience, "each": args.each}
    about |= {"guests": args.guests}
    found = run.Report(about)
    if args.outage:
        _come_back(args, found)
        return found
    case = _case(args)
    with shown(1) as tell:
        if args.until_stall:
            run.until_stall(case, engine, lambda case: _sized(args, case, engine), found, args.patience, tell)
        else:
            tell(f"{case.lines} lines")
            found.runs.append(run.run(_sized(args, case, engine), engine))
    return found


def _come_back(args: argparse.Namespace, found: Report) -> None:
    import random

    from tools.benching.scale import herd

    doors = _replicas(args)
    lines, knock_s = args.lines or 1, args.knock_ms / 1000
    places = max(PLACES, math.ceil(lines / doors))
    found.outage = herd.Outage(lines, args.outage, doors, places, knock_s, silent=args.noticed > 0)
    found.back = herd.back(found.outage, random.Random(args.seed))


def _case(args: argparse.Namespace) -> Case:
    from tools.benching.scale.case import Case
    from tools.benching.scale.run import WARM_UP_S

    return Case(
        args.lines or 8,
        60 * args.minutes,
        min(WARM_UP_S, 60 * args.minutes),
        replicas=_replicas(args),
        context=args.context,
        turning=args.turning,
        order=_order(args.engine),
        sample=0 if args.kill or args.up_to else args.sample,
        seed=args.seed,
        deaths=args.kill,
        noticed_s=args.noticed,
        load_s=args.load,
        most=args.up_to,
        target=args.target,
        slower=args.guests[0],
        spell_s=args.guests[1],
    )


def _order(engine: str) -> Order:
    """Raises NotComparable for an engine of others."""
    from tools.benching.errors import NotComparable

    if engine not in ("ours", "arrival"):
        raise NotComparable(f"--engine {engine}: only ours and arrival can be simulated")
    return "arrival" if engine == "arrival" else "paper"


def _sized(args: argparse.Namespace, case: Case, engine: Engine) -> Case:
    """Rows and caches of a replica: as they are given, or enough for its lines and for those of one that died."""
    from tools.benching.scale.run import AFRESH

    each = math.ceil(case.lines / max(1, case.replicas - len(case.deaths)))
    rows = args.rows or math.ceil(AFRESH * each) + 4
    a_cache = (case.context + 1) * engine.a_token
    caches = max(rows, args.memory * 1_000_000 // a_cache) if args.memory else max(rows, math.ceil(AFRESH * each) + 4)
    places = max(case.places, 4 * rows)
    target = case.target if case.most else max(case.target, rows)
    return replace(case, rows=rows, caches=caches, places=places, target=target)


def _replicas(args: argparse.Namespace) -> int:
    return int(args.replicas or math.ceil((args.lines or 1) / args.each))


def _engine(args: argparse.Namespace) -> Engine:
    engine = _table(args.engine_costs)
    return engine if args.front_ms is None else replace(engine, front_ms=args.front_ms)


def _table(name: str) -> Engine:
    from tools.benching.errors import NotComparable
    from tools.benching.scale import engines

    if name in engines.KNOWN:
        return engines.KNOWN[name]
    try:
        data: Any = json.loads(Path(name).read_text("utf-8"))
    except OSError:
        known = ", ".join(engines.KNOWN)
        raise NotComparable(f"--engine-costs {name}: no such file, and no table; there are: {known}") from None
    except ValueError as error:
        raise NotComparable(f"--engine-costs {name}: not JSON: {error}") from None
    return engines.of(data)


def _guests(text: str) -> tuple[float, float]:
    try:
        times, seconds = text.split(",")
        return number(float, 1, 1e3)(times), SECONDS(seconds)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not so many times as long and so many seconds: 2,4") from None


def _seconds(text: str) -> tuple[float, ...]:
    try:
        return tuple(SECONDS(word) for word in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seconds such as 60,90") from None
