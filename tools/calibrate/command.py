"""Finds out the properties of your machine: it prints patterns, and you say what you see.

Answer at the machine's keyboard or in this terminal: Y or N and RETURN, ? repeats the pattern, B takes the last answer
back. It takes ten minutes and two feet of paper. The result (columns, carriage, type wheel, options, the route of
BREAK) is written to machine.toml, which all other commands read. Ctrl-C writes nothing. Stop a daemon at that line
first.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from daemon import paths
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.line_connection import open_and_test_line
from drivers.clock import CHARACTER_S, WallClock
from drivers.errors import EndOfInput
from drivers.profile import profile_to_toml
from model.log_format import log_to_stderr
from tools.calibrate.calibration import Calibration, CalibrationResult
from tools.cli.arguments import add_config_argument, add_machine_argument
from tools.cli.errors import ToolError
from tools.cli.output import print_message, write_atomic
from tools.cli.prompt import PromptAbandoned, read_terminal_line
from tools.cli.signals import run_until_interrupted
from tools.print import config_from_line_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--line", metavar="PORT", help="the machine's line (default: the configured one)")
    add("--output", type=Path, metavar="FILE", help="the new profile (default: machine.toml of this user)")
    add_machine_argument(parser)
    add_config_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ConfigError, DriverError, ToolError."""
    log_to_stderr(logging.INFO)
    chosen = config_from_line_arguments(args)
    if chosen.line.port is None:
        raise ConfigError("no line to calibrate: name it with --line /dev/serial/by-id/...")
    return run_until_interrupted(_calibrate(chosen, chosen.line.port, resolve_output_path(args.output)))


def resolve_output_path(requested: Path | None) -> Path:
    """Returns the path of the new profile and checks it before the first question. Raises ConfigError, ToolError."""
    path = requested
    if path is None:
        if (folder := paths.user_config_folder()) is None:
            raise ConfigError("this user has no home to keep machine.toml in: name a file with --output")
        path = folder / paths.MACHINE_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{path} cannot be written ({error.strerror}): name another with --output"
        raise ToolError(message, "output") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ToolError(f"{path} cannot be written: name a file in a folder of yours with --output", "output")
    return path


async def _calibrate(chosen: Config, port: str, path: Path) -> None:
    line, *_ = await open_and_test_line(chosen, port, CHARACTER_S)
    print_message(f"asr33: the patterns are printed at {port}; answer there or here; Ctrl-C leaves and writes nothing")
    try:
        result = await Calibration(line, WallClock(), chosen.machine, read_terminal_line, print_message).run()
    except EndOfInput:
        raise PromptAbandoned("left by ^D at the machine: no profile is written") from None
    finally:
        await line.close()
    print_result(result)
    write_atomic(path, profile_to_toml(result.profile).encode())
    print_message(f"asr33: written to {path}")


def print_result(result: CalibrationResult) -> None:
    """Prints the result before the file is written, so that a full disk does not lose ten minutes of work."""
    sys.stdout.write(profile_to_toml(result.profile))
    print_message(f"asr33: duplex {result.duplex or 'unknown'}, keyboard parity {result.keyboard_parity or 'unknown'}")
    if result.answerback:
        print_message(f"asr33: the answerback says {result.answerback.hex(' ')}")
