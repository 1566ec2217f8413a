"""`asr33 model pull`: one of the hub's models, fetched, checked by hash, rounded and judged, and ours from then on."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model import fetched, repository, store
from model.errors import ModelDamaged, ModelError, ModelNotFound
from model.repository import Address, Listing, RepositoryRefused
from tools import make_model
from tools.output import say

if TYPE_CHECKING:
    from model.export import Asked, Progress
    from model.hub import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        type=_address,
        metavar="REPOSITORY",
        help=f"{', '.join(repository.PINNED)}, or ORG/NAME; with @REVISION a branch, a tag or a commit of it",
    )
    parser.add_argument("--name", type=make_model.as_name, metavar="NAME", help="what it shall be called (as there)")
    make_model.add_rounding_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Raises ModelError: no such repository, no network, no room, no GPT-2, or one that is not good enough rounded."""
    make_model.require_rounded(args)
    name = args.name or _own_name(args.address)
    folder = store.home() / name
    if folder.exists() and not args.replace:
        _require_same(folder, args.address, args.store_as)
        sys.stdout.write(f"{name}: is here already, from {args.address}; --replace makes it anew\n")
        return 0
    asked = _asked(name, args)
    with fetched.place(store.home(), name) as place:
        try:
            line = _pulled(place, folder, args.address, asked)
        except KeyboardInterrupt:
            say(f"asr33: what came is kept; the same command goes on, and asr33 model remove {name} drops it")
            raise
        fetched.clear(place)
    sys.stdout.write(line)
    return 0


def _asked(name: str, args: argparse.Namespace) -> Asked:
    from model.export import Asked
    from model.text import read_documents

    documents = tuple(read_documents([args.text])) if args.text else ()
    return Asked(name, args.store_as, args.block, documents, args.cache)


def _pulled(place: Path, folder: Path, address: Address, asked: Asked) -> str:
    from model import pull

    with make_model.shown_progress() as progress:
        listing = pull.listing(address)
        _fetch(place, listing, progress)
        return make_model.made(_source(place, listing), folder, asked, progress)


def _fetch(place: Path, listing: Listing, progress: Progress) -> None:
    """The small files first: they tell whether the weights are worth the while."""
    from model import pull

    where = str(listing.address)
    get = partial(pull.fetch, listing.address)
    small = repository.small_files(listing.files, where)
    fetched.fetch(place, small, listing, get, _fetching(progress))
    _require_gpt2(place / repository.CONFIG, where)
    index = (place / repository.INDEX).read_text("utf-8", "replace") if repository.INDEX in small else None
    weights = repository.weight_files(listing.files, index, where)
    fetched.fetch(place, weights, listing, get, _fetching(progress))


def _require_gpt2(config: Path, where: str) -> None:
    from model import hub

    try:
        hub.shape_of(json.loads(config.read_text("utf-8")), Path(where) / config.name)
    except (ValueError, RecursionError) as error:  # ModelDamaged among them
        told = str(error) if isinstance(error, ModelError) else f"{where}: its {config.name} is not JSON"
        raise RepositoryRefused(f"{told}; name another repository") from None


def _source(place: Path, listing: Listing) -> Source:
    """What was fetched, and where it is from, for the manifest."""
    from model import hub

    try:
        source = hub.read(place)
    except (ModelDamaged, ModelNotFound) as error:
        raise RepositoryRefused(str(error).replace(str(place), str(listing.address))) from None
    address, files = listing.address, sorted(path.name for path in place.iterdir() if path.name in listing.files)
    training = {
        "repository": address.repository,
        "revision": address.revision,
        "fetched": {name: listing.files[name].digest for name in files},
        "licence": listing.licence,
    }
    return replace(source, name=address.repository, training=training)


def _fetching(progress: Progress) -> fetched.Progress:
    return lambda name, there, whole: progress(f"fetching {name}", there, whole)


def _require_same(folder: Path, address: Address, store_as: str) -> None:
    """Raises ModelUnwritten if what has the name is another model, or may be another by now."""
    training = store.read_manifest(folder).training
    told = (training.get("repository"), training.get("revision"), training.get("as"))
    if not address.fixed or told != (address.repository, address.revision, store_as):
        raise make_model.ModelUnwritten(
            f"{folder}: there is a model of that name; choose another --name, or --replace it"
        )


def _address(text: str) -> Address:
    try:
        return repository.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _own_name(address: Address) -> str:
    name = repository.name_of(address)
    try:
        return make_model.as_name(name)
    except argparse.ArgumentTypeError:
        raise make_model.ModelUnwritten(f"{address}: {name!r} is no name for a model here; say --name") from None
