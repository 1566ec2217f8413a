"""What was asked of `asr33 train`, checked before anything is loaded."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from model.interface import HEAD_SIZE_MULTIPLE, SAMPLING_RANGES, THREAD_RANGE, DeviceChoice
from model.store import store
from tools.train.errors import OptionRefused
from tools.train.holdout import HoldOut, parse_hold_out
from tools.train.run_config import DEFAULT_BATCH, DEFAULT_DECAY, DEFAULT_FALL, DEFAULT_SEED, ModelSize, RunLength

MIN_VOCABULARY = 257  # the least a byte-level vocabulary can be: 256 bytes and the end of text
DEFAULT_COPIED_WORDS = 5000  # words
DEFAULT_PATIENCE = 3  # looks, or eighths of the run
MAX_LORA_RANK = 1024  # the highest rank; beyond it, to train the whole net is cheaper


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """One run. `size` is None where the base decides it, `hold_out` and `patience` where the texts do.

    `average` and `dropout` are shares, 0 to 1. `copied` is how many words the model writes to be compared with its
    texts.
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
    device: DeviceChoice = "auto"
    copied: int = DEFAULT_COPIED_WORDS
    line: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = (
        "plain or .xz, UTF-8; documents divided by <|endoftext|> on a line of its own, counted from 1 over all texts; "
        "or the name of a corpus (asr33 corpus list), whose threads and books are counted"
    )
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT|CORPUS", help=text)
    parser.add_argument("--name", required=True, help="what the model is called; the same again goes on with its run")
    base = "start from this model, ours or a folder of the hub's, with its shape and its vocabulary"
    parser.add_argument("--base", metavar="NAME|PATH", help=base)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, metavar="N", help="how long: this many steps")
    length.add_argument("--minutes", type=float, metavar="N", help="how long: this many minutes spent in steps")
    falls = f"the end of the run, where the rate falls (default {100 * DEFAULT_FALL:g}); till then it and the length may change"
    parser.add_argument("--fall", type=float, default=100 * DEFAULT_FALL, metavar="PERCENT", help=falls)
    held = "documents to judge by, never trained on: numbers, or a share drawn by seed (of a corpus 10%% by default)"
    parser.add_argument("--hold-out", metavar="N,N|P%", help=held)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, metavar="N", help=f"(default {DEFAULT_SEED})")
    for item in fields(ModelSize):
        parser.add_argument(f"--{item.name}", type=int, metavar="N", help=f"(default {item.default})")
    parser.add_argument(
        "--batch", type=int, default=DEFAULT_BATCH, metavar="N", help=f"sequences a step (default {DEFAULT_BATCH})"
    )
    _add_stopping_arguments(parser)
    _add_learning_arguments(parser)
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default 2)")
    parser.add_argument("--save-every", type=float, default=100.0, metavar="S", help="seconds between checkpoints")
    parser.add_argument("--fresh", action="store_true", help="forget the run of that name and begin it again")
    parser.add_argument("--licence", default="that of its texts", metavar="TEXT", help="for the model card")
    parser.add_argument("--about", default="", metavar="TEXT", help="a sentence for the model card")


def _add_stopping_arguments(parser: argparse.ArgumentParser) -> None:
    patience = (
        "end, with the best weights, when the text held out is no better after so many looks of --look-every, or so "
        "many eighths of the run, of 250 steps at most "
        f"(with a base or a corpus {DEFAULT_PATIENCE}, else 0: to the end, with the last)"
    )
    parser.add_argument("--patience", type=int, metavar="N", help=patience)
    looks = "steps between two looks, each with a sample (250; with patience 25 at first, and 250 after 1000 steps)"
    parser.add_argument("--look-every", type=int, metavar="N", help=looks)
    copied = f"words that the model writes to see how many are copied from its texts (default {DEFAULT_COPIED_WORDS}; 0: none)"
    parser.add_argument("--copied", type=int, default=DEFAULT_COPIED_WORDS, metavar="N", help=copied)


def _add_learning_arguments(parser: argparse.ArgumentParser) -> None:
    lora = "train adapters of this rank beside a base that stays: little memory, for large ones (8 is usual)"
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help=lora)
    dropout = "share of numbers left out of each step, as .1, for many times the same text (default 0)"
    parser.add_argument("--dropout", type=float, default=0.0, metavar="P", help=dropout)
    parser.add_argument(
        "--decay",
        type=float,
        default=DEFAULT_DECAY,
        metavar="D",
        help=f"weight decay of the matrices (default {DEFAULT_DECAY:g})",
    )
    average = "end with the mean of the weights over this last part of the run (default 0: the last ones)"
    parser.add_argument("--average", type=float, default=0.0, metavar="PERCENT", help=average)
    device = "where to train; on cuda products are in bfloat16 (default auto: cuda where there is one)"
    parser.add_argument("--device", choices=get_args(DeviceChoice), default="auto", help=device)
    line = "strike each sample on the machine at this line; - is the daemon's"
    parser.add_argument("--line", metavar="PORT", help=line)


def parse_options(args: argparse.Namespace) -> TrainOptions:
    """Raises OptionRefused."""
    if not store.MODEL_NAME.fullmatch(args.name):
        raise OptionRefused(f"--name {args.name}: letters, digits, dots, dashes and underlines make a name")
    if args.base is not None and args.base == args.name:
        raise OptionRefused(f"--name {args.name}: a model cannot be its own base; give the new one another --name")
    if any(str(text) == "-" for text in args.texts):
        raise OptionRefused("-: a run may have to read its texts again, so give files")
    for option in ("steps", "minutes", "batch", "threads", "save_every", "fall", "look_every"):
        _require_positive(option, getattr(args, option))
    _check_learning(args)
    if args.fall > 100:
        raise OptionRefused(f"--fall {args.fall:g}: 100 per cent are the whole run, and the most")
    if args.threads > THREAD_RANGE[1]:
        raise OptionRefused(f"--threads {args.threads}: {THREAD_RANGE[1]} are the most")
    if not 0 <= args.seed <= SAMPLING_RANGES["seed"][1]:
        raise OptionRefused(f"--seed {args.seed}: a seed is 0 or more, and below 2 to the 63rd")
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
        device=args.device,
        copied=args.copied,
        line=args.line,
    )


def _check_learning(args: argparse.Namespace) -> None:
    limits = {
        "dropout": (0, 0.9),
        "decay": (0, 1),
        "lora": (0, MAX_LORA_RANK),
        "patience": (0, 10**6),
        "copied": (0, 10**6),
    }
    for option, (least, most) in limits.items():
        number = getattr(args, option)
        if number is not None and not least <= number <= most:
            raise OptionRefused(f"--{option} {number:g}: give a number from {least:g} to {most:,}")
    if not 0 <= args.average <= args.fall:
        raise OptionRefused(f"--average {args.average:g}: give from 0 to the {args.fall:g} per cent of --fall, no more")
    if args.average and args.patience:
        raise OptionRefused("--average with --patience: a run ends with the mean or with the best; leave one out")
    if args.lora and args.decay != DEFAULT_DECAY:
        raise OptionRefused(f"--decay {args.decay:g} with --lora: adapters have no decay; leave one out")
    if args.lora and args.base is None:
        raise OptionRefused(f"--lora {args.lora}: adapters stand beside a model; name one with --base")


def _require_positive(option: str, number: float | None) -> None:
    if number is not None and not 0 < number < math.inf:
        raise OptionRefused(f"--{option.replace('_', '-')} {number:g}: give a number above zero")


def _parse_hold_out(text: str | None) -> HoldOut | None:
    try:
        return None if text is None else parse_hold_out(text)
    except ValueError:
        raise OptionRefused(
            f"--hold-out {text}: give numbers of documents, as in --hold-out 10,14, or a share, as in --hold-out 10%"
        ) from None


def _parse_size(args: argparse.Namespace) -> ModelSize | None:
    given = {item.name: getattr(args, item.name) for item in fields(ModelSize) if getattr(args, item.name) is not None}
    if args.base is not None:
        if given:
            raise OptionRefused(f"--{next(iter(given))} with --base {args.base}: the base has its shape; leave it out")
        return None
    for option, number in given.items():
        _require_positive(option, number)
    size = ModelSize(**given)
    if size.vocabulary < MIN_VOCABULARY:
        raise OptionRefused(
            f"--vocabulary {size.vocabulary}: at least {MIN_VOCABULARY}, a token for each byte and one more"
        )
    if size.width % (size.heads * HEAD_SIZE_MULTIPLE):
        raise OptionRefused(
            f"--width {size.width} --heads {size.heads}: each head needs a multiple of {HEAD_SIZE_MULTIPLE} of the width, "
            f"as with --width {size.heads * HEAD_SIZE_MULTIPLE * max(1, round(size.width / size.heads / HEAD_SIZE_MULTIPLE))}"
        )
    return size
