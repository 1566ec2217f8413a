"""`asr33 model pull`: one of the hub's models, fetched, checked by hash, rounded and judged, and ours from then on."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.build import download_folder, hub_repository
from model.build.hub_repository import HubAddress, RepositoryListing, RepositoryRefused
from model.errors import ModelDamaged, ModelError, ModelNotFound
from model.store import store
from tools.cli.output import print_message
from tools.model import make

if TYPE_CHECKING:
    from model.build.export import ExportOptions, OnStageProgress
    from model.build.import_weights import SourceModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        type=_parse_address,
        metavar="REPOSITORY",
        help=f"{', '.join(hub_repository.PINNED_MODELS)}, or ORG/NAME; with @REVISION a branch, a tag or a commit of it",
    )
    parser.add_argument("--name", type=make.parse_model_name, metavar="NAME", help="what it shall be called (as there)")
    make.add_quantisation_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ModelError: no such repository, no network, no room, no GPT-2, or one that is not good enough rounded."""
    make.reject_idle_options(args)
    name = args.name or _default_name(args.address)
    folder = store.models_folder() / name
    if folder.exists() and not args.replace:
        _require_same_model(folder, args.address, args.store_as)
        sys.stdout.write(f"{name}: is here already, from {args.address}; --replace makes it anew\n")
        return 0
    asked = _export_options(name, args)
    with download_folder.open_download_folder(store.models_folder(), name) as place:
        try:
            line = _pull(place, folder, args.address, asked)
        except KeyboardInterrupt:
            print_message(f"asr33: what came is kept; the same command goes on, and asr33 model remove {name} drops it")
            raise
        download_folder.delete_download_folder(place)
    sys.stdout.write(line)
    return 0


def _export_options(name: str, args: argparse.Namespace) -> ExportOptions:
    from model.build.export import ExportOptions
    from model.store.documents import read_documents

    documents = tuple(read_documents([args.text])) if args.text else ()
    return ExportOptions(name, args.store_as, args.block, documents, args.cache)


def _pull(download: Path, folder: Path, address: HubAddress, options: ExportOptions) -> str:
    from model.build import hub_client

    with make.show_progress() as progress:
        listing = hub_client.list_repository(address)
        _fetch_files(download, listing, progress)
        return make.make_model(_read_source(download, listing), folder, options, progress)


def _fetch_files(folder: Path, listing: RepositoryListing, on_progress: OnStageProgress) -> None:
    """The small files first: they tell whether the weights are worth the while."""
    from model.build import hub_client

    where = str(listing.address)
    get = partial(hub_client.fetch_file, listing.address)
    small = hub_repository.small_files(listing.files, where)
    download_folder.fetch_files(folder, small, listing, get, _report_fetching(on_progress))
    _require_gpt2(folder / hub_repository.CONFIG_FILE, where)
    index = (
        (folder / hub_repository.WEIGHTS_INDEX_FILE).read_text("utf-8", "replace")
        if hub_repository.WEIGHTS_INDEX_FILE in small
        else None
    )
    weights = hub_repository.weight_files(listing.files, index, where)
    download_folder.fetch_files(folder, weights, listing, get, _report_fetching(on_progress))


def _require_gpt2(config: Path, source_label: str) -> None:
    from model.build import import_weights

    try:
        import_weights.shape_from_config(json.loads(config.read_text("utf-8")), Path(source_label) / config.name)
    except (ValueError, RecursionError) as error:  # ModelDamaged among them
        told = str(error) if isinstance(error, ModelError) else f"{source_label}: its {config.name} is not JSON"
        raise RepositoryRefused(f"{told}; name another repository") from None


def _read_source(download_folder: Path, listing: RepositoryListing) -> SourceModel:
    """What was fetched, and where it is from, for the manifest."""
    from model.build import import_weights

    try:
        source = import_weights.read_source(download_folder)
    except (ModelDamaged, ModelNotFound) as error:
        raise RepositoryRefused(str(error).replace(str(download_folder), str(listing.address))) from None
    address, files = (
        listing.address,
        sorted(path.name for path in download_folder.iterdir() if path.name in listing.files),
    )
    training = {
        "repository": address.repository,
        "revision": address.revision,
        "fetched": {name: listing.files[name].digest for name in files},
        "licence": listing.licence,
    }
    return replace(source, name=address.repository, training=training)


def _report_fetching(on_progress: OnStageProgress) -> download_folder.OnProgress:
    return lambda name, there, whole: on_progress(f"fetching {name}", there, whole)


def _require_same_model(folder: Path, address: HubAddress, store_as: str) -> None:
    """Raises ModelUnwritten if what has the name is another model, or may be another by now."""
    training = store.read_manifest(folder).training
    told = (training.get("repository"), training.get("revision"), training.get("as"))
    if not address.is_pinned or told != (address.repository, address.revision, store_as):
        raise make.ModelUnwritten(f"{folder}: there is a model of that name; choose another --name, or --replace it")


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
        raise make.ModelUnwritten(f"{address}: {name!r} is no name for a model here; say --name") from None
