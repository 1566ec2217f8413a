"""`asr33 model remove`: a model off this disk, with what a pull of it may have left."""

from __future__ import annotations

import argparse
import sys

from model.errors import ModelError
from model.store import default_model, removal, store
from tools.cli.output import print_message


class NotAsked(ModelError):
    """Nobody is there to say yes."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the model")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def main(args: argparse.Namespace) -> int:
    """Raises ModelError."""
    there = removal.find_model_folders(args.name)
    used = default_model.get_default() == args.name or default_model.is_default(store.models_folder() / args.name)
    what = f"{args.name}: {removal.total_bytes(there) / 1e6:.1f} MB in {store.models_folder()}"
    if used:
        what += "; it is the one in use, and the embedded one will be"
    if not args.yes and not _confirm(what):
        print_message("asr33: it stays")
        return 0
    removal.remove_model(args.name)
    if used:
        default_model.set_default(store.EMBEDDED)
    sys.stdout.write(f"{args.name}: removed{', and the embedded model is in use' if used else ''}\n")
    return 0


def _confirm(summary: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise NotAsked(f"{summary}; to remove it with nobody to ask, say --yes")
    sys.stderr.write(f"{summary}. Remove it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
