"""What `asr33 bench --lines` is told, and the run that it comes to. Loads nothing heavy before it is asked to run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ask import ranged_number
from tools.bench.errors import NotComparable

if TYPE_CHECKING:
    from model.store.manifest import Manifest
    from tools.bench.load.generator import LoadSettings
    from tools.bench.load.run import LoadReport, ServerSource
    from tools.bench.progress import BenchProgress

BACKEND_NAMES = ("ours", "arrival", "ctranslate2", "llama")
MAX_WAIT_S = 1.5
DEFAULT_MINUTES = 10.0
DEFAULT_CONTEXT = 256
FIRST_CLIENTS = 8  # lines that a search begins with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many lines on one model, with people or without")
    add = group.add_argument
    add(
        "--lines",
        type=ranged_number(int, 1, 10_000_000),
        metavar="N",
        help="so many virtual typists and wheels at once",
    )
    add(
        "--minutes",
        type=ranged_number(float, 0.01, 1e6),
        default=DEFAULT_MINUTES,
        metavar="M",
        help="for so long (%(default)g)",
    )
    add("--until-stall", action="store_true", help="the largest number of lines that holds, tried from N on")
    add("--turning", action="store_true", help="nobody pauses: all wheels turn all the time")
    add("--engine", choices=BACKEND_NAMES, default="ours", help="behind the server: ours, or what to hold it against")
    add("--patience", type=ranged_number(float, 0, 1e6), default=MAX_WAIT_S, metavar="S", help=_PATIENCE_HELP)
    add(
        "--context",
        type=ranged_number(int, 64, 1_000_000),
        default=DEFAULT_CONTEXT,
        metavar="N",
        help="tokens of one (%(default)s)",
    )
    add("--rows", type=ranged_number(int, 0, 100_000), default=0, metavar="N", help="of one step; 0: as many as lines")
    add(
        "--memory", type=ranged_number(int, 0, 10_000_000), default=0, metavar="MB", help="of caches; 0: enough for all"
    )
    add("--key", type=Path, metavar="FILE", help="the key of a server at a URL")
    add("--picture", metavar="FILE.png", help="characters in hand over time, a line for each wheel")


_PATIENCE_HELP = "99 of 100 first strikes must come so soon for a number to hold (%(default)g); 0: whenever"


def run_load_test(args: argparse.Namespace, machine: dict[str, Any]) -> LoadReport:
    """The whole run, until its end or ^C. Raises ModelError and BenchError."""
    from tools.bench.load import run
    from tools.bench.load.generator import LoadSettings
    from tools.bench.progress import show_progress

    seconds = 60 * args.minutes
    warm_up_s = min(run.WARM_UP_S, seconds)
    asked = LoadSettings(args.lines or FIRST_CLIENTS, seconds, warm_up_s, args.turning, args.context, args.seed)
    asked = replace(asked, ramp_up_s=min(asked.ramp_up_s, warm_up_s))
    with show_progress(_estimate_seconds(args, asked)) as tell:
        source, title = _resolve_source(args, tell)
        about = {"model": title, "engine": args.engine if source.folder else "a server elsewhere", "seed": args.seed}
        about |= {"turning": args.turning, "context": args.context, "patience_s": args.patience, "machine": machine}
        found = run.LoadReport(about)
        attempt = partial(run.run_attempt, source, found, tell)
        if args.until_stall:
            run.search_max_clients(attempt, asked, found, args.patience)
        else:
            attempt(asked)
    return found


def render_chart(report: LoadReport) -> bytes:
    """The PNG of the last run."""
    from drivers.paper.paper_png import draw_chart
    from tools.bench.load import picture

    assert report.last_run is not None
    lines, about = report.last_run.records, report.metadata
    title = f"characters in hand, {len(lines)} lines: {about['model']}, {about['engine']}"
    strokes = picture.chart_lines(lines, report.last_run.span, title)
    rules = ((stroke.points, stroke.colour, stroke.width, stroke.opacity) for stroke in strokes)
    return draw_chart(picture.WIDTH, picture.HEIGHT, rules)


def _estimate_seconds(args: argparse.Namespace, settings: LoadSettings) -> int:
    """About, for a bar: how many tries a search takes nobody knows."""
    return round((settings.warm_up_s + settings.seconds) * (2 if args.until_stall else 1))


def _resolve_source(args: argparse.Namespace, on_progress: BenchProgress) -> tuple[ServerSource, str]:
    from model.client.server_url import is_url, parse_server_url
    from model.onnx import cpu
    from model.store import default_model, store
    from tools.bench.load import model_folder, run

    if is_url(args.model or ""):
        if args.engine != "ours":
            raise NotComparable(f"--engine {args.engine} is for a model on this machine; a URL has its own")
        key = args.key.read_text("utf-8").strip() if args.key else ""
        return run.ServerSource(url=parse_server_url(args.model).base_url, key=key, context=args.context), args.model
    if args.size:
        place = model_folder.make_test_model(args.size, args.seed, on_progress)
        title = model_folder.TITLE.format(size=args.size)
    else:
        place = store.find_model(args.model or default_model.get_default())
        title = store.name_of_folder(place)
    manifest = store.read_manifest(place)
    shape = manifest.shape
    source = run.ServerSource(
        folder=place,
        engine=args.engine,
        python=_peer_python(args),
        batch_size=args.rows,
        cache_bytes=args.memory * 1_000_000,
        cache_bytes_per_token=2 * shape.n_layer * shape.n_embd * (1 if _has_int8_cache(manifest) else 4),
        context=min(args.context, shape.n_positions),
        threads=args.threads or cpu.thread_count(),
        weights=_peer_weights(args, place),
    )
    return source, title


def _has_int8_cache(manifest: Manifest) -> bool:
    """Whether its keys and values have eight bits."""
    rounding = manifest.training.get("rounding")
    return isinstance(rounding, dict) and bool(rounding.get("cache"))


def _peer_weights(args: argparse.Namespace, model_folder: Path) -> str:
    """What a peer makes its own model of. Raises NotComparable where there is nothing of the kind."""
    from tools.bench.load.model_folder import weights_folder

    if args.engine in ("ours", "arrival"):
        return ""
    if not args.size:
        raise NotComparable(f"--engine {args.engine} wants --size: both are made of the same random weights")
    return str(weights_folder(model_folder))


def _peer_python(args: argparse.Namespace) -> Path | None:
    """A peer may live in another environment than ours."""
    return args.peer_python[0] if args.peer_python and args.engine not in ("ours", "arrival") else None
