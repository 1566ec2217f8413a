"""The options of `asr33 train`, checked before anything is loaded."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from model.interface import HEAD_SIZE_MULTIPLE, PARAMETERS, THREAD_RANGE, DeviceChoice
from model.store import store
from tools.cli.errors import ToolError
from tools.train.holdout import HoldOut, parse_hold_out
from tools.train.run_config import (
    BASE_RATE_SHARE,
    DEFAULT_BATCH,
    DEFAULT_DECAY,
    DEFAULT_FALL,
    DEFAULT_SEED,
    ModelSize,
    RunLength,
)

PrecisionChoice = Literal["auto", "bfloat16", "float32"]

MIN_VOCABULARY = 257  # of a byte-level vocabulary: 256 bytes and the end of text
DEFAULT_COPIED_WORDS = 5000
DEFAULT_PATIENCE = 3  # evaluations, or eighths of the run
MAX_TIMES = 1000
MAX_LORA_RANK = 1024  # beyond it, training the whole net is cheaper
# The highest values.
LIMITS = {"dropout": 0.9, "decay": 1, "lora": MAX_LORA_RANK, "rate": 500, "patience": 10**6, "copied": 10**6}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of one run. `size` is None if the base gives it; `hold_out` and `patience` None mean the defaults.

    `average` and `dropout` are shares, 0 to 1. `copied` is the number of words that the model writes to measure
    memorisation. `index`: write the copy index. `rate` is in per cent; None means the default. `times` says how often
    an epoch has each of the texts; empty means once.
    """

    texts: tuple[Path, ...]
    name: str
    base: str | None
    length: RunLength
    hold_out: HoldOut | None
    seed: int
    batch: int
    size: ModelSize | None
    threads: int
    fresh: bool
    licence: str
    about: str
    save_every_s: float
    patience: int | None = None
    look_every: int | None = None
    lora: int = 0
    dropout: float = 0.0
    decay: float = DEFAULT_DECAY
    average: float = 0.0
    rate: float | None = None
    times: tuple[int, ...] = ()
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    copied: int = DEFAULT_COPIED_WORDS
    index: bool = False
    line: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    texts = (
        "text files, plain or .xz, UTF-8; documents divided by <|endoftext|> on a line of its own, counted from 1 over "
        "all texts; or the name of a corpus (asr33 corpus list), whose threads and books are counted"
    )
    add("texts", type=Path, nargs="+", metavar="TEXT|CORPUS", help=texts)
    times = "how often an epoch has each text, in their order, as 1,1,40 (default: each once)"
    add("--times", metavar="N,N", help=times)
    add("--name", required=True, help="name of the model; the same name resumes its run (required)")
    base = "model to start from, with its shape and vocabulary: a model of asr33 or a folder of the hub's files"
    add("--base", metavar="NAME|PATH", help=f"{base} (default: random weights)")
    length = parser.add_mutually_exclusive_group(required=True)
    steps = "length of the run in steps (required: this or --minutes)"
    length.add_argument("--steps", type=int, metavar="N", help=steps)
    minutes = "length of the run in minutes spent in steps (required: this or --steps)"
    length.add_argument("--minutes", type=float, metavar="N", help=minutes)
    fall = "last part of the run, in percent, where the learning rate falls; until then it and the length may change"
    add("--fall", type=float, default=100 * DEFAULT_FALL, metavar="PERCENT", help=f"{fall} (default %(default)g)")
    hold_out = "documents to evaluate on, not trained on: numbers, or a share drawn by seed"
    add("--hold-out", metavar="N,N|P%", help=f"{hold_out} (default: 10%% of a corpus, else none)")
    add("--seed", type=int, default=DEFAULT_SEED, metavar="N", help="seed of all random numbers (default %(default)s)")
    for item in fields(ModelSize):
        add(f"--{item.name}", type=int, metavar="N", help=f"{item.metadata['help']} (default {item.default})")
    add("--batch", type=int, default=DEFAULT_BATCH, metavar="N", help="sequences in a step (default %(default)s)")
    _add_stopping_arguments(parser)
    _add_learning_arguments(parser)
    add("--threads", type=int, default=2, metavar="N", help="CPU threads (default %(default)s)")
    add("--save-every", type=float, default=100.0, metavar="S", help="seconds between checkpoints (default 100)")
    add("--fresh", action="store_true", help="remove the run of this name and begin again (default: off)")
    licence = "licence of the texts, for the model card (default: %(default)s)"
    add("--licence", default="that of its texts", metavar="TEXT", help=licence)
    add("--about", default="", metavar="TEXT", help="sentence for the model card (default: none)")


def _add_stopping_arguments(parser: argparse.ArgumentParser) -> None:
    patience = (
        "evaluations without improvement after which the run ends with the best weights; counted in intervals of "
        "--look-every, or else in eighths of the run of at most 250 steps; 0: no early end "
        f"(default: {DEFAULT_PATIENCE} with a base or a corpus, else 0)"
    )
    parser.add_argument("--patience", type=int, metavar="N", help=patience)
    looks = "steps between two evaluations, each with a sample"
    default = "(default 250; with patience 25 at first, and 250 after 1000 steps)"
    parser.add_argument("--look-every", type=int, metavar="N", help=f"{looks} {default}")
    copied = "words that the model writes to measure how many it copies from its texts; 0: none (default %(default)s)"
    parser.add_argument("--copied", type=int, default=DEFAULT_COPIED_WORDS, metavar="N", help=copied)
    index = "write the index for .COPIED, which marks copied words on paper: about 2 bytes a word (default: off)"
    parser.add_argument("--index", action="store_true", help=index)


def _add_learning_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    lora = "rank of adapters trained beside a frozen base, for large bases in little memory; 8 is usual"
    add("--lora", type=int, default=0, metavar="RANK", help=f"{lora} (default 0: off)")
    dropout = "share of activations dropped in each step, as .1, for texts that are seen many times (default 0)"
    add("--dropout", type=float, default=0.0, metavar="P", help=dropout)
    decay = "weight decay of matrices (default %(default)g)"
    add("--decay", type=float, default=DEFAULT_DECAY, metavar="D", help=decay)
    average = "last part of the run, in percent, whose mean weights are kept (default 0: the last weights)"
    add("--average", type=float, default=0.0, metavar="PERCENT", help=average)
    rate = "learning rate, in percent of that for random weights; 100 suits much new text on a base"
    add("--rate", type=float, metavar="PERCENT", help=f"{rate} (default 100, with a base {100 * BASE_RATE_SHARE:g})")
    device = "device to train on (default auto: cuda if available)"
    add("--device", choices=get_args(DeviceChoice), default="auto", help=device)
    precision = "number format of the products; weights are float32 (default auto: bfloat16 where it is faster)"
    add("--precision", choices=get_args(PrecisionChoice), default="auto", help=precision)
    add("--line", metavar="PORT", help="line of a machine that prints each sample; - is the daemon's (default: none)")


def parse_options(args: argparse.Namespace) -> TrainOptions:
    """Raises ToolError."""
    if not store.MODEL_NAME.fullmatch(args.name):
        raise _usage_error(f"--name {args.name}: a name has letters, digits, dots, dashes and underlines")
    if args.base is not None and args.base == args.name:
        raise _usage_error(f"--name {args.name}: a model cannot be its own base; give the new one another --name")
    if any(str(text) == "-" for text in args.texts):
        raise _usage_error("-: a run may have to read its texts again, so give files")
    for option in ("steps", "minutes", "batch", "threads", "save_every", "fall", "look_every", "rate"):
        _require_positive(option, getattr(args, option))
    _check_learning(args)
    if args.fall > 100:
        raise _usage_error(f"--fall {args.fall:g}: give at most 100 per cent, the whole run")
    if args.threads > THREAD_RANGE[1]:
        raise _usage_error(f"--threads {args.threads}: give at most {THREAD_RANGE[1]}")
    if not 0 <= args.seed <= PARAMETERS["seed"].bounds[1]:
        raise _usage_error(f"--seed {args.seed}: give a number from 0 to below 2 to the 63rd")
    return TrainOptions(
        texts=tuple(args.texts),
        name=args.name,
        base=args.base,
        length=RunLength(args.steps, args.minutes, args.fall / 100),
        hold_out=_parse_hold_out(args.hold_out),
        seed=args.seed,
        batch=args.batch,
        size=_parse_size(args),
        threads=args.threads,
        fresh=args.fresh,
        licence=args.licence,
        about=args.about,
        save_every_s=args.save_every,
        patience=args.patience,
        look_every=args.look_every,
        lora=args.lora,
        dropout=args.dropout,
        decay=args.decay,
        average=args.average / 100,
        rate=args.rate,
        times=_parse_times(args.times, len(args.texts)),
        device=args.device,
        precision=args.precision,
        copied=args.copied,
        index=args.index,
        line=args.line,
    )


def _usage_error(message: str) -> ToolError:
    return ToolError(message, "usage")


def _check_learning(args: argparse.Namespace) -> None:
    for option, highest in LIMITS.items():
        number = getattr(args, option)
        if number is not None and not 0 <= number <= highest:
            raise _usage_error(f"--{option} {number:g}: give a number from 0 to {highest:,}")
    if not 0 <= args.average <= args.fall:
        raise _usage_error(f"--average {args.average:g}: give from 0 to the {args.fall:g} per cent of --fall, no more")
    if args.average and args.patience:
        raise _usage_error("--average with --patience: a run ends with the mean or with the best; leave one out")
    if args.lora and args.decay != DEFAULT_DECAY:
        raise _usage_error(f"--decay {args.decay:g} with --lora: adapters have no decay; leave one out")
    if args.lora and args.base is None:
        raise _usage_error(f"--lora {args.lora}: adapters need a base; name one with --base")


def _parse_times(text: str | None, texts: int) -> tuple[int, ...]:
    if text is None:
        return ()
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if len(numbers) != texts or not all(1 <= number <= MAX_TIMES for number in numbers):
        raise _usage_error(f"--times {text}: give a number from 1 to {MAX_TIMES:,} for each of the {texts} texts")
    return tuple(numbers) if set(numbers) != {1} else ()


def _require_positive(option: str, number: float | None) -> None:
    if number is not None and not 0 < number < math.inf:
        raise _usage_error(f"--{option.replace('_', '-')} {number:g}: give a number above zero")


def _parse_hold_out(text: str | None) -> HoldOut | None:
    try:
        return None if text is None else parse_hold_out(text)
    except ValueError:
        cure = "give numbers of documents, as in --hold-out 10,14, or a share, as in --hold-out 10%"
        raise _usage_error(f"--hold-out {text}: {cure}") from None


def _parse_size(args: argparse.Namespace) -> ModelSize | None:
    numbers = {item.name: getattr(args, item.name) for item in fields(ModelSize)}
    numbers = {name: number for name, number in numbers.items() if number is not None}
    if args.base is not None:
        if numbers:
            raise _usage_error(f"--{next(iter(numbers))} with --base {args.base}: the base has its shape; leave it out")
        return None
    for name, number in numbers.items():
        _require_positive(name, number)
    size = ModelSize(**numbers)
    if size.vocabulary < MIN_VOCABULARY:
        cure = f"give at least {MIN_VOCABULARY}, a token for each byte and one more"
        raise _usage_error(f"--vocabulary {size.vocabulary}: {cure}")
    if size.width % (multiple := size.heads * HEAD_SIZE_MULTIPLE):
        cure = f"as with --width {multiple * max(1, round(size.width / multiple))}"
        fault = f"each head needs a multiple of {HEAD_SIZE_MULTIPLE} of the width"
        raise _usage_error(f"--width {size.width} --heads {size.heads}: {fault}, {cure}")
    return size
