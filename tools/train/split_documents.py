"""Texts of one large thread, parted so that a share of them can be held out. Data in, data out.

A chat of two people is one thread, a manual one book: held out whole it leaves nothing to learn from. Its conversations
are taken for themselves then, and a long one is cut where a message or a paragraph begins. Of what they are about it
knows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from tools.train.holdout import HoldOut, choose_documents
from tools.train.inputs import TrainingTexts

LARGE_UNIT_FACTOR = 2.0  # times what is to be held out: so large a thread or book is no unit of its own
MIN_HELD_OUT_PARTS = 2  # stretches that the share is made of, at least: one alone may be about anything
MIN_PART_CHARS = 1000  # characters of a stretch; fewer tell little of a voice

_PARAGRAPH = re.compile(r"\n[ \t]*\n(?=\S)")
_LINE = re.compile(r"\n(?=\S)")  # what is indented goes on with the message above it


def choose_held_out(
    training_texts: TrainingTexts, hold_out: HoldOut, rng: Random
) -> tuple[TrainingTexts, tuple[int, ...]]:
    """The texts, parted if a share of them is drawn, and which of their documents are held out, from 1.

    The same texts, share and seed are always the same. Raises TextDamaged as `holding.chosen` does.
    """
    if hold_out.percent:
        training_texts = split_large_units(training_texts, hold_out.percent)
    return training_texts, choose_documents(
        hold_out, training_texts.units, list(map(len, training_texts.documents)), rng
    )


def split_large_units(training_texts: TrainingTexts, percent: float) -> TrainingTexts:
    """The same texts, each document of a thread too large to be held out a unit by itself, none of them too long."""
    whole = sum(map(len, training_texts.documents))
    most = max(MIN_PART_CHARS, round(whole * percent / 100 / MIN_HELD_OUT_PARTS))
    sizes = dict.fromkeys(training_texts.units, 0)
    for unit, document in zip(training_texts.units, training_texts.documents, strict=True):
        sizes[unit] += len(document)
    documents: list[str] = []
    units: list[int] = []
    last, number = 0, 0
    for unit, document in zip(training_texts.units, training_texts.documents, strict=True):
        large = sizes[unit] > LARGE_UNIT_FACTOR * whole * percent / 100
        for part in split_document(document, most) if large else [document]:
            number += large or unit != last
            last = unit
            documents.append(part)
            units.append(number)
    return replace(training_texts, documents=documents, units=units)


def split_document(document: str, max_chars: int) -> list[str]:
    """About equal parts of at most so many characters, where lines allow it; joined by line ends they are the whole."""
    count = -(-len(document) // max_chars)
    if count < 2:
        return [document]
    return list(_cut_near(document, [round(len(document) * part / count) for part in range(1, count)]))


def _cut_near(document: str, places: Sequence[int]) -> Iterator[str]:
    """Cut near the places: before a paragraph if one begins near, or else before a line."""
    near = min(places) // 4
    start = 0
    for place in places:
        at = _nearest_match(_PARAGRAPH, document, place, near) or _nearest_match(_LINE, document, place, near * 2)
        if at and at > start:
            yield document[start:at].rstrip()
            start = at
    yield document[start:]


def _nearest_match(pattern: re.Pattern[str], document: str, place: int, near: int) -> int:
    """Where what comes behind the match begins; 0 where there is none so near."""
    found = (match.end() for match in pattern.finditer(document, max(0, place - near), place + near))
    return min(found, key=lambda at: abs(at - place), default=0)
