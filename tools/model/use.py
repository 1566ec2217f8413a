"""`asr33 model use`: the model that `run`, `demo` and `ask` take where nobody says.

It may be a server's, by its URL, and need not answer yet. It is remembered in `.in-use`, in the folder of the models.
--model, ASR33_MODEL_NAME and [model] name are over it.
"""

from __future__ import annotations

import argparse
import sys

from daemon import config
from daemon.errors import ConfigError
from model.store import default_model
from tools.cli.output import print_message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME|PATH|URL", help="the model; `embedded` goes back to ours")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError."""
    chosen = default_model.set_default(args.name)
    sys.stdout.write(f"{chosen}: run, demo and ask take it where nobody says\n")
    try:
        told = config.load_config({}).model.name
    except ConfigError:
        return 0  # whoever needs the settings will say so
    if told != chosen:
        print_message(
            f"asr33: but run and demo take {told}, by [model] name of the configuration, or by ASR33_MODEL_NAME"
        )
    return 0
