"""What was asked of `asr33 train`, checked before anything is loaded."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

from model.base import THREADS
from tools.training.errors import OptionRefused
from tools.training.recipe import BATCH, FALL, SEED, Length, Size

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BYTES_AND_END = 257  # the least a byte-level vocabulary can be: 256 bytes and the end of text
HEAD_UNIT = 8  # the attention of onnxruntime takes heads in whole units of eight


@dataclass(frozen=True, slots=True)
class Options:
    """One run. `size` is None where the base decides it."""

    texts: tuple[Path, ...]
    name: str
    base: str | None
    length: Length
    hold_out: tuple[int, ...]
    seed: int
    batch: int
    size: Size | None
    threads: int
    fresh: bool
    licence: str
    about: str
    save_every_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "plain or .xz, UTF-8; documents divided by <|endoftext|> on a line of its own, counted from 1 over all files"
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT", help=text)
    parser.add_argument("--name", required=True, help="what the model is called; the same again goes on with its run")
    parser.add_argument("--base", metavar="NAME", help="start from this model, with its shape and its vocabulary")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, metavar="N", help="how long: this many steps")
    length.add_argument("--minutes", type=float, metavar="N", help="how long: this many minutes spent in steps")
    falls = f"the end of the run, where the rate falls (default {100 * FALL:g}); till then it and the length may change"
    parser.add_argument("--fall", type=float, default=100 * FALL, metavar="PERCENT", help=falls)
    parser.add_argument("--hold-out", default="", metavar="N,N", help="documents to judge by, never trained on")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"(default {SEED})")
    for item in fields(Size):
        parser.add_argument(f"--{item.name}", type=int, metavar="N", help=f"(default {item.default})")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help=f"sequences a step (default {BATCH})")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default 2)")
    parser.add_argument("--save-every", type=float, default=100.0, metavar="S", help="seconds between checkpoints")
    parser.add_argument("--fresh", action="store_true", help="forget the run of that name and begin it again")
    parser.add_argument("--licence", default="that of its texts", metavar="TEXT", help="for the model card")
    parser.add_argument("--about", default="", metavar="TEXT", help="a sentence for the model card")


def checked(args: argparse.Namespace) -> Options:
    """Raises OptionRefused."""
    if not NAME.fullmatch(args.name):
        raise OptionRefused(f"--name {args.name}: letters, digits, dots, dashes and underlines make a name")
    if args.base is not None and args.base == args.name:
        raise OptionRefused(f"--name {args.name}: a model cannot be its own base; give the new one another --name")
    if any(str(text) == "-" for text in args.texts):
        raise OptionRefused("-: a run may have to read its texts again, so give files")
    for option in ("steps", "minutes", "batch", "threads", "save_every", "fall"):
        _positive(option, getattr(args, option))
    if args.fall > 100:
        raise OptionRefused(f"--fall {args.fall:g}: 100 per cent are the whole run, and the most")
    if args.threads > THREADS[1]:
        raise OptionRefused(f"--threads {args.threads}: {THREADS[1]} are the most")
    if args.seed < 0:
        raise OptionRefused(f"--seed {args.seed}: a seed is 0 or more")
    return Options(
        texts=tuple(args.texts),
        name=args.name,
        base=args.base,
        length=Length(args.steps, args.minutes, args.fall / 100),
        hold_out=_hold_out(args.hold_out),
        seed=args.seed,
        batch=args.batch,
        size=_size(args),
        threads=args.threads,
        fresh=args.fresh,
        licence=args.licence,
        about=args.about,
        save_every_s=args.save_every,
    )


def _positive(option: str, number: float | None) -> None:
    if number is not None and not 0 < number < math.inf:
        raise OptionRefused(f"--{option.replace('_', '-')} {number:g}: give a number above zero")


def _hold_out(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(number) for number in text.split(",")})) if text else ()
    except ValueError:
        raise OptionRefused(f"--hold-out {text}: give numbers of documents, as in --hold-out 10,14") from None


def _size(args: argparse.Namespace) -> Size | None:
    given = {item.name: getattr(args, item.name) for item in fields(Size) if getattr(args, item.name) is not None}
    if args.base is not None:
        if given:
            raise OptionRefused(f"--{next(iter(given))} with --base {args.base}: the base has its shape; leave it out")
        return None
    for option, number in given.items():
        _positive(option, number)
    size = Size(**given)
    if size.vocabulary < BYTES_AND_END:
        raise OptionRefused(
            f"--vocabulary {size.vocabulary}: at least {BYTES_AND_END}, a token for each byte and one more"
        )
    if size.width % (size.heads * HEAD_UNIT):
        raise OptionRefused(
            f"--width {size.width} --heads {size.heads}: each head needs a multiple of {HEAD_UNIT} of the width, "
            f"as with --width {size.heads * HEAD_UNIT * max(1, round(size.width / size.heads / HEAD_UNIT))}"
        )
    return size
