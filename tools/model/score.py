"""Measure bits per byte of a text in windows of the whole context that overlap by half; fewer bits are better.

--copied also lets the model write a text, and gives the share of its words in runs of 8 or more words that your text
contains. With --hold-out N,N these documents are left out of the comparison, and their own share is the reference.

asr33 model score base.txt.xz --hold-out 10,14,18,26 --copied

A corpus may stand in place of a file; its threads and books are counted as asr33 train counts them. --held-out scores
the documents that the model's training run held out, if you give the texts of that run:

asr33 model score attic --model voice --held-out
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from model.interface import PARAMETERS, THREAD_RANGE, Sampling
from tools.cli.arguments import ranged_number
from tools.cli.output import print_output
from tools.cli.progress import ProgressLine, StageProgress

if TYPE_CHECKING:
    from model.onnx.gpt2_session import GPT2Session
    from model.onnx.tokenizer import Tokenizer
    from model.store.documents import DocumentSplit

DEFAULT_WORD_COUNT = 5000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, parser.formatter_class = parser.add_argument, argparse.RawDescriptionHelpFormatter
    add("files", type=Path, nargs="+", metavar="FILE|CORPUS", help="texts, also as .xz; - is standard input")
    add("--model", default="embedded", metavar="NAME|PATH", help="the model (default %(default)s)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--hold-out",
        type=parse_numbers,
        default=[],
        metavar="N,N",
        help="numbers of the documents to score, from 1 (default: all)",
    )
    choice.add_argument(
        "--held-out",
        action="store_true",
        help="score the documents that the model's training run held out (default: all)",
    )
    add("--copied", action="store_true", help="measure how much the model copies from the text (default: off)")
    add(
        "--words",
        type=ranged_number(int, 1, 1_000_000),
        default=DEFAULT_WORD_COUNT,
        metavar="N",
        help="words that the model writes for --copied (default %(default)s)",
    )
    add(
        "--seed",
        type=ranged_number(int, *PARAMETERS["seed"].bounds),
        default=Sampling().seed,
        metavar="N",
        help="seed of these words (default %(default)s)",
    )
    add(
        "--threads",
        type=ranged_number(int, *THREAD_RANGE),
        default=0,
        metavar="N",
        help="threads of the model (default: the cores, at most 8)",
    )
    add("--json", action="store_true", help="print JSON (default: text)")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError."""
    from model.onnx.model_loader import load_model
    from model.store import store

    folder = store.find_model(args.model)
    split = _read_split(args, folder)
    session, tokenizer = load_model(folder, args.threads)
    results: dict[str, Any] = {"model": store.name_of_folder(folder)}
    if split.held_out or not args.copied:
        results |= _score(session, tokenizer, split.held_out or split.train)
    if args.copied:
        results |= _measure_copying(session, tokenizer, args, split)
    print_output((json.dumps(results) if args.json else "\n".join(_format_lines(results))) + "\n")
    return 0


def _read_split(args: argparse.Namespace, folder: Path) -> DocumentSplit:
    from model.store import documents, store
    from tools.train import inputs, split_documents
    from tools.train.holdout import HoldOut

    if args.held_out:
        return split_documents.restore_held_out(args.files, store.read_manifest(folder).training)
    if not any(inputs.is_corpus(file) and not file.is_file() for file in args.files):
        return documents.hold_out_documents(documents.read_documents(args.files), args.hold_out)
    texts = inputs.read_texts(args.files)
    divided, numbers = split_documents.choose_held_out(texts, HoldOut(tuple(args.hold_out)), Random())
    return documents.hold_out_documents(divided.documents, numbers)


def parse_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 10,14") from None


def _score(session: GPT2Session, tokenizer: Tokenizer, documents: Sequence[str]) -> dict[str, Any]:
    from model.build.bits_per_byte import score_documents

    with _show_progress("scoring") as on_progress:
        score = score_documents(session, tokenizer, documents, on_progress)
    return {"documents": len(documents)} | asdict(score)


def _measure_copying(
    session: GPT2Session, tokenizer: Tokenizer, args: argparse.Namespace, split: DocumentSplit
) -> dict[str, Any]:
    from model.build.memorisation import measure_memorisation

    with _show_progress("writing") as on_progress:
        texts = split.train, split.held_out
        result = measure_memorisation(session, tokenizer, args.words, *texts, args.seed, on_progress)
    model, held_out = result.model, result.held_out
    results: dict[str, Any] = {"copied_percent": model.percent, "copied_words": model.words, "seed": args.seed}
    return results | ({"copied_percent_of_held_out": held_out.percent} if held_out else {})


def _format_lines(results: dict[str, Any]) -> Iterator[str]:
    if "bits_per_byte" in results:
        yield (
            f"{results['bits_per_byte']:.4f} bits per byte ({results['nats_per_token']:.4f} nats a token; "
            f"{results['tokens']} tokens, {results['bytes']} bytes, {results['documents']} documents)"
        )
    if "copied_percent" in results:
        held_out = results.get("copied_percent_of_held_out")
        reference = "" if held_out is None else f"; of the documents held out {held_out:.2f} %"
        yield f"{results['copied_percent']:.2f} % of {results['copied_words']:,} words it wrote are copied{reference}"


@contextmanager
def _show_progress(stage: str) -> Iterator[Callable[[int, int], None]]:
    """Shows the share that is done and the time left, if standard error is a terminal."""
    with ProgressLine(line_interval_s=None) as line:
        yield partial(StageProgress(line).update, stage)
