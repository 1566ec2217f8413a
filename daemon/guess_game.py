"""Guess the human: which of two lines with the same beginning did a person write? Pure: the same seed, the same game.

It chooses the lines, cuts what the model made to a like length, and counts. It does not know how a line is generated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LINE_CHARS = (30, 140)  # of a line that is used
MIN_WORDS = 6
BEGINNING_WORDS = (2, 4)
MIN_SHARE = 0.6  # of the true line's length; a shorter line of the model would give it away


def choose_lines(text: str) -> list[str]:
    """Returns the whole lines of a text that fit the game, each once."""
    stripped = (" ".join(line.split()) for line in text.splitlines())
    fitting = (line for line in stripped if LINE_CHARS[0] <= len(line) <= LINE_CHARS[1])
    return list({_normalise(line): line for line in fitting if len(line.split()) >= MIN_WORDS}.values())


def cut_alike(beginning: str, continuation: str, truth: str) -> str:
    """Returns the beginning with its continuation, cut to the length of the true line; "" if it does not do.

    It does not do if it is too short, equal to the true line, or goes on in the last word of the beginning.
    """
    first_line = continuation.rstrip().partition("\n")[0] if continuation[:1] != "\n" else ""
    if re.match(r"\w", first_line):
        return ""
    line = " ".join((beginning + first_line).split())
    if len(line) > len(truth):
        line = line[: len(truth) + 1].rpartition(" ")[0].rstrip(" ,;:-")
        if truth[-1] in ".!?" and line[-1:] not in ".!?":
            line += truth[-1]
    is_alike = _normalise(line) == _normalise(truth) or len(line) < MIN_SHARE * len(truth)
    return "" if is_alike or not line.startswith(beginning) else line


@dataclass(frozen=True, slots=True)
class Question:
    """A true line, its beginning, and the place (1 or 2) at which it stands on the paper."""

    truth: str
    beginning: str
    place: int

    def format(self, made: str) -> str:
        """Returns the two numbered lines."""
        first, second = (self.truth, made) if self.place == 1 else (made, self.truth)
        return f"1 {first}\n2 {second}\n"


@dataclass(slots=True)
class GuessGame:
    """The state of one game: `lines` were not used yet; `draw_below(n)` gives a number from 0 to n - 1."""

    lines: list[str]
    draw_below: Callable[[int], int]
    right: int = 0
    guessed: int = 0

    def draw(self) -> Question | None:
        """Returns the next question; None if all lines were used."""
        if not self.lines:
            return None
        truth = self.lines.pop(self.draw_below(len(self.lines)))
        least, most = BEGINNING_WORDS
        words = truth.split()[: least + self.draw_below(most - least + 1)]
        return Question(truth, " ".join(words), 1 + self.draw_below(2))

    def draw_seed(self) -> int:
        """Returns the seed of the next line of the model."""
        return self.draw_below(2**31)

    def guess(self, question: Question, place: int) -> bool:
        """Counts a guess; returns whether it is right."""
        is_right = place == question.place
        self.guessed += 1
        self.right += is_right
        return is_right

    def format_score(self) -> str:
        return f"{self.right} OF {self.guessed}"


def leave_out(lines: Iterable[str], used: set[str]) -> list[str]:
    """Returns the lines that were not used."""
    return [line for line in lines if line not in used]


def _normalise(line: str) -> str:
    """Returns what a Teletype shows of a line that tells it from another: letters and digits without case."""
    return "".join(char for char in line.casefold() if char.isalnum())
