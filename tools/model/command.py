"""The models on this disk: pull one from the hub, list, show, verify, score and remove them, say which to use."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from model.errors import ModelError
from tools.model import make, pull, remove, score, show, use

if TYPE_CHECKING:
    from model.store.store import ModelEntry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="the models there are", description="The models there are.")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(action=_list_models)

    showing = actions.add_parser("show", help="all about one of them", description=show.__doc__)
    show.add_arguments(showing)
    showing.set_defaults(action=show.main)

    using = actions.add_parser("use", help="take it where nobody says", description=use.__doc__)
    use.add_arguments(using)
    using.set_defaults(action=use.main)

    verifying = actions.add_parser("verify", help="check files by hash", description="Check every file by its hash.")
    verifying.add_argument("names", nargs="*", metavar="NAME|PATH", help="the models (all)")
    verifying.set_defaults(action=_verify_models)

    making = actions.add_parser(
        "make",
        help="a model in fewer bits, or from the hub's files",
        description="Make a model from the hub's files, or from one of ours: rounded, judged against float32, written.",
    )
    make.add_arguments(making)
    making.set_defaults(action=make.main)

    pulling = actions.add_parser("pull", help="fetch one from the hub, and make it", description=pull.__doc__)
    pull.add_arguments(pulling)
    pulling.set_defaults(action=pull.main)

    removing = actions.add_parser("remove", help="off this disk", description=remove.__doc__)
    remove.add_arguments(removing)
    removing.set_defaults(action=remove.main)

    scoring = actions.add_parser("score", help="bits per byte of a text", description=score.__doc__)
    score.add_arguments(scoring)
    scoring.set_defaults(action=score.main)


def main(args: argparse.Namespace) -> int:
    code: int = args.action(args)
    return code


def _list_models(args: argparse.Namespace) -> int:
    from model.store import default_model, store

    models, elsewhere = store.list_models(), _remote_default()
    used = {listed.name: not elsewhere and default_model.is_default(listed.folder) for listed in models}
    if args.json:
        told = [asdict(one) | {"folder": str(one.folder), "in_use": used[one.name]} for one in models]
        _print_line(json.dumps(told, indent=2))
        return 0
    if not models:
        _print_line(f"no models in {store.models_folder()}; pull one: asr33 model pull gpt2")
    rows = list(map(_format_row, models))
    if elsewhere:
        used[elsewhere] = True
        rows.append((elsewhere, "-", "-", "-", "-", "a server"))
    if rows:
        rows.insert(0, ("NAME", "PARAMETERS", "MB", "CONTEXT", "BITS/BYTE", "WHERE"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers, where in rows:
        middle = "  ".join(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False))
        _print_line(f"{name.ljust(widths[0])}  {middle}  {where}{'  (in use)' if used.get(name) else ''}")
    return 0


def _remote_default() -> str:
    """The URL of the server whose model answers where nobody says; empty if it is one of this disk."""
    from daemon import config
    from daemon.errors import ConfigError
    from model.client.server_url import is_url
    from model.store import default_model

    try:
        name = config.load_config({}).model.name
    except ConfigError:
        name = default_model.get_default()
    return name if is_url(name) else ""


def _format_row(entry: ModelEntry) -> tuple[str, ...]:
    manifest = entry.manifest
    if manifest is None:
        return (entry.name, "-", "-", "-", "-", entry.fault)
    parameters = f"{manifest.shape.parameters / 1e6:.1f} M"
    size = f"{sum(record.bytes for record in manifest.files.values()) / 1e6:.1f}"
    bits = manifest.training.get("bits_per_byte")
    score = f"{bits:.3f}" if isinstance(bits, int | float) else "-"
    return (entry.name, parameters, size, str(manifest.shape.n_positions), score, str(entry.folder))


def _verify_models(args: argparse.Namespace) -> int:
    from model.store import store

    # The embedded model always: asr33 is not whole without it.
    there = [listed.name for listed in store.list_models()]
    code = 0
    for name in args.names or [store.EMBEDDED, *(name for name in there if name != store.EMBEDDED)]:
        try:
            folder = store.find_model(name)
            store.verify_model(folder)
        except ModelError as error:
            sys.stderr.write(f"asr33: {error}\n")
            code = code or error.exit_code
        else:
            _print_line(f"{name if name in there else store.name_of_folder(folder)}: whole")
    return code


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
