"""One answer, here, with no machine: the continuation of a prompt, as it comes.

asr33 ask "The old telegraph office" --seed 7
fortune | asr33 ask --length 300
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

from model.base import RANGES, THREADS, Provider, Sampling
from model.errors import TextDamaged
from model.text import plain
from tools.given import standard_input
from tools.output import say

DEFAULTS = Sampling()
FRACTIONS = {"temperature", "top_p", "min_p", "repetition_penalty"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    within = {name: number(float if name in FRACTIONS else int, *RANGES[name]) for name in RANGES}
    add = parser.add_argument
    add("prompt", nargs="?", default="-", metavar="PROMPT", help="the text to go on from; none or -: standard input")
    add("--model", default="embedded", metavar="NAME|PATH", help="the model (%(default)s)")
    add("--seed", type=within["seed"], default=DEFAULTS.seed, metavar="N", help="same seed, same text (%(default)s)")
    add(
        "--max-tokens",
        type=within["max_tokens"],
        default=DEFAULTS.max_tokens,
        metavar="N",
        help="end there (%(default)s)",
    )
    add("--length", type=within["length"], metavar="N", help="end with the sentence that is N characters on")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again")
    temperature = within["temperature"]
    add("--temperature", type=temperature, default=DEFAULTS.temperature, metavar="T", help="0: no chance (%(default)s)")
    add(
        "--top-k",
        type=within["top_k"],
        default=DEFAULTS.top_k,
        metavar="K",
        help="the K likeliest; 0: all (%(default)s)",
    )
    add(
        "--top-p",
        type=within["top_p"],
        default=DEFAULTS.top_p,
        metavar="P",
        help="those that have P of it all (%(default)s)",
    )
    add(
        "--repetition-penalty",
        type=within["repetition_penalty"],
        default=DEFAULTS.repetition_penalty,
        metavar="R",
        help="1: none (%(default)s)",
    )
    add(
        "--min-p",
        type=within["min_p"],
        default=DEFAULTS.min_p,
        metavar="P",
        help="those at least P times as likely as the likeliest (%(default)s)",
    )
    add(
        "--no-repeat-ngram",
        type=within["no_repeat_ngram"],
        default=DEFAULTS.no_repeat_ngram,
        metavar="N",
        help="no N tokens in a row twice; 0: they may (%(default)s)",
    )
    add("--logprobs", action="store_true", help="on standard error, how likely each token was (natural logarithm)")
    add("--threads", type=number(int, *THREADS), default=0, metavar="N", help="0: as many as there are cores")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs; auto: a GPU if there is one")


def main(args: argparse.Namespace) -> int:
    from model import store

    sampling = Sampling(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
        max_tokens=args.max_tokens,
        length=args.length,
        min_p=args.min_p,
        no_repeat_ngram=args.no_repeat_ngram,
        logprobs=args.logprobs,
        stop=tuple(args.stop),
    )
    folder = store.find(args.model)
    prompt = _prompt(args.prompt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without curly quotes gets question marks
    _answer(folder, prompt, sampling, args.threads, args.device)
    return 0


def _answer(folder: Path, prompt: str, sampling: Sampling, threads: int, device: Provider) -> None:
    # No event loop: to load one takes a good part of the time to the first word.
    from model.loading import load
    from model.loop import generate

    session, words = load(folder, threads, device)
    if device != "auto":
        say(f"asr33: asked for {device}; the model runs on: {session.provider}")
    for step in generate(session, [words.end_of_text, *words.encode_lines(prompt)], sampling, words):
        sys.stdout.write(step.text)
        sys.stdout.flush()
        for token, likely in zip(step.tokens, step.logprobs, strict=False):
            say(f"{token:6} {likely:9.4f} {words.bytes_of(token).decode('utf-8', 'replace')!r}")
    sys.stdout.write("\n")
    sys.stdout.flush()


def _prompt(typed: str) -> str:
    """The prompt as typed or piped, without the blanks at its end: a model's words bring their own in front."""
    raw = os.fsencode(typed) if typed != "-" else standard_input("prompt", "say asr33 ask PROMPT")
    try:
        return plain(raw.decode("utf-8")).rstrip()
    except UnicodeDecodeError as error:
        raise TextDamaged(
            f"the prompt is not UTF-8 at byte {error.start}; convert it, as with iconv -t UTF-8"
        ) from None


def number(kind: type[float], least: float, most: float) -> Callable[[str], float]:
    """A parser for argparse that takes numbers of the kind from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} from {least:,} to {most:,}")
        return value

    return parse
