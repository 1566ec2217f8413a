"""What each step of cleaning did, in numbers, with an example or three. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

EXAMPLES = 3
SHOWN = 60  # characters of a text in an example


@dataclass(slots=True)
class Count:
    """One step: how many texts it changed, how many it dropped, how many more it made of them."""

    changed: int = 0
    dropped: int = 0
    added: int = 0
    examples: list[str] = field(default_factory=list)

    def change(self, before: str, after: str) -> None:
        """One text is another now."""
        self.changed += 1
        if len(self.examples) < EXAMPLES:
            at = _first_difference(before, after)
            self.examples.append(f"{_shown(before, at)} -> {_shown(after, at)}")

    def drop(self, text: str) -> None:
        """One text is gone."""
        self.dropped += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(_shown(text, 0))

    def __bool__(self) -> bool:
        return bool(self.changed or self.dropped or self.added)


@dataclass(slots=True)
class Counts:
    """A whole cleaning, filled while its records are drawn; `people` are the names that --person was taken for."""

    read: int = 0
    kept: int = 0
    steps: dict[str, Count] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, step: str) -> Count:
        """The count of one step, begun where it is new."""
        return self.steps.setdefault(step, Count())

    def data(self) -> dict[str, Any]:
        """For JSON; `from_data` reads it back."""
        return asdict(self)


def from_data(data: Mapping[str, Any]) -> Counts:
    """What `Counts.data` gave. Raises KeyError, TypeError."""
    steps = {name: Count(**count) for name, count in data["steps"].items()}
    return Counts(data["read"], data["kept"], steps, dict(data["people"]), list(data["notes"]))


def _first_difference(before: str, after: str) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(before), len(after)))


def _shown(text: str, at: int) -> str:
    """A line of it around a place."""
    start = max(0, at - SHOWN // 3)
    part = text[start : start + SHOWN]
    whole = "".join(c if c.isprintable() else "·" for c in part).strip()
    return f"{'…' if start else ''}{whole}{'…' if start + SHOWN < len(text) else ''}"
