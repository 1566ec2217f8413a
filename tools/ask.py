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

from model.client.server_url import is_url
from model.errors import TextDamaged
from model.interface import SAMPLING_RANGES, THREAD_RANGE, DeviceChoice, Model, Sampling
from model.store.documents import normalise_text
from tools.cli.output import print_message
from tools.cli.stdin import read_stdin

SAMPLING_DEFAULTS = Sampling()
SERVER_ATTEMPTS = 3  # of a server that does not answer
FLOAT_PARAMETERS = {"temperature", "top_p", "min_p", "repetition_penalty"}

# What each is called in the help, and what it says there.
SAMPLING_FLAGS = {
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
    within = {
        name: ranged_number(float if name in FLOAT_PARAMETERS else int, *SAMPLING_RANGES[name])
        for name in SAMPLING_RANGES
    }
    add = parser.add_argument
    add("prompt", nargs="?", default="-", metavar="PROMPT", help="the text to go on from; none or -: standard input")
    add("--model", metavar="NAME|PATH|URL", help="the model (the one in use)")
    for name, (letter, says) in SAMPLING_FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        add(
            flag,
            type=within[name],
            default=getattr(SAMPLING_DEFAULTS, name),
            metavar=letter,
            help=f"{says} (%(default)s)",
        )
    add("--length", type=within["length"], metavar="N", help="end with the sentence that is N characters on")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again")
    add("--logprobs", action="store_true", help="on standard error, how likely each token was (natural logarithm)")
    add(
        "--threads",
        type=ranged_number(int, *THREAD_RANGE),
        default=0,
        metavar="N",
        help="0: as many as there are cores",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs; auto: a GPU if there is one")


def main(args: argparse.Namespace) -> int:
    from model.store import default_model

    drawn = {name: getattr(args, name) for name in SAMPLING_FLAGS}
    sampling = Sampling(**drawn, logprobs=args.logprobs, length=args.length, stop=tuple(args.stop))
    name = args.model or default_model.get_default()
    folder = None if is_url(name) else _find_model(name)
    prompt = _read_prompt(args.prompt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without curly quotes gets question marks
    if folder is None:
        _answer_from_server(name, prompt, sampling)
    else:
        _answer_locally(folder, prompt, sampling, args.threads, args.device)
    return 0


def _find_model(name: str) -> Path:
    from model.store import store

    return store.find_model(name)


def _answer_from_server(url: str, prompt: str, sampling: Sampling) -> None:
    """The same from a server; how to reach it stands in the settings of the daemon."""
    import asyncio
    import logging
    from dataclasses import replace

    from daemon import config, remote_model
    from model.interface import CompletionRequest

    logging.getLogger("asr33").setLevel(logging.CRITICAL)  # what is wrong will be told once, at the end
    settings = replace(config.load_config({"model": {"name": url}}).model, otherwise=())
    asyncio.run(
        _print_stream(
            remote_model.open_remote_model(settings, CompletionRequest("", sampling), max_tries=SERVER_ATTEMPTS),
            prompt,
            sampling,
        )
    )


async def _print_stream(model: Model, prompt: str, sampling: Sampling) -> None:
    try:
        async for piece in model.stream(prompt, sampling):
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            for token, likely in zip(piece.tokens, piece.logprobs, strict=False):
                print_message(f"{token:6} {likely:9.4f}")
    finally:
        await model.close()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _answer_locally(model_folder: Path, prompt: str, sampling: Sampling, threads: int, device: DeviceChoice) -> None:
    # No event loop: to load one takes a good part of the time to the first word.
    from model.generate.generate import generate
    from model.generate.loading import load_model

    session, words = load_model(model_folder, threads, device)
    if device != "auto":
        print_message(f"asr33: asked for {device}; the model runs on: {session.device_label}")
    for step in generate(session, [words.end_of_text, *words.encode_lines(prompt)], sampling, words):
        sys.stdout.write(step.text)
        sys.stdout.flush()
        for token, likely in zip(step.tokens, step.logprobs, strict=False):
            print_message(f"{token:6} {likely:9.4f} {words.bytes_of(token).decode('utf-8', 'replace')!r}")
    sys.stdout.write("\n")
    sys.stdout.flush()


def _read_prompt(typed: str) -> str:
    """The prompt as typed or piped, without the blanks at its end: a model's words bring their own in front."""
    raw = os.fsencode(typed) if typed != "-" else read_stdin("prompt", "say asr33 ask PROMPT")
    try:
        return normalise_text(raw.decode("utf-8")).rstrip()
    except UnicodeDecodeError as error:
        raise TextDamaged(
            f"the prompt is not UTF-8 at byte {error.start}; convert it, as with iconv -t UTF-8"
        ) from None


def ranged_number(kind: type[float], minimum: float, maximum: float) -> Callable[[str], float]:
    """A parser for argparse that takes numbers of the kind from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} from {minimum:,} to {maximum:,}")
        return value

    return parse
