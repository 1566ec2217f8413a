"""What `asr33 bench --lines` is told, and the run that it comes to. Loads nothing heavy before it is asked to run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.ask import number
from tools.benching.errors import NotComparable

if TYPE_CHECKING:
    from model.manifest import Manifest
    from tools.benching.lines.drive import Asked
    from tools.benching.lines.run import Report, Source
    from tools.benching.progress import Tell

ENGINES = ("ours", "arrival", "ctranslate2", "llama")
PATIENCE_S = 1.5
MINUTES = 10.0
CONTEXT = 256
FIRST = 8  # lines that a search begins with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many lines on one model, with people or without")
    add = group.add_argument
    add("--lines", type=number(int, 1, 10_000_000), metavar="N", help="so many virtual typists and wheels at once")
    add("--minutes", type=number(float, 0.01, 1e6), default=MINUTES, metavar="M", help="for so long (%(default)g)")
    add("--until-stall", action="store_true", help="the largest number of lines that holds, tried from N on")
    add("--turning", action="store_true", help="nobody pauses: all wheels turn all the time")
    add("--engine", choices=ENGINES, default="ours", help="behind the server: ours, or what to hold it against")
    add("--patience", type=number(float, 0, 1e6), default=PATIENCE_S, metavar="S", help=_PATIENCE)
    add("--context", type=number(int, 64, 1_000_000), default=CONTEXT, metavar="N", help="tokens of one (%(default)s)")
    add("--rows", type=number(int, 0, 100_000), default=0, metavar="N", help="of one step; 0: as many as lines")
    add("--memory", type=number(int, 0, 10_000_000), default=0, metavar="MB", help="of caches; 0: enough for all")
    add("--key", type=Path, metavar="FILE", help="the key of a server at a URL")
    add("--picture", metavar="FILE.png", help="characters in hand over time, a line for each wheel")


_PATIENCE = "99 of 100 first strikes must come so soon for a number to hold (%(default)g); 0: whenever"


def report(args: argparse.Namespace, machine: dict[str, Any]) -> Report:
    """The whole run, until its end or ^C. Raises ModelError and BenchError."""
    from tools.benching.lines import run
    from tools.benching.lines.drive import Asked
    from tools.benching.progress import shown

    seconds = 60 * args.minutes
    warm_up_s = min(run.WARM_UP_S, seconds)
    asked = Asked(args.lines or FIRST, seconds, warm_up_s, args.turning, args.context, args.seed)
    asked = replace(asked, sitting_s=min(asked.sitting_s, warm_up_s))
    with shown(_seconds(args, asked)) as tell:
        source, title = _source(args, tell)
        about = {"model": title, "engine": args.engine if source.folder else "a server elsewhere", "seed": args.seed}
        about |= {"turning": args.turning, "context": args.context, "patience_s": args.patience, "machine": machine}
        found = run.Report(about)
        attempt = partial(run.attempt, source, found, tell)
        if args.until_stall:
            run.until_stall(attempt, asked, found, args.patience)
        else:
            attempt(asked)
    return found


def picture(report: Report) -> bytes:
    """The PNG of the last run."""
    from drivers.picture import ruled
    from tools.benching.lines import picture

    assert report.driven is not None
    lines, about = report.driven.lines, report.about
    title = f"characters in hand, {len(lines)} lines: {about['model']}, {about['engine']}"
    strokes = picture.strokes(lines, report.driven.span, title)
    rules = ((stroke.points, stroke.colour, stroke.breadth, stroke.dark) for stroke in strokes)
    return ruled(picture.WIDTH, picture.HEIGHT, rules)


def _seconds(args: argparse.Namespace, asked: Asked) -> int:
    """About, for a bar: how many tries a search takes nobody knows."""
    return round((asked.warm_up_s + asked.seconds) * (2 if args.until_stall else 1))


def _source(args: argparse.Namespace, tell: Tell) -> tuple[Source, str]:
    from model import cores, in_use, store
    from model.far.address import address, is_url
    from tools.benching.lines import folder, run

    if is_url(args.model or ""):
        if args.engine != "ours":
            raise NotComparable(f"--engine {args.engine} is for a model on this machine; a URL has its own")
        key = args.key.read_text("utf-8").strip() if args.key else ""
        return run.Source(url=address(args.model).base, key=key, context=args.context), args.model
    if args.size:
        place = folder.made(args.size, args.seed, tell)
        title = folder.TITLE.format(size=args.size)
    else:
        place = store.find(args.model or in_use.name())
        title = store.name_of(place)
    manifest = store.read_manifest(place)
    shape = manifest.shape
    source = run.Source(
        folder=place,
        engine=args.engine,
        python=_python(args),
        rows=args.rows,
        memory=args.memory * 1_000_000,
        a_token=2 * shape.n_layer * shape.n_embd * (1 if _in_bytes(manifest) else 4),
        context=min(args.context, shape.n_positions),
        threads=args.threads or cores.choose(),
        weights=_weights(args, place),
    )
    return source, title


def _in_bytes(manifest: Manifest) -> bool:
    """Whether its keys and values have eight bits."""
    rounding = manifest.training.get("rounding")
    return isinstance(rounding, dict) and bool(rounding.get("cache"))


def _weights(args: argparse.Namespace, place: Path) -> str:
    """What a peer makes its own model of. Raises NotComparable where there is nothing of the kind."""
    from tools.benching.lines import folder

    if args.engine in ("ours", "arrival"):
        return ""
    if not args.size:
        raise NotComparable(f"--engine {args.engine} wants --size: both are made of the same random weights")
    return str(folder.weights(place))


def _python(args: argparse.Namespace) -> Path | None:
    """A peer may live in another environment than ours."""
    return args.peer_python[0] if args.peer_python and args.engine not in ("ours", "arrival") else None
