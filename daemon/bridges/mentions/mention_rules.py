"""What becomes of a mention: an answer, the help, a word about the form, or nothing. Pure.

The form is the account's name, then the text. Who uses another form is told so once. Machines that say that they are
machines get no answer, and a person gets so many an hour: two machines that answer each other soon stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Literal

from daemon.bridges.mentions.mention import Mention
from daemon.people import ForgetScope

HOUR_S, DAY_S = 3_600.0, 86_400.0
MAX_TOLD = 2_000  # persons who are remembered as told about the form
MAX_COUNTED = 2_000  # answers of the last day

Decision = Literal["answer", "help", "wrong form", "itself", "a bot", "ignored", "budget", "told before"]


@dataclass(frozen=True, slots=True)
class MentionRules:
    """`own_names` and `ignored` are in lower case. The counts are answers to one person, and to all."""

    own_names: frozenset[str]
    ignored: frozenset[str] = frozenset()
    person_hour: int = 6
    person_day: int = 30
    all_hour: int = 60


@dataclass(slots=True)
class PeopleMemory:
    """Who was told about the form, and who was answered when, in seconds of the epoch."""

    told: list[str] = field(default_factory=list)
    answered: list[tuple[str, float]] = field(default_factory=list)

    def note(self, author: str, decision: Decision, now: float) -> None:
        author = author.lower()
        if decision == "wrong form":
            self.told = [*self.told, author][-MAX_TOLD:]
        self.answered = [(who, at) for who, at in self.answered if 0 <= now - at < DAY_S]
        self.answered = [*self.answered, (author, now)][-MAX_COUNTED:]

    def forget(self, scope: ForgetScope) -> None:
        """Removes names; their answers count for all still."""
        self.told = [who for who in self.told if not is_author(scope, who)]
        self.answered = [("" if is_author(scope, who) else who, at) for who, at in self.answered]
        self.answered = [(who, at) for who, at in self.answered if not scope.has_time(at)]

    def has_budget(self, author: str, rules: MentionRules, now: float) -> bool:
        """Whether a person may get one more answer."""
        recent = [(who, now - at) for who, at in self.answered if 0 <= now - at < DAY_S]
        own = [age for who, age in recent if who == author.lower()]
        hour = sum(age < HOUR_S for age in own)
        of_all = sum(age < HOUR_S for _, age in recent)
        return hour < rules.person_hour and len(own) < rules.person_day and of_all < rules.all_hour


def is_author(scope: ForgetScope, author: str) -> bool:
    """Whether an account is the person's: by its whole name, or by the part before its server."""
    author = author.lstrip("@")
    return scope.has_person(author, author.partition("@")[0], author.partition(".")[0])


def decide(mention: Mention, rules: MentionRules, memory: PeopleMemory, now: float) -> Decision:
    """Returns what becomes of a mention."""
    author = mention.author.lower()
    if author in rules.own_names:
        return "itself"
    if mention.is_bot:
        return "a bot"
    if author in rules.ignored:
        return "ignored"
    is_right = mention.is_addressed and bool(mention.text)
    if not is_right and author in memory.told:
        return "told before"
    if not memory.has_budget(author, rules, now):
        return "budget"
    if not is_right:
        return "wrong form"
    return "help" if mention.text.strip(" .!?\"'").lower() == "help" else "answer"


def make_fixed_answer(decision: Decision, persona: str, name: str) -> str:
    """Returns the text of the help, and of the word about the form. It begins with the shortest that is useful."""
    form = f"Begin a message with my name, {name}, and write a line"
    if decision == "help":
        machine = "A Teletype answers here, by a small language model, as an automated account."
        return f"{form}: I answer it. {machine}" if not persona else f"{form}: {persona} answers it. {machine}"
    return f"I did not understand that. {form}. My name and the word help get you help."


def find_daily_key(now: datetime, at: time | None, last_day: str) -> str:
    """Returns the day of a daily post that is due now, in local time; "" if none is.

    A machine that was off at that time posts when it is back on the same day.
    """
    day = now.date().isoformat()
    return day if at is not None and now.time() >= at and day > last_day else ""


def fit_names(names: Sequence[str]) -> frozenset[str]:
    """Returns the names as `MentionRules` wants them."""
    return frozenset(name.lower().lstrip("@") for name in names if name)
