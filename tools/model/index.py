"""Make the copy index of a model: `.COPIED` then underlines on paper what the model copies from its training text.

Give the texts and corpora of the training run, in the same order. The index is a file beside the model of about two
bytes a word. It has hashes of all runs of 6 words, and no word. But a person who has it can test a guess, so keep it
as you keep the texts: --remove deletes it. Training the model again deletes it too.

asr33 model index voice attic
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from model.errors import ModelError
from model.store import copy_index, store
from tools.cli.arguments import ranged_number
from tools.cli.errors import ToolError
from tools.cli.output import print_output
from tools.cli.progress import ProgressLine, StageProgress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, parser.formatter_class = parser.add_argument, argparse.RawDescriptionHelpFormatter
    add("name", metavar="NAME|PATH", help="the model")
    add("texts", type=Path, nargs="*", metavar="TEXT|CORPUS", help="the texts that it was trained on, in their order")
    add(
        "--words",
        type=ranged_number(int, *copy_index.RUN_RANGE),
        default=copy_index.RUN_LENGTH,
        metavar="N",
        help="words in a row that count as copied (default %(default)s)",
    )
    add("--remove", action="store_true", help="delete the index (default: make it)")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError, ToolError."""
    folder = store.find_model(args.name)
    if args.remove:
        return _remove_index(folder, args.name)
    if args.name == store.EMBEDDED:
        cure = "train a model of your own: asr33 train TEXT --index"
        raise ModelError(f"the embedded model is a part of asr33 and gets no index; {cure}", "denied")
    if not args.texts:
        raise ToolError(f"name the texts of {args.name}: asr33 model index {args.name} TEXT|CORPUS", "usage")
    from tools.train import split_documents

    documents = split_documents.read_training_documents(args.texts, store.read_manifest(folder).training)
    print_output(make_index(folder, args.name, documents, args.words) + "\n")
    return 0


def make_index(folder: Path, name: str, documents: list[str], run_length: int) -> str:
    """Makes the index, with progress; returns a line about it. Raises ModelError."""
    from model.build.copy_index_writer import write_copy_index

    with ProgressLine() as line:
        header = write_copy_index(folder, documents, run_length, partial(StageProgress(line).update, "indexing"))
    size = (folder / copy_index.INDEX_FILE).stat().st_size
    rate = f"1 of {1 / header.false_rate:,.0f}" if header.false_rate else "none of 400,000"
    return (
        f"{name}: an index of {header.runs:,} runs of {run_length} words, {size / 1e6:.1f} MB, "
        f"{size / header.runs:.1f} bytes a run; {rate} other runs is taken for one of them"
    )


def _remove_index(folder: Path, name: str) -> int:
    try:
        (folder / copy_index.INDEX_FILE).unlink()
    except FileNotFoundError:
        print_output(f"{name}: there is no index\n")
    except OSError as error:
        raise ModelError(f"{folder / copy_index.INDEX_FILE}: {error.strerror}; see to its folder", "denied") from None
    else:
        print_output(f"{name}: the index is removed; the model still has learnt its texts\n")
    return 0
