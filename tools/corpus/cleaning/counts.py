"""What each step of cleaning did, in numbers, with an example or three. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_EXAMPLES = 3
EXAMPLE_CHARS = 60  # characters of a text in an example


@dataclass(slots=True)
class StepCount:
    """One step: how many texts it changed, how many it dropped, how many more it made of them."""

    changed: int = 0
    dropped: int = 0
    added: int = 0
    examples: list[str] = field(default_factory=list)

    def count_change(self, before: str, after: str) -> None:
        """One text is another now."""
        self.changed += 1
        if len(self.examples) < MAX_EXAMPLES:
            at = _first_difference(before, after)
            self.examples.append(f"{_excerpt(before, at)} -> {_excerpt(after, at)}")

    def count_drop(self, text: str) -> None:
        """One text is gone."""
        self.dropped += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(_excerpt(text, 0))

    def __bool__(self) -> bool:
        return bool(self.changed or self.dropped or self.added)


@dataclass(slots=True)
class CleaningCounts:
    """A whole cleaning, filled while its records are drawn; `people` are the names that --person was taken for."""

    read: int = 0
    kept: int = 0
    steps: dict[str, StepCount] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def for_step(self, step: str) -> StepCount:
        """The count of one step, begun where it is new."""
        return self.steps.setdefault(step, StepCount())

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_data` reads it back."""
        return asdict(self)


def counts_from_dict(data: Mapping[str, Any]) -> CleaningCounts:
    """What `Counts.data` gave. Raises KeyError, TypeError."""
    steps = {name: StepCount(**count) for name, count in data["steps"].items()}
    return CleaningCounts(data["read"], data["kept"], steps, dict(data["people"]), list(data["notes"]))


def _first_difference(before: str, after: str) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(before), len(after)))


def _excerpt(text: str, at: int) -> str:
    """A line of it around a place."""
    start = max(0, at - EXAMPLE_CHARS // 3)
    part = text[start : start + EXAMPLE_CHARS]
    whole = "".join(c if c.isprintable() else "·" for c in part).strip()
    return f"{'…' if start else ''}{whole}{'…' if start + EXAMPLE_CHARS < len(text) else ''}"
