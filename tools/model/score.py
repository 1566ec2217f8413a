"""Bits per byte of a text, in windows of the whole context, half of it overlapping: less is better.

--copied lets the model write, by seed, and says how many of its words stand in runs of eight or more that the text has
too; with --hold-out N,N those documents are no part of that text, but the yardstick: what people copy from it.

asr33 model score base.txt.xz --hold-out 10,14,18,26 --copied

The name of a corpus may stand where a file may; then threads and books are counted, as asr33 train counts them. What
the model's own run held out, also where a share was drawn by seed, is scored again by --held-out, with the run's texts:

asr33 model score attic --model voice --held-out
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from model.interface import SAMPLING_RANGES, THREAD_RANGE, Sampling
from tools.ask import ranged_number

if TYPE_CHECKING:
    from model.onnx.hf_session import HfOnnxSession
    from model.onnx.session import OnnxSession
    from model.onnx.tokenizer import Tokenizer
    from model.store.documents import DocumentSplit

DEFAULT_WORD_COUNT = 5000  # that the model writes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE|CORPUS", help="texts, or .xz of them; - is standard input"
    )
    parser.add_argument("--model", default="embedded", metavar="NAME|PATH", help="the model (%(default)s)")
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--hold-out",
        type=parse_numbers,
        default=[],
        metavar="N,N",
        help="score only these documents of the files, from 1",
    )
    some.add_argument(
        "--held-out", action="store_true", help="score only what the model's run held out, of the texts it was run on"
    )
    parser.add_argument("--copied", action="store_true", help="how much of what it writes is copied from the file")
    words = ranged_number(int, 1, 1_000_000)
    parser.add_argument(
        "--words", type=words, default=DEFAULT_WORD_COUNT, metavar="N", help="that it writes for --copied (%(default)s)"
    )
    seed = ranged_number(int, *map(int, SAMPLING_RANGES["seed"]))
    parser.add_argument("--seed", type=seed, default=Sampling().seed, metavar="N", help="of these (%(default)s)")
    parser.add_argument(
        "--threads",
        type=ranged_number(int, *THREAD_RANGE),
        default=0,
        metavar="N",
        help="0: as many as there are cores",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError of many a kind."""
    from model.generate import local_model
    from model.store import store

    folder = store.find_model(args.model)
    corpus = _read_split(args, folder)
    session, words = local_model.load_model(folder, args.threads)
    found: dict[str, Any] = {"model": store.name_of_folder(folder)}
    if corpus.held_out or not args.copied:
        found |= _score(session, words, corpus.held_out or corpus.train)
    if args.copied:
        found |= _measure_copying(session, words, args, corpus.train, corpus.held_out)
    _print_line(json.dumps(found) if args.json else "\n".join(_format_lines(found)))
    return 0


def _read_split(args: argparse.Namespace, folder: Path) -> DocumentSplit:
    from model.store import documents, store
    from tools.train import inputs, restore_holdout, split_documents
    from tools.train.holdout import HoldOut

    if args.held_out:
        return restore_holdout.restore_held_out(args.files, store.read_manifest(folder).training)
    if not any(inputs.is_corpus(file) and not file.is_file() for file in args.files):
        return documents.hold_out_documents(documents.read_documents(args.files), args.hold_out)
    found, out = split_documents.choose_held_out(inputs.read_texts(args.files), HoldOut(tuple(args.hold_out)), Random())
    return documents.hold_out_documents(found.documents, out)


def parse_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 10,14") from None


def _score(session: OnnxSession | HfOnnxSession, tokenizer: Tokenizer, documents: Sequence[str]) -> dict[str, Any]:
    from model.build.bits_per_byte import score_documents

    with _show_progress("scoring") as progress:
        score = score_documents(session, tokenizer, documents, progress)
    return {"documents": len(documents)} | asdict(score)


def _measure_copying(
    session: OnnxSession | HfOnnxSession,
    tokenizer: Tokenizer,
    args: argparse.Namespace,
    corpus: list[str],
    held_out: list[str],
) -> dict[str, Any]:
    from model.build.memorisation import measure_overlap
    from model.generate.sample_text import write_sample_texts

    with _show_progress("writing") as progress:
        wrote = write_sample_texts(session, tokenizer, args.words, Sampling(seed=args.seed), progress)
    model, yardstick = measure_overlap([wrote, held_out], corpus)
    found: dict[str, Any] = {"copied_percent": model.percent, "copied_words": model.words, "seed": args.seed}
    return found | ({"copied_percent_of_held_out": yardstick.percent} if held_out else {})


def _format_lines(results: dict[str, Any]) -> Iterator[str]:
    if "bits_per_byte" in results:
        yield (
            f"{results['bits_per_byte']:.4f} bits per byte ({results['nats_per_token']:.4f} nats a token; "
            f"{results['tokens']} tokens, {results['bytes']} bytes, {results['documents']} documents)"
        )
    if "copied_percent" in results:
        held_out = results.get("copied_percent_of_held_out")
        yardstick = "" if held_out is None else f"; of the documents held out {held_out:.2f} %"
        yield f"{results['copied_percent']:.2f} % of {results['copied_words']:,} words it wrote are copied{yardstick}"


@contextmanager
def _show_progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
