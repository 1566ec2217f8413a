"""Stops two machines from answering each other for ever. Pure."""

from __future__ import annotations

from typing import Literal

MAX_TURNS = 3  # answers in a row to one speaker alone, without the command
FORGET_S = 600.0  # of silence: a new talk

Verdict = Literal["go", "stop", "silent"]


class LoopGuard:
    """Counts the machine's answers to one speaker while nobody else speaks.

    A person who is alone with the machine gives the command, which another machine does not do.
    """

    def __init__(self) -> None:
        self._partner = ""
        self._turns = 0
        self._answered_at = float("-inf")

    def note_line(self, nick: str, now: float, *, is_command: bool) -> None:
        """Notes a line of a speaker who may be a person."""
        if is_command or nick != self._partner or now - self._answered_at > FORGET_S:
            self._partner, self._turns = nick, 0

    def note_answer(self, now: float) -> None:
        self._answered_at = now

    def judge(self, nick: str, *, is_command: bool) -> Verdict:
        """Counts an answer to this speaker. "stop": it is one too many, and the room should be told."""
        if is_command:
            return "go"
        self._turns += 1
        if self._turns <= MAX_TURNS:
            return "go"
        return "stop" if self._turns == MAX_TURNS + 1 else "silent"
