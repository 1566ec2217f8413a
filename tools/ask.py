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

from model.base import RANGES, THREADS, Model, Provider, Sampling
from model.errors import TextDamaged
from model.far.address import is_url
from model.text import plain
from tools.given import standard_input
from tools.output import say

DEFAULTS = Sampling()
TRIES = 3  # of a server that does not answer
FRACTIONS = {"temperature", "top_p", "min_p", "repetition_penalty"}

# What each is called in the help, and what it says there.
DRAWN = {
    "seed": ("N", "same seed, same text"),
    "max_tokens": ("N", "end there"),
    "temperature": ("T", "0: no chance"),
    "top_k": ("K", "the K likeliest; 0: all"),
    "top_p": ("P", "those that have P of it all"),
    "min_p": ("P", "those at least P times as likely as the likeliest"),
    "repetition_penalty": ("R", "1: none"),
    "no_repeat_ngram": ("N", "no N tokens in a row twice; 0: they may"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    within = {name: number(float if name in FRACTIONS else int, *RANGES[name]) for name in RANGES}
    add = parser.add_argument
    add("prompt", nargs="?", default="-", metavar="PROMPT", help="the text to go on from; none or -: standard input")
    add("--model", metavar="NAME|PATH|URL", help="the model (the one in use)")
    for name, (letter, says) in DRAWN.items():
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=within[name], default=getattr(DEFAULTS, name), metavar=letter, help=f"{says} (%(default)s)")
    add("--length", type=within["length"], metavar="N", help="end with the sentence that is N characters on")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again")
    add("--logprobs", action="store_true", help="on standard error, how likely each token was (natural logarithm)")
    add("--threads", type=number(int, *THREADS), default=0, metavar="N", help="0: as many as there are cores")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs; auto: a GPU if there is one")


def main(args: argparse.Namespace) -> int:
    from model import in_use

    drawn = {name: getattr(args, name) for name in DRAWN}
    sampling = Sampling(**drawn, logprobs=args.logprobs, length=args.length, stop=tuple(args.stop))
    name = args.model or in_use.name()
    folder = None if is_url(name) else _folder(name)
    prompt = _prompt(args.prompt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without curly quotes gets question marks
    if folder is None:
        _answer_from(name, prompt, sampling)
    else:
        _answer(folder, prompt, sampling, args.threads, args.device)
    return 0


def _folder(name: str) -> Path:
    from model import store

    return store.find(name)


def _answer_from(url: str, prompt: str, sampling: Sampling) -> None:
    """The same from a server; how to reach it stands in the settings of the daemon."""
    import asyncio
    import logging
    from dataclasses import replace

    from daemon import config, far
    from model.base import Ask

    logging.getLogger("asr33").setLevel(logging.CRITICAL)  # what is wrong will be told once, at the end
    settings = replace(config.load({"model": {"name": url}}).model, otherwise=())
    asyncio.run(_print(far.relay(settings, Ask("", sampling), tries=TRIES), prompt, sampling))


async def _print(model: Model, prompt: str, sampling: Sampling) -> None:
    try:
        async for piece in model.stream(prompt, sampling):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            for token, likely in zip(piece.tokens, piece.logprobs, strict=False):
                say(f"{token:6} {likely:9.4f}")
    finally:
        await model.close()
    sys.stdout.write("\n")
    sys.stdout.flush()


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
