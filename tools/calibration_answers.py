"""What an operator has answered so far, in order: asked once, unless he takes the last answer back.

Knows no machine and no question's meaning. Whoever asks goes through all of it again from the top, and is given what
was learned already as far as that goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

AnswerT = TypeVar("AnswerT")


class AnswerTakenBack(Exception):
    """The operator wants the last question once more."""


class AnswerHistory:
    def __init__(self) -> None:
        self._entries: list[tuple[str, Any]] = []  # question and answer; no question for what needs no operator
        self._position = 0  # so many of them are behind us

    def restart(self) -> None:
        self._position = 0

    async def ask_once(self, ask: Callable[[], Awaitable[AnswerT]], question: str = "") -> AnswerT:
        """What is learned so; `learn` is called only if it was not before, or is taken back."""
        if self._position == len(self._entries):
            self._entries.append((question, await ask()))
        self._position += 1
        learned: AnswerT = self._entries[self._position - 1][1]
        return learned

    def forget_last(self) -> None:
        """Forget the last question's answer, and all that was learned after it."""
        while self._entries and not self._entries.pop()[0]:
            pass
