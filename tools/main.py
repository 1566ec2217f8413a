"""`asr33`: finds the command, loads its file and no other, and turns errors into one line and an exit code.

Loads nothing before it can be interrupted well: what is imported in a function here is so for that reason.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType

COMMANDS = {
    "demo": "a virtual ASR-33 in this terminal, with the embedded model: nothing to set up",
    "run": "the daemon: one machine's line, one model, answers on paper",
    "virtual": "a virtual ASR-33 alone, its line at a path of your choice",
    "print": "files onto the paper, through the daemon or without one",
    "punch": "a text or a file onto paper tape, read back if you like",
    "calibrate": "find out what your machine is, with it and you",
    "ask": "one answer, here, with no machine",
    "serve": "one model for many machines, over the network",
    "corpus": "your texts, tweets and messages, made ready to train on",
    "train": "a model of your own from your texts",
    "model": "the models on this disk: pull one from the hub, list, show, use, verify, score, remove",
    "bench": "how fast a model is on this machine, and others beside it",
}

# What `pip install .` alone leaves out, and the extra that brings it.
_ENGINE_MODULES = ("onnxruntime", "onnx", "numpy", "tokenizers", "safetensors")
EXTRAS = {"torch": "train", "PIL": "png", "huggingface_hub": "hub", "pypdf": "corpus"}
EXTRAS |= (
    dict.fromkeys(_ENGINE_MODULES, "cpu") | dict.fromkeys(("starlette", "uvicorn", "h11"), "serve") | {"ray": "ray"}
)

NEEDS_STDOUT = ("ask", "bench", "calibrate", "corpus", "model")  # on standard output; the others need none, or refuse

USAGE = 2
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
COMMAND_PACKAGES = ("bench", "corpus", "model", "train")  # the other commands are one file each

INPUT_OUTPUT = 74  # EX_IOERR
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    try:
        _reserve_standard_fds()
        return _run_and_flush(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _redirect_stdout_to_null()
        return BROKEN_PIPE
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _report_error(f"{error.name} is not installed: in asr33's folder, pip install '.[{extra}]'", UNAVAILABLE)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is not None:
            return _report_error(str(error), code)
        if isinstance(error, OSError) and error.strerror:
            _redirect_stdout_to_null()
            return _report_error(f"{error.filename or 'the output'}: {error.strerror}", INPUT_OUTPUT)
        raise


def _run_and_flush(words: Sequence[str]) -> int:
    """Whatever stands against the output is known before the exit code is."""
    try:
        return _run_command(words[0], words[1:]) if words and words[0] in COMMANDS else _run_without_command(words)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def import_command(name: str) -> ModuleType:
    """Import the module of a command; it has `add_arguments(parser)` and `main(args)`."""
    import importlib

    return importlib.import_module(f"tools.{name}.command" if name in COMMAND_PACKAGES else f"tools.{name}")


def _run_command(command: str, words: Sequence[str]) -> int:
    import argparse

    module = import_command(command)
    parser = argparse.ArgumentParser(
        prog=f"asr33 {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(words)
    if sys.stdout is None and command in NEEDS_STDOUT:
        return _report_error("standard output is closed: give it a place that takes the answer", INPUT_OUTPUT)
    code: int = module.main(args)
    return code


def _run_without_command(words: Sequence[str]) -> int:
    import argparse
    import difflib

    parser = argparse.ArgumentParser(
        prog="asr33",
        description="A GPT-2 at a Teletype Model 33: it answers on paper, ten characters a second.",
        epilog="`asr33 COMMAND --help` tells more of each. The first to try: asr33 demo",
    )
    parser.add_argument("--version", action="store_true", help="say which asr33 this is")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, says in COMMANDS.items():
        commands.add_parser(name, help=says)
    if words and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(COMMANDS)}"
        return _report_error(f"no command {words[0]!r}; {hint}", USAGE)
    if parser.parse_args(words).version:
        from importlib.metadata import version

        if sys.stdout is None:
            return _report_error("standard output is closed: give it a place that takes the answer", INPUT_OUTPUT)
        sys.stdout.write(f"asr33 {version('asr33')}\n")
    else:
        parser.print_help(sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    return 0


def _reserve_standard_fds() -> None:
    """No line or file of ours gets the number of a standard stream that is closed, and what is meant for that."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)


def _redirect_stdout_to_null() -> None:
    """Python would complain once more when it flushes what nobody takes, at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report_error(message: str, exit_code: int) -> int:
    from tools.cli.output import print_message

    print_message(f"asr33: {message}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
