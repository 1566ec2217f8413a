"""What an operator has answered so far, in order: asked once, unless he takes the last answer back.

Knows no machine and no question's meaning. Whoever asks goes through all of it again from the top, and is given what
was learned already as far as that goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Learned = TypeVar("Learned")


class TakenBack(Exception):
    """The operator wants the last question once more."""


class Answers:
    def __init__(self) -> None:
        self._learned: list[tuple[str, Any]] = []  # question and answer; no question for what needs no operator
        self._at = 0  # so many of them are behind us

    def from_the_top(self) -> None:
        self._at = 0

    async def once(self, learn: Callable[[], Awaitable[Learned]], question: str = "") -> Learned:
        """What is learned so; `learn` is called only if it was not before, or is taken back."""
        if self._at == len(self._learned):
            self._learned.append((question, await learn()))
        self._at += 1
        learned: Learned = self._learned[self._at - 1][1]
        return learned

    def take_back(self) -> None:
        """Forget the last question's answer, and all that was learned after it."""
        while self._learned and not self._learned.pop()[0]:
            pass
