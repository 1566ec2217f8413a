"""Counts what each cleaning step did, with a few examples. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.corpus.fields import make_printable

MAX_EXAMPLES = 3
EXAMPLE_CHARS = 60  # of each text in an example
MAX_SILENT_SHARE = 0.03  # of a text that a step may cut without a note
MIN_TOLD_CHARS = 200  # of a cut, so that it is told


@dataclass(slots=True)
class StepCount:
    """The counts of one step: texts that it changed, dropped, and added by splitting.

    `cut_characters` is what it cut from `cut_texts` texts; `largest_cut` is the largest share of a text, of `cut_from`.
    """

    changed: int = 0
    dropped: int = 0
    added: int = 0
    examples: list[str] = field(default_factory=list)
    cut_characters: int = 0
    cut_texts: int = 0
    largest_cut: float = 0.0
    cut_from: str = ""

    def count_change(self, before: str, after: str) -> None:
        self.changed += 1
        if len(self.examples) < MAX_EXAMPLES:
            at = _first_difference(before, after)
            self.examples.append(f"{_excerpt(before, at)} -> {_excerpt(after, at)}")

    def count_cut(self, name: str, before: str, after: str) -> None:
        """Counts a change that cuts a part of the text of this name."""
        self.count_change(before, after)
        cut = len(before.rstrip()) - len(after.rstrip())
        share = cut / max(1, len(before))
        self.cut_characters += cut
        self.cut_texts += 1
        if cut >= MIN_TOLD_CHARS and share > self.largest_cut:
            self.largest_cut, self.cut_from = share, name

    def cut_note(self, step: str) -> str:
        """Returns a line about a cut that is more than a small part of a text; "" if there is none."""
        if self.largest_cut <= MAX_SILENT_SHARE:
            return ""
        texts = "1 text" if self.cut_texts == 1 else f"{self.cut_texts:,} texts"
        most = f"{100 * self.largest_cut:.0f} % of {self.cut_from}"
        return f"{step}: {self.cut_characters:,} characters cut from {texts} ({most}); to keep them: --without {step}"

    def count_drop(self, text: str) -> None:
        self.dropped += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(_excerpt(text, 0))

    def __bool__(self) -> bool:
        return bool(self.changed or self.dropped or self.added)


@dataclass(slots=True)
class CleaningCounts:
    """The counts of one cleaning, filled while records are iterated. `people` are the names that --person matched."""

    read: int = 0
    kept: int = 0
    steps: dict[str, StepCount] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def for_step(self, step: str) -> StepCount:
        """Returns the count of a step, created if needed."""
        return self.steps.setdefault(step, StepCount())

    def to_dict(self) -> dict[str, Any]:
        """Returns a dictionary for JSON, for `counts_from_dict`."""
        return asdict(self)


def counts_from_dict(data: Mapping[str, Any]) -> CleaningCounts:
    """Returns the counts from `CleaningCounts.to_dict`. Raises KeyError, TypeError."""
    steps = {name: StepCount(**count) for name, count in data["steps"].items()}
    return CleaningCounts(data["read"], data["kept"], steps, dict(data["people"]), list(data["notes"]))


def _first_difference(before: str, after: str) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(before), len(after)))


def _excerpt(text: str, at: int) -> str:
    """Returns a line of the text around a position."""
    start = max(0, at - EXAMPLE_CHARS // 3)
    line = make_printable(text[start : start + EXAMPLE_CHARS], "·").strip()
    return f"{'…' if start else ''}{line}{'…' if start + EXAMPLE_CHARS < len(text) else ''}"
