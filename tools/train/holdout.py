"""What is held out: documents by their numbers, or a share of them by seed. Data in, data out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from model.errors import TextDamaged


@dataclass(frozen=True, slots=True)
class HoldOut:
    """`numbers` count from 1; or `percent` of all, drawn by the seed of the run."""

    numbers: tuple[int, ...] = ()
    percent: float = 0.0

    def __str__(self) -> str:
        """As `parse` takes it, to the last digit: of another share, others would be drawn."""
        return f"{repr(self.percent).removesuffix('.0')}%" if self.percent else ",".join(map(str, self.numbers))

    def __bool__(self) -> bool:
        return bool(self.numbers or self.percent)


def parse_hold_out(text: str) -> HoldOut:
    """`10,14` or `10%`. Raises ValueError."""
    if not text.endswith("%"):
        return HoldOut(tuple(sorted({int(number) for number in text.split(",")})) if text else ())
    percent = float(text[:-1])
    if not 0 <= percent < 100:
        raise ValueError(text)
    return HoldOut(percent=percent)


def choose_documents(hold_out: HoldOut, units: Sequence[int], sizes: Sequence[int], rng: Random) -> tuple[int, ...]:
    """Which documents are held out, from 1; document i is part of `units[i]`, and a unit goes whole.

    The numbers are those of units, and a share is one of all `sizes`, characters of each document. Raises TextDamaged
    for a number that there is not, and where a share would be nothing.
    """
    there = sorted(set(units))
    if beyond := [number for number in hold_out.numbers if number not in there]:
        raise TextDamaged(f"--hold-out {beyond[0]}: there are only {len(there)} documents, counted from 1")
    out = set(hold_out.numbers) if not hold_out.percent else _draw_units(hold_out.percent, units, sizes, rng)
    return tuple(number for number, unit in enumerate(units, start=1) if unit in out)


def _draw_units(percent: float, units: Sequence[int], sizes: Sequence[int], rng: Random) -> set[int]:
    whole = dict.fromkeys(sorted(set(units)), 0)
    for unit, size in zip(units, sizes, strict=True):
        whole[unit] += size
    if len(whole) < 2:
        raise TextDamaged(f"--hold-out {percent:g}%: of {len(whole)} document nothing can be held out; add more texts")
    wanted, out, held = percent / 100 * sum(sizes), set[int](), 0
    # One large thread among small ones is what there is to learn from.
    most = max(wanted, sum(sizes) / len(whole))
    drawn = [unit for unit in rng.sample(list(whole), len(whole)) if whole[unit] <= most]
    for unit in drawn[: len(whole) - 1]:
        if not out or held + whole[unit] / 2 <= wanted:
            out.add(unit)
            held += whole[unit]
    return out
