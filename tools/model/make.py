"""`asr33 model make`: a model from the hub's files, or from another of ours, in fewer bits."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import ModelError
from model.store import store
from tools.cli.output import print_message

if TYPE_CHECKING:
    from model.build.export import ExportOptions, OnStageProgress
    from model.build.import_weights import SourceModel
    from model.store.store import Manifest

STORAGE_FORMATS = ("int8", "int4", "float16", "float32", "half")
QUANTISED_FORMATS = ("int8", "int4")
CACHE_FORMATS = ("int8", "float32")
BLOCK_SIZES = (16, 32, 64, 128, 256)
QUIET_S = 2.0  # what takes no longer needs no word
LINE_EVERY_S = 30.0
SPEED_WINDOW_S = 300.0  # over so long the bar takes its speed: a matrix of a large model takes many seconds


class ModelUnwritten(ModelError):
    """The model cannot be put where it should go: something is there, or there is no room."""

    exit_code = 73


class NothingRounded(ModelError):
    """What is asked for goes with weights of few bits alone."""

    exit_code = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of the hub's files (config.json, model.safetensors), or a model of ours",
    )
    parser.add_argument("--name", type=parse_model_name, required=True, metavar="NAME", help="what it shall be called")
    add_quantisation_arguments(parser)


def add_quantisation_arguments(parser: argparse.ArgumentParser) -> None:
    """What `make` and `pull` share."""
    parser.add_argument(
        "--as",
        dest="store_as",
        choices=STORAGE_FORMATS,
        default="int8",
        help="how its weights are stored (%(default)s); half: float16 throughout, for a GPU",
    )
    parser.add_argument(
        "--cache",
        choices=CACHE_FORMATS,
        default="float32",
        help="how keys and values are kept where the weights have few bits (%(default)s); int8: for many texts at once",
    )
    parser.add_argument(
        "--block",
        type=int,
        choices=BLOCK_SIZES,
        default=0,
        metavar="N",
        help="weights that share a scale: 16, 32, 64, 128 or 256",
    )
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="a text to round and to judge by (public-domain books, in English)"
    )
    parser.add_argument("--replace", action="store_true", help="in place of a model of that name")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError: the source is missing or damaged, the result not good enough."""
    from model.build import export, import_weights
    from model.store.documents import read_documents

    reject_idle_options(args)
    folder = store.models_folder() / args.name
    if folder.exists() and not args.replace:
        raise ModelUnwritten(f"{folder}: there is a model of that name; choose another --name, or --replace it")
    documents = tuple(read_documents([args.text])) if args.text else ()
    asked = export.ExportOptions(args.name, args.store_as, args.block, documents, args.cache)
    with show_progress() as progress:
        line = make_model(import_weights.read_source(args.source), folder, asked, progress)
    sys.stdout.write(line)
    return 0


def reject_idle_options(args: argparse.Namespace) -> None:
    """Raises NothingRounded: an option that would do nothing."""
    idle = [f"--block {args.block}"] * bool(args.block) + ["--cache int8"] * (args.cache == "int8")
    if idle and args.store_as not in QUANTISED_FORMATS:
        raise NothingRounded(f"{idle[0]} goes with --as int8 or int4, not {args.store_as}: leave out one of them")


def make_model(source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress) -> str:
    """Make it; gives what it has become, in a line. Raises ModelError."""
    manifest = _export(source, folder, options, on_progress)
    quality = manifest.training["quality"]
    size = sum(record.bytes for record in manifest.files.values()) / 1e6
    return (
        f"{options.name}: {size:.1f} MB in {folder}; perplexity {quality['ratio']:.4f} times that of float32, "
        f"KL {quality['kl']:.5f} nats a token, the same likeliest token in {quality['agree']:.1%}\n"
    )


def _export(source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress) -> Manifest:
    from model.build import export

    try:
        return export.export_model(source, folder, options, on_progress)
    except ModelError:
        raise
    except OSError as error:
        raise ModelUnwritten(f"{folder}: cannot be written ({error.strerror}); make room there, or let it") from None
    except MemoryError:
        raise ModelUnwritten(
            f"{source.name}: too little memory; close what else is running, or make it on a larger machine"
        ) from None


def parse_model_name(text: str) -> str:
    if not store.MODEL_NAME.fullmatch(text) or text == "embedded":
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underlines make a name")
    return text


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where that is a terminal; else a line now and then, if it takes long."""
    if not sys.stderr.isatty():
        yield _report_lines(time.monotonic)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, speed_estimate_period=SPEED_WINDOW_S) as bar:
        task, last = bar.add_task("reading", total=None), ""

        def tell(what: str, done: int, whole: int) -> None:
            nonlocal task, last
            if what != last:  # another stage has another speed
                bar.remove_task(task)
                task, last = bar.add_task(what), what
            bar.update(task, completed=done, total=whole)

        yield tell


def _report_lines(clock: Callable[[], float]) -> Callable[[str, int, int], None]:
    told, wait = clock(), QUIET_S
    stage, begun, first = "", 0.0, 0

    def tell(what: str, done: int, whole: int) -> None:
        nonlocal told, wait, stage, begun, first
        now = clock()
        if what != stage:
            stage, begun, first = what, now, done
        elif now - told >= wait:
            told, wait = now, LINE_EVERY_S
            left = (whole - done) * (now - begun) / max(done - first, 1)
            print_message(f"{what}: {done / whole:.0%}, {_format_duration(left)} left")

    return tell


def _format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `1 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{round(seconds)} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
