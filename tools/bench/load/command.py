"""The options of `asr33 bench --clients`, and the run. It imports the heavy modules only when it runs."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench.candidates import BACKEND_NAMES, OWN_BACKENDS
from tools.bench.load.figures import MAX_WAIT_S
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError

if TYPE_CHECKING:
    from model.store.manifest import Manifest
    from tools.bench.load.generator import LoadSettings
    from tools.bench.load.load_test import LoadReport, ServerSource
    from tools.bench.progress import BenchProgress

FIRST_CLIENTS = 8  # of a search


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load test: many clients on one model")
    add, whole, number = group.add_argument, partial(ranged_number, int), partial(ranged_number, float)
    clients = add("--clients", type=whole(1, 10_000_000), metavar="N", help="simulated users at a time (default: off)")
    add("--minutes", type=number(0.01, 1e6), default=10.0, metavar="M", help="duration of a run (default %(default)g)")
    add("--until-stall", action="store_true", help="search for the most clients that pass, from N on (default: off)")
    continuous = add("--continuous", action="store_true", help="users make no pauses (default: they think and read)")
    engines = "engine: ours, ours first come first served (arrival), or a peer (default ours)"
    add("--engine", choices=BACKEND_NAMES, default="ours", help=engines)
    wait = "seconds to the first character that 99 of 100 answers must keep, 0: no limit (default %(default)g)"
    max_wait = add("--max-wait", type=number(0, 1e6), default=MAX_WAIT_S, metavar="S", help=wait)
    context = "tokens of prompt and answer together (default %(default)s)"
    add("--context", type=whole(64, 1_000_000), default=256, metavar="N", help=context)
    rows = "answers in one decode step (default 0: as many as clients)"
    add("--rows", type=whole(0, 100_000), default=0, metavar="N", help=rows)
    memory = "memory for KV caches, in MB (default 0: enough for all clients)"
    add("--memory", type=whole(0, 10_000_000), default=0, metavar="MB", help=memory)
    add("--key", type=Path, metavar="FILE", help="file with the API key for a server at a URL (default: no key)")
    chart = "chart of the buffered characters over time, a line per client (default: none)"
    picture = add("--chart", metavar="FILE.png", help=chart)
    for flag, option in (("lines", clients), ("turning", continuous), ("patience", max_wait), ("picture", picture)):
        add_alias(group, f"--{flag}", option)


def add_alias(group: argparse._ArgumentGroup, flag: str, option: argparse.Action) -> None:
    """Adds an old name of an option, which the help does not show."""
    kind: dict[str, Any] = {"action": "store_true"} if option.nargs == 0 else {"type": option.type}
    group.add_argument(flag, dest=option.dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind)


def run_load_test(args: argparse.Namespace, machine: dict[str, Any]) -> LoadReport:
    """Runs to the end, or until ^C. Raises ModelError and ToolError."""
    from tools.bench.load import load_test
    from tools.bench.load.generator import LoadSettings
    from tools.bench.progress import show_progress

    seconds = 60 * args.minutes
    warm_up_s = min(load_test.WARM_UP_S, seconds)
    clients = args.clients or FIRST_CLIENTS
    settings = LoadSettings(clients, seconds, warm_up_s, args.continuous, args.context, args.seed)
    settings = replace(settings, ramp_up_s=min(settings.ramp_up_s, warm_up_s))
    with show_progress(_estimate_seconds(args, settings)) as on_progress:
        source, title = _resolve_source(args, on_progress)
        engine = args.engine if source.folder else "a server elsewhere"
        metadata = {"model": title, "engine": engine, "seed": args.seed, "turning": args.continuous}
        metadata |= {"context": args.context, "patience_s": args.max_wait, "machine": machine}
        report = load_test.LoadReport(metadata)
        attempt = partial(load_test.run_attempt, source, report, on_progress)
        if args.until_stall:
            load_test.search_max_clients(attempt, settings, report, args.max_wait)
        else:
            attempt(settings)
    return report


def render_chart(report: LoadReport) -> bytes:
    """Returns the chart of the last run as PNG."""
    from drivers.paper.paper_png import draw_chart
    from tools.bench.load import chart

    assert report.last_run is not None
    records, metadata = report.last_run.records, report.metadata
    title = f"characters in hand, {len(records)} clients: {metadata['model']}, {metadata['engine']}"
    lines = chart.chart_lines(records, report.last_run.span, title)
    strokes = ((line.points, line.colour, line.width, line.opacity) for line in lines)
    return draw_chart(chart.WIDTH, chart.HEIGHT, strokes)


def _estimate_seconds(args: argparse.Namespace, settings: LoadSettings) -> int:
    """Returns roughly how long the test takes; the number of attempts of a search is not known before."""
    return round((settings.warm_up_s + settings.seconds) * (2 if args.until_stall else 1))


def _resolve_source(args: argparse.Namespace, on_progress: BenchProgress) -> tuple[ServerSource, str]:
    """Returns the server to test and its title."""
    from model.onnx import cpu
    from model.server_url import is_url, parse_server_url
    from model.store import default_model, store
    from tools.bench.load import model_folder
    from tools.bench.load.load_test import ServerSource

    if is_url(args.model or ""):
        if args.engine != "ours":
            raise ToolError(f"--engine {args.engine} is for a model on this machine; a URL has its own", "damaged")
        key = args.key.read_text("utf-8").strip() if args.key else ""
        return ServerSource(url=parse_server_url(args.model).base_url, key=key, context=args.context), args.model
    if args.size:
        folder = model_folder.make_test_model(args.size, args.seed, on_progress)
        title = model_folder.TITLE.format(size=args.size)
    else:
        folder = store.find_model(args.model or default_model.get_default())
        title = store.name_of_folder(folder)
    manifest = store.read_manifest(folder)
    shape = manifest.shape
    source = ServerSource(
        folder=folder,
        engine=args.engine,
        python=_peer_python(args),
        batch_size=args.rows,
        cache_bytes=args.memory * 1_000_000,
        cache_bytes_per_token=2 * shape.n_layer * shape.n_embd * (1 if _has_int8_cache(manifest) else 4),
        context=min(args.context, shape.n_positions),
        threads=args.threads or cpu.thread_count(),
        weights=_peer_weights(args, folder),
    )
    return source, title


def _has_int8_cache(manifest: Manifest) -> bool:
    rounding = manifest.training.get("rounding")
    return isinstance(rounding, dict) and bool(rounding.get("cache"))


def _peer_weights(args: argparse.Namespace, folder: Path) -> str:
    """Returns the folder of weights that a peer makes its model of. Raises ToolError if there is none."""
    from tools.bench.load.model_folder import weights_folder

    if args.engine in OWN_BACKENDS:
        return ""
    if not args.size:
        raise ToolError(f"--engine {args.engine} wants --size: both are made of the same random weights", "damaged")
    return str(weights_folder(folder))


def _peer_python(args: argparse.Namespace) -> Path | None:
    """Returns the Python of a peer's environment; None for asr33's own engine, or if no other is given."""
    return args.peer_python[0] if args.peer_python and args.engine not in OWN_BACKENDS else None
