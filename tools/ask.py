"""Prints the continuation of a prompt as it is generated, without a machine.

asr33 ask "The old telegraph office" --seed 7
fortune | asr33 ask --length 300

It ends as at the machine: with the sentence after --length characters, after --max-tokens, and before the tag `Name:`
of another speaker of the model's corpus. --run-on lets it go on to --max-tokens.

The model is on this computer, or on a server whose URL --model names.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

from model.interface import ANSWER_LENGTH, PARAMETERS, THREAD_RANGE, DeviceChoice, Model, Sampling
from model.printable import drop_half_characters
from model.server_url import is_url
from model.store.documents import normalise_text
from tools.cli.arguments import add_sampling_arguments, ranged_number
from tools.cli.output import print_message, print_output
from tools.cli.stdin import read_stdin
from tools.cli.text_encoding import TextDecoder

MAX_PROMPT_BYTES = 1 << 20  # far more than any context
SERVER_ATTEMPTS = 3  # requests to a server that does not answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="?", default="-", metavar="PROMPT", help="the text to continue (default: -, standard input)")
    add("--model", metavar="NAME|PATH|URL", help="the model (default: the one in use)")
    add_sampling_arguments(parser, Sampling(length=ANSWER_LENGTH))
    stop_help = "end before this text; may be repeated (default: none)"
    add("--stop", action="append", default=[], metavar="TEXT", help=stop_help)
    run_on_help = "go on past the ends of sentences and the tags of speakers, to --max-tokens (default: off)"
    add("--run-on", action="store_true", help=run_on_help)
    logprobs_help = "print the log-probability of each token to standard error (default: off)"
    add("--logprobs", action="store_true", help=logprobs_help)
    threads_help = "processor threads (default 0: as many as there are cores)"
    add("--threads", type=ranged_number(int, *THREAD_RANGE), default=0, metavar="N", help=threads_help)
    device_help = "device of the model (default auto: a GPU if present)"
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help=device_help)


def main(args: argparse.Namespace) -> int:
    from model.store import default_model, store

    numbers = {name: getattr(args, name) for name in PARAMETERS}
    if args.run_on:
        numbers["length"] = None
    sampling = Sampling(**numbers, logprobs=args.logprobs, stop=tuple(args.stop))
    name = args.model or default_model.get_default()
    folder = None if is_url(name) else store.find_model(name)
    prompt = _read_prompt(args.prompt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the terminal's encoding may lack curly quotes
    if folder is None:
        _answer_from_server(name, prompt, sampling)
    else:
        if not args.run_on:
            sampling = replace(sampling, stop=(*sampling.stop, *_speaker_tags(folder, prompt)))
        _answer_locally(folder, prompt, sampling, args.threads, args.device)
    print_output("\n")
    return 0


def _answer_from_server(url: str, prompt: str, sampling: Sampling) -> None:
    """Answers from a server; the configuration says how to reach it."""
    import asyncio
    import logging

    from daemon import config, model_factory
    from model.interface import CompletionRequest

    logging.getLogger("asr33").setLevel(logging.CRITICAL)  # the error is reported once, at the end
    settings = replace(config.load_config({"model": {"name": url}}).model, otherwise=())
    template = CompletionRequest("", sampling)
    model = model_factory.open_remote_model(settings, template, max_tries=SERVER_ATTEMPTS)
    asyncio.run(_print_stream(model, prompt, sampling))


async def _print_stream(model: Model, prompt: str, sampling: Sampling) -> None:
    try:
        async for chunk in model.stream(prompt, sampling):
            print_output(drop_half_characters(chunk.text))
            if chunk.notice == "no server":
                print_message(
                    "asr33: no word from the server; the answer goes on when it sends one, and Ctrl-C ends it"
                )
            for token, logprob in zip(chunk.tokens, chunk.logprobs, strict=False):
                print_message(f"{token:6} {logprob:9.4f}")
    finally:
        await model.close()


def _speaker_tags(model_folder: Path, prompt: str) -> tuple[str, ...]:
    """Returns the tags of the model's speakers before which an answer to this prompt ends."""
    from model.store import store

    training = store.read_manifest(model_folder).training
    if not training.get("personas"):  # the usual case; the import would delay the first word
        return ()
    from model.dialogue import read_known_speakers, stop_sequences_for

    return stop_sequences_for(prompt, read_known_speakers(training)[0])


def _answer_locally(model_folder: Path, prompt: str, sampling: Sampling, threads: int, device: DeviceChoice) -> None:
    from model.engine_errors import prepare_for_libraries

    prepare_for_libraries()
    # Without asyncio, whose import would delay the first word.
    from model.generate.generate import generate
    from model.onnx.model_loader import load_model

    session, tokenizer = load_model(model_folder, threads, device)
    if device != "auto":
        print_message(f"asr33: asked for {device}; the model runs on: {session.device_label}")
    for step in generate(session, [tokenizer.end_of_text, *tokenizer.encode_lines(prompt)], sampling, tokenizer):
        print_output(step.text)
        for token, logprob in zip(step.tokens, step.logprobs, strict=False):
            print_message(f"{token:6} {logprob:9.4f} {_quote_token(tokenizer.bytes_of(token))}")


def _quote_token(data: bytes) -> str:
    """Returns the text of a token in quotes; a part of a character as bytes."""
    try:
        return repr(data.decode("utf-8"))
    except UnicodeDecodeError:
        return repr(data)


def _read_prompt(typed: str) -> str:
    """Returns the prompt without blanks at its end, since GPT-2's tokens begin with the blank. Raises ToolError."""
    raw = os.fsencode(typed) if typed != "-" else read_stdin("prompt", "say asr33 ask PROMPT", MAX_PROMPT_BYTES)
    text = TextDecoder("the prompt").decode(raw, final=True)
    return normalise_text(text).rstrip()
