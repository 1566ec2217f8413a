"""What a finished run held out, found again by what its model's manifest tells of it. It scores nothing.

Texts, seed and share decide the draw, so these are all that a manifest has to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from model.errors import TextDamaged
from model.store import documents
from model.store.documents import DocumentSplit
from tools.train import inputs, split_documents
from tools.train.holdout import HoldOut, parse_hold_out
from tools.train.run_config import HashedSource


def restore_held_out(paths: Sequence[Path], training: Mapping[str, Any]) -> DocumentSplit:
    """The texts as the run divided them.

    Raises TextNotFound, TextDamaged: also where they are not those of the run, or where it held nothing out.
    """
    inputs.require_readable(paths)
    held, seed, sources = _read_hold_out(training)
    found = inputs.read_texts(paths)
    if (hashes := [source.sha256 for source in found.sources]) != [source.sha256 for source in sources]:
        wrong = next((source.name for source in found.sources if source.sha256 not in _hashes(sources)), "")
        names = ", ".join(source.name for source in sources)
        fault = f"{wrong}: not what it was trained on" if wrong else f"{len(hashes)} texts, of which some are missing"
        raise TextDamaged(f"{fault}; give {names} as they were then, in this order")
    found, out = split_documents.choose_held_out(found, held, Random(seed))
    return documents.hold_out_documents(found.documents, out)


def _hashes(sources: Sequence[HashedSource]) -> set[str]:
    return {source.sha256 for source in sources}


def _read_hold_out(training: Mapping[str, Any]) -> tuple[HoldOut, int, list[HashedSource]]:
    """What was held out, by which seed, of which texts. Raises TextDamaged where a manifest does not say."""
    try:
        sources = [HashedSource(**source) for source in training["texts"]]
        # Manifests of the past have the documents alone, by number.
        numbers = ",".join(map(str, training["held_out_documents"]))
        held, seed = parse_hold_out(training.get("hold_out", numbers)), int(training["seed"])
    except (KeyError, TypeError, ValueError):
        held = HoldOut()
    if not held:
        raise TextDamaged(
            "--held-out: this model's manifest tells of nothing that was held out; name documents by --hold-out N,N"
        )
    return held, seed, sources
