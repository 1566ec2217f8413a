"""Chooses the documents to hold out: by number, or a share of the text by seed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from model.errors import ModelError
from tools.cli.arguments import split_numbers


@dataclass(frozen=True, slots=True)
class HoldOut:
    """The documents of these `numbers`, from 1; or `percent` of the text, drawn with the seed of the run."""

    numbers: tuple[int, ...] = ()
    percent: float = 0.0

    def __str__(self) -> str:
        """The form that `parse_hold_out` reads. It keeps every digit, since another share draws other documents."""
        return f"{repr(self.percent).removesuffix('.0')}%" if self.percent else ",".join(map(str, self.numbers))

    def __bool__(self) -> bool:
        return bool(self.numbers or self.percent)


def parse_hold_out(text: str) -> HoldOut:
    """Parses `10,14` or `10%`. Raises ValueError."""
    if not text.endswith("%"):
        return HoldOut(tuple(sorted(split_numbers(text))) if text else ())
    percent = float(text[:-1])
    if not 0 <= percent < 100:
        raise ValueError(text)
    return HoldOut(percent=percent)


def choose_documents(hold_out: HoldOut, units: Sequence[int], sizes: Sequence[int], rng: Random) -> tuple[int, ...]:
    """The numbers, from 1, of the documents to hold out. Document i belongs to `units[i]`; a unit is held out whole.

    `hold_out.numbers` are numbers of units. A share is measured by the `sizes` of the documents, in characters. Raises
    ModelError for a number that is not a unit's, and if nothing can be held out.
    """
    known = set(units)
    if unknown := [number for number in hold_out.numbers if number not in known]:
        fault = f"there are only {len(known)} documents, counted from 1"
        raise ModelError(f"--hold-out {unknown[0]}: {fault}", "damaged")
    chosen = set(hold_out.numbers) if not hold_out.percent else _draw_units(hold_out.percent, units, sizes, rng)
    return tuple(number for number, unit in enumerate(units, start=1) if unit in chosen)


def sizes_of_units(units: Sequence[int], sizes: Sequence[int]) -> dict[int, int]:
    """The total size of the documents of each unit, in order of the units."""
    totals = dict.fromkeys(sorted(set(units)), 0)
    for unit, size in zip(units, sizes, strict=True):
        totals[unit] += size
    return totals


def _draw_units(percent: float, units: Sequence[int], sizes: Sequence[int], rng: Random) -> set[int]:
    unit_sizes = sizes_of_units(units, sizes)
    if (count := len(unit_sizes)) < 2:
        fault = f"of {count} document nothing can be held out"
        raise ModelError(f"--hold-out {percent:g}%: {fault}; add more texts", "damaged")
    target, chosen, chosen_size = percent / 100 * sum(sizes), set[int](), 0
    # A unit far above the average size stays in the training text.
    largest = max(target, sum(sizes) / count)
    drawn = [unit for unit in rng.sample(list(unit_sizes), count) if unit_sizes[unit] <= largest]
    for unit in drawn[: count - 1]:
        if not chosen or chosen_size + unit_sizes[unit] / 2 <= target:
            chosen.add(unit)
            chosen_size += unit_sizes[unit]
    return chosen
