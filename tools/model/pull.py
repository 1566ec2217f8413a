"""Download a model from the hub, check its hashes, quantise it and compare it with float32."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.build import download_folder, hub_repository
from model.build.hub_repository import DownloadRejected, HubAddress, RepositoryListing
from model.errors import ModelDamaged, ModelError, ModelNotFound
from model.store import store
from tools.cli.errors import ToolError
from tools.cli.output import print_message, print_output
from tools.model import make

if TYPE_CHECKING:
    from model.build.export import ExportOptions, OnStageProgress
    from model.build.import_weights import SourceModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names, add = ", ".join(hub_repository.PINNED_MODELS), parser.add_argument
    add(
        "address",
        type=_parse_address,
        metavar="REPOSITORY",
        help=f"{names}, or ORG/NAME; @REVISION adds a branch, a tag or a commit",
    )
    add("--name", type=make.parse_model_name, metavar="NAME", help="name of the new model (default: NAME of ORG/NAME)")
    make.add_quantisation_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ModelError and ToolError."""
    make.reject_unused_options(args)
    name = args.name or _default_name(args.address)
    folder = store.models_folder() / name
    if folder.exists() and not args.replace:
        _require_same_model(folder, args.address, args.store_as)
        print_output(f"{name}: is here already, from {args.address}; --replace makes it again\n")
        return 0
    options = make.export_options(name, args)
    with download_folder.open_download_folder(store.models_folder(), name) as download:
        try:
            line = _pull(download, folder, args.address, options)
        except KeyboardInterrupt:
            remedy = f"the same command continues, and asr33 model remove {name} deletes it"
            print_message(f"asr33: the downloaded part is kept; {remedy}")
            raise
        download_folder.delete_download_folder(download)
    print_output(line)
    return 0


def _pull(download: Path, folder: Path, address: HubAddress, options: ExportOptions) -> str:
    from model.build import hub_client

    with make.show_progress() as on_progress:
        listing = hub_client.list_repository(address)
        _fetch_files(download, listing, on_progress)
        return make.make_model(_read_source(download, listing), folder, options, on_progress)


def _fetch_files(folder: Path, listing: RepositoryListing, on_progress: OnStageProgress) -> None:
    """Fetches the small files first: they tell whether asr33 can use the weights."""
    from model.build import hub_client

    def report(name: str, done: int, total: int) -> None:
        on_progress(f"fetching {name}", done, total)

    where, index_file = str(listing.address), hub_repository.WEIGHTS_INDEX_FILE
    fetch_file = partial(hub_client.fetch_file, listing.address)
    small = hub_repository.small_files(listing.files, where)
    download_folder.fetch_files(folder, small, listing, fetch_file, report)
    _require_gpt2(folder / hub_repository.CONFIG_FILE, where)
    index = (folder / index_file).read_text("utf-8", "replace") if index_file in small else None
    weights = hub_repository.weight_files(listing.files, index, where)
    download_folder.fetch_files(folder, weights, listing, fetch_file, report)


def _require_gpt2(config: Path, source_label: str) -> None:
    from model.build import import_weights

    try:
        import_weights.shape_from_config(json.loads(config.read_text("utf-8")), Path(source_label) / config.name)
    except (ValueError, RecursionError) as error:  # ModelDamaged is a ValueError
        problem = str(error) if isinstance(error, ModelError) else f"{source_label}: its {config.name} is not JSON"
        raise DownloadRejected(f"{problem}; name another repository") from None


def _read_source(download: Path, listing: RepositoryListing) -> SourceModel:
    """The downloaded model; its origin goes into the manifest."""
    from model.build import import_weights

    address = listing.address
    try:
        source = import_weights.read_source(download)
    except (ModelDamaged, ModelNotFound) as error:
        raise DownloadRejected(str(error).replace(str(download), str(address))) from None
    names = sorted(path.name for path in download.iterdir() if path.name in listing.files)
    training = {
        "repository": address.repository,
        "revision": address.revision,
        "fetched": {name: listing.files[name].digest for name in names},
        "licence": listing.licence,
    }
    return replace(source, name=address.repository, training=training)


def _require_same_model(folder: Path, address: HubAddress, store_as: str) -> None:
    """Raises ToolError if the model of this name is another, or if the revision may have changed since."""
    training = store.read_manifest(folder).training
    origin = (training.get("repository"), training.get("revision"), training.get("as"))
    if not address.is_pinned or origin != (address.repository, address.revision, store_as):
        raise make.name_is_taken(folder)


def _parse_address(text: str) -> HubAddress:
    try:
        return hub_repository.parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _default_name(address: HubAddress) -> str:
    name = hub_repository.model_name_of(address)
    try:
        return make.parse_model_name(name)
    except argparse.ArgumentTypeError:
        raise ToolError(f"{address}: {name!r} is no name for a model here; say --name", "create") from None
