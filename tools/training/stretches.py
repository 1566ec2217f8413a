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

from tools.training.holding import HoldOut, chosen
from tools.training.texts import Texts

LARGE = 2.0  # times what is to be held out: so large a thread or book is no unit of its own
PARTS = 2  # stretches that the share is made of, at least: one alone may be about anything
LEAST = 1000  # characters of a stretch; fewer tell little of a voice

_PARAGRAPH = re.compile(r"\n[ \t]*\n(?=\S)")
_LINE = re.compile(r"\n(?=\S)")  # what is indented goes on with the message above it


def set_apart(found: Texts, held: HoldOut, draw: Random) -> tuple[Texts, tuple[int, ...]]:
    """The texts, parted if a share of them is drawn, and which of their documents are held out, from 1.

    The same texts, share and seed are always the same. Raises TextDamaged as `holding.chosen` does.
    """
    if held.percent:
        found = parted(found, held.percent)
    return found, chosen(held, found.units, list(map(len, found.documents)), draw)


def parted(found: Texts, percent: float) -> Texts:
    """The same texts, each document of a thread too large to be held out a unit by itself, none of them too long."""
    whole = sum(map(len, found.documents))
    most = max(LEAST, round(whole * percent / 100 / PARTS))
    sizes = dict.fromkeys(found.units, 0)
    for unit, document in zip(found.units, found.documents, strict=True):
        sizes[unit] += len(document)
    documents: list[str] = []
    units: list[int] = []
    last, number = 0, 0
    for unit, document in zip(found.units, found.documents, strict=True):
        large = sizes[unit] > LARGE * whole * percent / 100
        for part in stretches(document, most) if large else [document]:
            number += large or unit != last
            last = unit
            documents.append(part)
            units.append(number)
    return replace(found, documents=documents, units=units)


def stretches(document: str, most: int) -> list[str]:
    """About equal parts of at most so many characters, where lines allow it; joined by line ends they are the whole."""
    count = -(-len(document) // most)
    if count < 2:
        return [document]
    return list(_cut(document, [round(len(document) * part / count) for part in range(1, count)]))


def _cut(document: str, places: Sequence[int]) -> Iterator[str]:
    """Cut near the places: before a paragraph if one begins near, or else before a line."""
    near = min(places) // 4
    start = 0
    for place in places:
        at = _nearest(_PARAGRAPH, document, place, near) or _nearest(_LINE, document, place, near * 2)
        if at and at > start:
            yield document[start:at].rstrip()
            start = at
    yield document[start:]


def _nearest(form: re.Pattern[str], document: str, place: int, near: int) -> int:
    """Where what comes behind the match begins; 0 where there is none so near."""
    found = (match.end() for match in form.finditer(document, max(0, place - near), place + near))
    return min(found, key=lambda at: abs(at - place), default=0)
