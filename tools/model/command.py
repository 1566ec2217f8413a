"""The models on this disk: list, show, pull, make, verify, index, score and remove them, and set the default."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from model.errors import ModelError
from model.server_url import is_url
from model.store import default_model, store
from tools.cli.consent import confirm
from tools.cli.output import print_message, print_output
from tools.cli.table import format_table
from tools.model import index, make, pull, score, show

COLUMNS = ("NAME", "PARAMETERS", "MB", "CONTEXT", "BITS/BYTE", "WHERE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    action = actions.add_parser("list", help="list the models", description="List the models on this disk.")
    action.add_argument("--json", action="store_true", help="print JSON (default: a table)")
    action.set_defaults(action=_list_models)

    action = actions.add_parser("show", help="show all about one model", description=show.__doc__)
    show.add_arguments(action)
    action.set_defaults(action=show.main)

    action = actions.add_parser("use", help="set the default model", description=_use_model.__doc__)
    action.add_argument("name", metavar="NAME|PATH|URL", help="the model; `embedded` is the one that asr33 brings")
    action.set_defaults(action=_use_model)

    action = actions.add_parser("verify", help="check files by hash", description="Check every file by its hash.")
    action.add_argument("names", nargs="*", metavar="NAME|PATH", help="the models (default: all)")
    action.set_defaults(action=_verify_models)

    action = actions.add_parser("make", help="quantise a model, or import the hub's files", description=make.__doc__)
    make.add_arguments(action)
    action.set_defaults(action=make.main)

    action = actions.add_parser("pull", help="download a model from the hub, and make it", description=pull.__doc__)
    pull.add_arguments(action)
    action.set_defaults(action=pull.main)

    action = actions.add_parser("remove", help="delete a model", description=_remove_model.__doc__)
    action.add_argument("name", metavar="NAME", help="the model")
    action.add_argument("--yes", action="store_true", help="delete without asking (default: ask)")
    action.set_defaults(action=_remove_model)

    action = actions.add_parser("index", help="make the index for .COPIED", description=index.__doc__)
    index.add_arguments(action)
    action.set_defaults(action=index.main)

    action = actions.add_parser("score", help="measure bits per byte of a text", description=score.__doc__)
    score.add_arguments(action)
    action.set_defaults(action=score.main)


def main(args: argparse.Namespace) -> int:
    code: int = args.action(args)
    return code


def _list_models(args: argparse.Namespace) -> int:
    entries, default = store.list_models(), _configured_model()
    if default is None:
        default = default_model.get_default()
    url = default if is_url(default) else ""
    defaults = {entry.name: not url and default_model.is_default(entry.folder) for entry in entries}
    if args.json:
        items = [asdict(entry) | {"folder": str(entry.folder), "in_use": defaults[entry.name]} for entry in entries]
        _print_line(json.dumps(items, indent=2))
        return 0
    if not entries:
        _print_line(f"no models in {store.models_folder()}; pull one: asr33 model pull gpt2")
    rows = [_format_row(entry, defaults[entry.name]) for entry in entries]
    if url:
        rows.append((url, "-", "-", "-", "-", "a server  (in use)"))
    for line in format_table(COLUMNS, rows, left=(0, -1)) if rows else ():
        _print_line(line)
    return 0


def _configured_model() -> str | None:
    """The default model, by the configuration; None if that is invalid, which the commands that read it report."""
    from daemon import config
    from daemon.errors import ConfigError

    try:
        return config.load_config({}).model.name
    except ConfigError:
        return None


def _format_row(entry: store.ModelEntry, is_default: bool) -> tuple[str, ...]:
    in_use = "  (in use)" if is_default else ""
    manifest = entry.manifest
    if manifest is None:
        return (entry.name, "-", "-", "-", "-", entry.fault + in_use)
    parameters = f"{manifest.shape.parameters / 1e6:.1f} M"
    size = f"{manifest.total_bytes / 1e6:.1f}"
    bits = manifest.training.get("bits_per_byte")
    bits_per_byte = f"{bits:.3f}" if isinstance(bits, int | float) else "-"
    return (entry.name, parameters, size, str(manifest.shape.n_positions), bits_per_byte, f"{entry.folder}{in_use}")


def _use_model(args: argparse.Namespace) -> int:
    """Sets the default model of `run`, `demo`, `ask` and `serve`.

    It may be the URL of a server, which need not answer yet. `.in-use` in the models' folder stores it. --model,
    ASR33_MODEL_NAME and [model] name override it.
    """
    chosen = default_model.set_default(args.name)
    _print_line(f"{chosen}: it is the default model of run, demo and ask")
    if (configured := _configured_model()) not in (None, chosen):
        source = "by [model] name of the configuration, or by ASR33_MODEL_NAME"
        print_message(f"asr33: but run and demo take {configured}, {source}")
    return 0


def _verify_models(args: argparse.Namespace) -> int:
    # The embedded model is always checked: asr33 is incomplete without it.
    listed = [entry.name for entry in store.list_models()]
    code = 0
    for name in args.names or [store.EMBEDDED, *(name for name in listed if name != store.EMBEDDED)]:
        try:
            folder = store.find_model(name)
            store.verify_model(folder)
        except ModelError as error:
            print_message(f"asr33: {error}")
            code = code or error.exit_code
        else:
            _print_line(f"{name if name in listed else store.name_of_folder(folder)}: verified")
    return code


def _remove_model(args: argparse.Namespace) -> int:
    """Deletes a model, and the files of an unfinished pull of it."""
    folders = store.find_removable_folders(args.name)
    is_default = args.name == default_model.get_default() or default_model.is_default(store.models_folder() / args.name)
    summary = f"{args.name}: {store.count_bytes(folders) / 1e6:.1f} MB in {store.models_folder()}"
    if is_default:
        summary += "; it is the default model, and `embedded` takes its place"
    if not args.yes and not confirm(summary, "Remove it?"):
        print_message("asr33: nothing is removed")
        return 0
    store.remove_model(args.name)
    if is_default:
        default_model.set_default(store.EMBEDDED)
    _print_line(f"{args.name}: removed{', and the embedded model is the default' if is_default else ''}")
    return 0


def _print_line(line: str) -> None:
    print_output(line + "\n")
