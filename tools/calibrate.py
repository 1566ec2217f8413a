"""Finds out what your machine is, with you as its eyes: patterns are printed, and you say what you see.

Answer at the machine's own keyboard or in this terminal: Y or N and RETURN, ? to see it again, B to take the last
answer back. It takes some ten minutes and two feet of paper. What is found - columns, carriage, wheel, options, how
BREAK comes - is written as machine.toml, which all other commands then read. Ctrl-C writes nothing. A daemon at that
line must be stopped first.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from daemon import paths
from daemon.build import open_and_test_line
from daemon.config import Config
from daemon.errors import ConfigError
from drivers.clock import CHARACTER_S, WallClock
from drivers.errors import EndOfInput
from drivers.profile import profile_to_toml
from tools.calibration import Calibration, CalibrationResult
from tools.cli.output import OutputLost, print_message, write_atomic
from tools.cli.terminal import PromptAbandoned, read_terminal_line, run_until_interrupted
from tools.print import config_from_line_arguments
from tools.run import add_machine_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--line", metavar="PORT", help="the machine's line (default: the configured one)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there (default: machine.toml of this user)")
    add_machine_argument(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file over those of the system and the user")


def main(args: argparse.Namespace) -> int:
    """Raises ConfigError, DriverError, OutputLost, Left."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    chosen = config_from_line_arguments(args)
    if chosen.line.port is None:
        raise ConfigError("no line to calibrate: name it with --line /dev/serial/by-id/...")
    return run_until_interrupted(_calibrate(chosen, chosen.line.port, resolve_output_path(args.output)))


def resolve_output_path(requested: Path | None) -> Path:
    """Where it goes. Raises ConfigError, OutputLost, before anybody has answered anything."""
    path = requested
    if path is None:
        if (own := paths.user_config_folder()) is None:
            raise ConfigError("this user has no home to keep machine.toml in: name a file with --output")
        path = own / paths.MACHINE_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputLost(f"{path} cannot be written ({error.strerror}): name another with --output") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputLost(f"{path} cannot be written: name a file in a folder of yours with --output")
    return path


async def _calibrate(chosen: Config, port: str, path: Path) -> None:
    line, _ = await open_and_test_line(chosen, port, CHARACTER_S)
    print_message(f"asr33: it prints at {port}; answer there or here; Ctrl-C leaves, and writes nothing")
    try:
        found = await Calibration(line, WallClock(), chosen.machine, read_terminal_line, print_message).run()
    except EndOfInput:
        raise PromptAbandoned("left by ^D at the machine: nothing is written") from None
    finally:
        await line.close()
    print_result(found)
    write_atomic(path, profile_to_toml(found.profile).encode())
    print_message(f"asr33: written to {path}")


def print_result(result: CalibrationResult) -> None:
    """Before it is written: what took ten minutes to find stands here even if the disk is full."""
    sys.stdout.write(profile_to_toml(result.profile))
    print_message(f"asr33: duplex {result.duplex or 'unknown'}, keyboard parity {result.keyboard_parity or 'unknown'}")
    if result.answerback:
        print_message(f"asr33: the answerback says {result.answerback.hex(' ')}")
