"""`asr33`: finds the command, imports its module only, and turns errors into one line and an exit code.

Imports are inside the functions, so that Ctrl-C during an import ends the program without a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.errors import ModelError

COMMANDS = {
    "demo": "shows a virtual ASR-33 in this terminal, with the embedded model: nothing to set up",
    "run": "the daemon: reads the line of one machine and prints the answers of a model",
    "virtual": "a virtual ASR-33 alone, with its line at a path of your choice",
    "print": "prints files on the paper, through the running daemon or without one",
    "spool": "lists and changes the jobs that wait until the operator leaves the machine alone",
    "mentions": "shows the accounts whose mentions the daemon answers, and what would be answered",
    "roll": "counts the paper and the ribbon: say when they are new",
    "punch": "punches a text or a file on paper tape, and reads it back if you like",
    "calibrate": "finds out the properties of your machine, with your help",
    "ask": "prints one answer here, without a machine",
    "serve": "serves one model to many machines over the network",
    "corpus": "prepares your texts, tweets and messages for training",
    "train": "trains a model of your own on your texts",
    "model": "lists, pulls, makes, verifies, scores and removes the models on this disk",
    "log": "lists, shows, searches and forgets the sessions of the past",
    "install": "puts systemd units, udev rule, manual pages and completion into the system",
    "uninstall": "takes away what asr33 install wrote",
    "doctor": "finds out what is wrong with the line, the daemon, the model or the server, and how to mend it",
    "bench": "measures how fast a model is on this machine, beside other engines",
}

# The modules that `pip install .` alone does not install, and the extras that do.
_ENGINE_MODULES = ("onnxruntime", "onnx", "numpy", "tokenizers", "safetensors")
EXTRAS = {"torch": "train", "PIL": "png", "huggingface_hub": "hub", "pypdf": "corpus", "ray": "ray"}
EXTRAS |= dict.fromkeys(_ENGINE_MODULES, "cpu") | dict.fromkeys(("starlette", "uvicorn", "h11"), "serve")

# They need no linear algebra of numpy, whose threads take memory.
WITHOUT_BLAS_THREADS = ("ask", "calibrate", "demo", "print", "punch", "roll", "run", "serve", "spool", "virtual")
NEEDS_STDOUT = (
    "ask",
    "bench",
    "calibrate",
    "corpus",
    "doctor",
    "log",
    "mentions",
    "model",
    "spool",
)  # the others need none, or check it themselves
COMMAND_PACKAGES = (
    "bench",
    "calibrate",
    "corpus",
    "doctor",
    "install",
    "log",
    "model",
    "train",
    "virtual",
)  # every other command is one file
WITH_LAZY_ACTIONS = ("log",)  # their add_arguments takes the action, and imports no other

STDOUT_CLOSED = "standard output is closed: redirect it to a file or a terminal"
USAGE = 2
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
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
    except SystemExit:
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        code = getattr(error, "exit_code", None)
        if code is not None:
            return _report_error(str(error), code)
        if (known := _engine_error_for(error)) is not None:
            return _report_error(str(known), known.exit_code)
        if isinstance(error, OSError) and error.strerror:
            _redirect_stdout_to_null()
            return _report_error(f"{error.filename or 'the output'}: {error.strerror}", INPUT_OUTPUT)
        raise


def _run_and_flush(words: Sequence[str]) -> int:
    """Runs the command and flushes standard output, so that a write error gives an exit code."""
    try:
        return _run_command(words[0], words[1:]) if words and words[0] in COMMANDS else _run_without_command(words)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def import_command(name: str) -> ModuleType:
    """Imports the module of a command; it has `add_arguments(parser)` and `main(args)`."""
    import importlib

    return importlib.import_module(f"tools.{name}.command" if name in COMMAND_PACKAGES else f"tools.{name}")


def _run_command(command: str, words: Sequence[str]) -> int:
    import argparse

    if command in WITHOUT_BLAS_THREADS:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    module = import_command(command)
    parser = argparse.ArgumentParser(
        prog=f"asr33 {command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if command in WITH_LAZY_ACTIONS:
        module.add_arguments(parser, *words[:1])
    else:
        module.add_arguments(parser)
    args = parser.parse_args(words)
    if sys.stdout is None and command in NEEDS_STDOUT:
        return _report_error(STDOUT_CLOSED, INPUT_OUTPUT)
    code: int = module.main(args)
    return code


def _run_without_command(words: Sequence[str]) -> int:
    import argparse
    import difflib

    parser = argparse.ArgumentParser(
        prog="asr33",
        description="A GPT-2 at a Teletype Model 33: it answers on paper, ten characters a second.",
        epilog="`asr33 COMMAND --help` describes a command. Try first: asr33 demo",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    if words and not words[0].startswith("-"):
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the commands are {', '.join(COMMANDS)}"
        return _report_error(f"no command {words[0]!r}; {hint}", USAGE)
    if not parser.parse_args(words).version:
        parser.print_help(sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    from importlib.metadata import version

    if sys.stdout is None:
        return _report_error(STDOUT_CLOSED, INPUT_OUTPUT)
    sys.stdout.write(f"asr33 {version('asr33')}\n")
    return 0


def _reserve_standard_fds() -> None:
    """Opens closed standard descriptors, so that no file or line gets their numbers and their output."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)


def _redirect_stdout_to_null() -> None:
    """Prevents a second error message when Python flushes standard output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _engine_error_for(error: BaseException) -> ModelError | None:
    from model.engine_errors import engine_error_for

    return engine_error_for(error)


def _report_error(message: str, exit_code: int) -> int:
    from tools.cli.output import print_message

    print_message(f"asr33: {message}")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
