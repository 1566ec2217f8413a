"""Divides the texts of a run into training and held-out documents, for a new run and for a finished one.

A share of one long thread or book cannot be held out whole. Then each of its conversations counts as a unit, and a long
one is cut where a message or a paragraph begins. The module does not know what the texts are about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from model.errors import ModelError
from model.store import documents
from model.store.documents import DocumentSplit
from tools.train import inputs
from tools.train.holdout import HoldOut, choose_documents, parse_hold_out, sizes_of_units
from tools.train.inputs import TrainingTexts
from tools.train.run_config import HashedSource

LARGE_UNIT_FACTOR = 2.0  # a thread or book of more than this many times the held-out share is divided
MIN_HELD_OUT_PARTS = 2  # a single part might have an unusual subject
MIN_PART_CHARS = 1000  # a shorter part is too little to judge a style
# Of a part that begins after an end of text, as each prompt does. Whole books would begin there only forty times, and
# the model would know no other beginnings than those of short conversations.
MAX_TRAIN_CHARS = 8000

_PARAGRAPH = re.compile(r"\n[ \t]*\n(?=\S)")
_LINE = re.compile(r"\n(?=\S)")  # an indented line belongs to the message above it


def choose_held_out(texts: TrainingTexts, hold_out: HoldOut, rng: Random) -> tuple[TrainingTexts, tuple[int, ...]]:
    """The texts, divided if a share of them is drawn, and the numbers, from 1, of the documents to hold out.

    The result depends only on texts, share and seed. Raises ModelError as `choose_documents` does.
    """
    if hold_out.percent:
        texts = split_large_units(texts, hold_out.percent)
    return texts, choose_documents(hold_out, texts.units, list(map(len, texts.documents)), rng)


def split_large_units(texts: TrainingTexts, percent: float) -> TrainingTexts:
    """The same texts; each document of a thread too large to be held out, or each part of it, becomes a unit."""
    sizes = sizes_of_units(texts.units, list(map(len, texts.documents)))
    total = sum(sizes.values())
    max_chars = max(MIN_PART_CHARS, round(total * percent / 100 / MIN_HELD_OUT_PARTS))
    parts: list[str] = []
    units: list[int] = []
    times: list[int] = []
    last, number = 0, 0
    for unit, document, often in zip(texts.units, texts.documents, texts.times, strict=True):
        is_large = sizes[unit] > LARGE_UNIT_FACTOR * total * percent / 100
        for part in split_document(document, max_chars) if is_large else [document]:
            number += is_large or unit != last
            last = unit
            parts.append(part)
            units.append(number)
            times.append(often)
    return replace(texts, documents=parts, units=units, times=times)


def split_document(document: str, max_chars: int) -> list[str]:
    """About equal parts of at most `max_chars`, if line ends allow it. Joined by line ends they are the document."""
    count = -(-len(document) // max_chars)
    if count < 2:
        return [document]
    return list(_cut_near(document, [round(len(document) * part / count) for part in range(1, count)]))


def cut_long_documents(documents: Sequence[str], times: Sequence[int]) -> tuple[list[str], list[int]]:
    """The documents as parts of about MAX_TRAIN_CHARS, and how often an epoch has each."""
    parts: list[str] = []
    parts_times: list[int] = []
    for document, often in zip(documents, times, strict=True):
        *first_parts, last = split_document(document, MAX_TRAIN_CHARS)
        parts += [f"{part}\n" for part in first_parts] + [last]
        parts_times += [often] * (len(first_parts) + 1)
    return parts, parts_times


def _cut_near(document: str, places: Sequence[int]) -> Iterator[str]:
    """Cuts near the places: before a paragraph if one begins near, else before a line."""
    distance = min(places) // 4
    start = 0
    for place in places:
        cut = _nearest_match(_PARAGRAPH, document, place, distance)
        cut = cut or _nearest_match(_LINE, document, place, distance * 2)
        if cut and cut > start:
            yield document[start:cut].rstrip()
            start = cut
    yield document[start:]


def _nearest_match(pattern: re.Pattern[str], document: str, place: int, distance: int) -> int:
    """The end of the match that ends nearest to the place; 0 if there is none within the distance."""
    ends = (match.end() for match in pattern.finditer(document, max(0, place - distance), place + distance))
    return min(ends, key=lambda end: abs(end - place), default=0)


def restore_held_out(paths: Sequence[Path], training: Mapping[str, Any]) -> DocumentSplit:
    """The texts as a finished run divided them, from the `training` of its model's manifest.

    Raises ModelError if the texts are not those of the run, or if the run held nothing out.
    """
    inputs.require_readable(paths)
    hold_out, seed, sources = _read_hold_out(training)
    texts = inputs.read_texts(paths)
    _require_same_texts(texts, sources)
    texts, numbers = choose_held_out(texts, hold_out, Random(seed))
    return documents.hold_out_documents(texts.documents, numbers)


def read_training_documents(paths: Sequence[Path], training: Mapping[str, Any]) -> list[str]:
    """The documents that a finished run trained on, without what it held out. Raises ModelError for other texts."""
    inputs.require_readable(paths)
    if training.get("held_out_documents"):
        return restore_held_out(paths, training).train
    texts = inputs.read_texts(paths)
    if "texts" in training:  # a model from elsewhere does not name its texts: then the user knows them
        _require_same_texts(texts, [HashedSource(**source) for source in training["texts"]])
    return texts.documents


def _require_same_texts(texts: TrainingTexts, sources: Sequence[HashedSource]) -> None:
    """Raises ModelError if the texts are not those of a run."""
    hashes = {source.sha256 for source in sources}
    if [source.sha256 for source in texts.sources] != [source.sha256 for source in sources]:
        unknown = next((source.name for source in texts.sources if source.sha256 not in hashes), "")
        names = ", ".join(source.name for source in sources)
        missing = f"{len(texts.sources)} texts, of which some are missing"
        fault = f"{unknown}: the model was not trained on it" if unknown else missing
        raise ModelError(f"{fault}; give {names} as they were then, in this order", "damaged")


def _read_hold_out(training: Mapping[str, Any]) -> tuple[HoldOut, int, list[HashedSource]]:
    """The hold-out, seed and texts of a run, from the manifest. Raises ModelError if the manifest lacks them."""
    try:
        sources = [HashedSource(**source) for source in training["texts"]]
        # Old manifests have only the numbers of the documents.
        numbers = ",".join(map(str, training["held_out_documents"]))
        hold_out, seed = parse_hold_out(training.get("hold_out", numbers)), int(training["seed"])
    except (KeyError, TypeError, ValueError):
        hold_out = HoldOut()
    if not hold_out:
        fault = "--held-out: the manifest of this model has no held-out documents"
        raise ModelError(f"{fault}; name documents by --hold-out N,N", "damaged")
    return hold_out, seed, sources
