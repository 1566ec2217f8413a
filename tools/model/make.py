"""Make a model from the files of the hub, or from another model with fewer bits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model.build.formats import BLOCK_SIZES, CACHE_FORMATS, QUANTISED_FORMATS, STORE_FORMATS
from model.store import store
from tools.cli.errors import ToolError
from tools.cli.output import print_output
from tools.cli.progress import ProgressLine, StageProgress

if TYPE_CHECKING:
    from model.build.export import ExportOptions, OnStageProgress
    from model.build.import_weights import SourceModel
    from model.store.store import Manifest

LINE_INTERVAL_S = 30.0  # between two progress lines in a file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a model, or a folder of the hub's files (config.json, model.safetensors)")
    add("--name", type=parse_model_name, required=True, metavar="NAME", help="name of the new model (required)")
    add_quantisation_arguments(parser)


def add_quantisation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `make` and `pull` share."""
    add = parser.add_argument
    add(
        "--as",
        dest="store_as",
        choices=STORE_FORMATS,
        default="int8",
        help="format of the weights; half is float16 throughout, for a GPU (default %(default)s)",
    )
    add(
        "--cache",
        choices=CACHE_FORMATS,
        default="float32",
        help="format of keys and values in an int8 or int4 model; int8 suits many texts at once (default %(default)s)",
    )
    add(
        "--block",
        type=int,
        choices=BLOCK_SIZES,
        default=0,
        metavar="N",
        help="weights that share a scale: 16, 32, 64, 128 or 256 (default: by --as)",
    )
    add(
        "--text",
        type=Path,
        metavar="FILE",
        help="text to calibrate and to compare with (default: public-domain books in English)",
    )
    add("--replace", action="store_true", help="overwrite a model of the same name (default: refuse)")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError and ToolError."""
    from model.build import import_weights

    reject_unused_options(args)
    folder = store.models_folder() / args.name
    if folder.exists() and not args.replace:
        raise name_is_taken(folder)
    options = export_options(args.name, args)
    with show_progress() as on_progress:
        line = make_model(import_weights.read_source(args.source), folder, options, on_progress)
    print_output(line)
    return 0


def reject_unused_options(args: argparse.Namespace) -> None:
    """Raises ToolError for an option that has no effect on the chosen format."""
    unused = [f"--block {args.block}"] * bool(args.block) + ["--cache int8"] * (args.cache == "int8")
    if unused and args.store_as not in QUANTISED_FORMATS:
        problem = f"{unused[0]} goes with --as int8 or int4, not {args.store_as}"
        raise ToolError(f"{problem}: leave out one of them", "argument")


def name_is_taken(folder: Path) -> ToolError:
    return ToolError(f"{folder}: a model has this name; choose another --name, or --replace it", "create")


def export_options(name: str, args: argparse.Namespace) -> ExportOptions:
    from model.build.export import ExportOptions
    from model.store.documents import read_documents

    documents = tuple(read_documents([args.text])) if args.text else ()
    return ExportOptions(name, args.store_as, args.block, documents, args.cache)


def make_model(source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress) -> str:
    """Writes the model; returns a line with its size and its fidelity. Raises ModelError and ToolError."""
    manifest = _export(source, folder, options, on_progress)
    quality = manifest.training["quality"]
    return (
        f"{options.name}: {manifest.total_bytes / 1e6:.1f} MB in {folder}; "
        f"perplexity {quality['ratio']:.4f} times that of float32, KL {quality['kl']:.5f} nats a token, "
        f"the same likeliest token in {quality['agree']:.1%}\n"
    )


def _export(source: SourceModel, folder: Path, options: ExportOptions, on_progress: OnStageProgress) -> Manifest:
    from model.build import export

    try:
        return export.export_model(source, folder, options, on_progress)
    except OSError as error:
        cure = "make room there, or name another folder in ASR33_MODELS"
        raise ToolError(f"{folder}: cannot be written ({error.strerror}); {cure}", "create") from None
    except MemoryError:
        cure = "close other programs, or make it on a larger machine"
        raise ToolError(f"{source.name}: too little memory; {cure}", "create") from None


def parse_model_name(text: str) -> str:
    if not store.MODEL_NAME.fullmatch(text) or text == store.EMBEDDED:
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underlines make a name")
    return text


@contextmanager
def show_progress(clock: Callable[[], float] = time.monotonic) -> Iterator[OnStageProgress]:
    """Shows the stage, the share that is done and the time left, on standard error."""
    with ProgressLine(prefix="", line_interval_s=LINE_INTERVAL_S, clock=clock) as line:
        yield StageProgress(line, clock=clock).update
