"""A duologue: two personas talk in turn, and the operator may say a line between two turns. Pure.

It is a conversation of its own, in the form of a dialogue. It knows who speaks next, and takes turns back. It does not
know how a turn is made.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.conversation import Conversation, sentence_case
from model.dialogue import Speakers, indent_further_lines

MAX_TURNS = 200
MAX_PAST_LINES = 50  # that can be taken back
MAX_NAME_CHARS = 20
EXAMPLE = ".TALK ANN BOB"

_NAME = re.compile(rf"[^\W_][\w.'-]{{0,{MAX_NAME_CHARS - 1}}}")


@dataclass(frozen=True, slots=True)
class DuologueRequest:
    """What `.TALK` asks for. `turns` 0: as many as are usual. `line` is said by the first of the two, or ""."""

    names: tuple[str, str]
    turns: int = 0
    line: str = ""


def parse_duologue(argument: str, known_names: Sequence[str]) -> DuologueRequest:
    """Returns the request of `ANN BOB`, `ANN BOB 10` or `ANN BOB 10 A FIRST LINE`.

    A name is one of the model's `known_names`, in their spelling, or any one word. Raises ValueError with the cure.
    """
    first, rest = _split_name(argument, known_names)
    second, rest = _split_name(re.sub(r"(?i)^(,|and\b|&)\s*", "", rest), known_names)
    if first.casefold() == second.casefold():
        raise ValueError(f"TWO NAMES THAT DIFFER, SUCH AS {EXAMPLE}")
    number = re.match(r"(\d{1,9})(?:\s+|$)", rest)
    turns = int(number[1]) if number else 0
    if number and not 1 <= turns <= MAX_TURNS:
        raise ValueError(f"THE TURNS ARE 1 TO {MAX_TURNS}, SUCH AS {EXAMPLE} 10")
    return DuologueRequest((first, second), turns, rest[number.end() if number else 0 :].strip())


def _split_name(text: str, known_names: Sequence[str]) -> tuple[str, str]:
    """Returns the name at the begin of a text, and the rest. A known name may have several words."""
    text = text.strip()
    for name in sorted(known_names, key=len, reverse=True):
        if re.match(rf"{re.escape(name)}(?!\w)", text, re.IGNORECASE):
            return name, text[len(name) :].strip()
    match = _NAME.match(text)
    if match is None:
        raise ValueError(f"TWO NAMES, EACH ONE WORD OF UP TO {MAX_NAME_CHARS} LETTERS, SUCH AS {EXAMPLE}")
    rest = text[match.end() :]
    if rest[:1] not in ("", " ", ","):
        raise ValueError(f"TWO NAMES, EACH ONE WORD OF UP TO {MAX_NAME_CHARS} LETTERS, SUCH AS {EXAMPLE}")
    return "-".join(part.capitalize() for part in match[0].split("-")), rest.strip()


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A line that can be taken back: who said what; the memory before it, and who would speak then (0 or 1)."""

    name: str
    text: str
    memory: str
    next_speaker: int


@dataclass(slots=True)
class Duologue:
    """The state of one talk: `next_speaker` (0 or 1) speaks next, `turns_left` turns are to come."""

    names: tuple[str, str]
    you: str = "You"  # the operator
    others: tuple[str, ...] = ()  # the names that the model knows
    turns_left: int = 0
    next_speaker: int = 0
    memory: str = ""
    past: deque[SpokenLine] = field(default_factory=lambda: deque(maxlen=MAX_PAST_LINES))

    @property
    def cue(self) -> str:
        """Returns the text before the talk, for a model that does not know both speakers; "" for one that does."""
        if all(name in self.others for name in self.names):
            return ""
        first, second = self.names
        return f"{first} and {second} talk with each other. Each of them says one or two short sentences.\n"

    def begin_turn(self) -> Conversation:
        """Returns the conversation in which the next speaker answers the other one; a turn is one line."""
        persona, other = self.names[self.next_speaker], self.names[1 - self.next_speaker]
        return Conversation(self.memory, Speakers(persona, other, self.others, self.cue, ends_with_line=True))

    def end_turn(self, memory: str) -> bool:
        """Takes the memory of the conversation after a turn; returns False if the speaker has said nothing."""
        name = self.names[self.next_speaker]
        text = f"\n{memory}".rpartition(f"\n{name}:")[2].strip()
        if not text:
            return False
        self._note_line(name, text, memory)
        return True

    def say(self, typed: str, speaker: str = "") -> str:
        """Adds a line of the operator, or after `ANN:` one in the person of a speaker; returns whose line it is.

        `speaker`: who says a line without a tag, by default the operator.
        """
        text, name = typed.strip(), speaker or self.you
        for one in self.names:
            if match := re.match(rf"{re.escape(one)}\s*:\s*", text, re.IGNORECASE):
                text, name = text[match.end() :], one
                break
        text = sentence_case(text).strip()
        if text:
            self._note_line(name, text, f"{self.memory}\n{name}: {indent_further_lines(text)}".strip())
        return name

    def take_back(self) -> SpokenLine | None:
        """Takes the last line out of the talk; None if there is none."""
        if not self.past:
            return None
        line = self.past.pop()
        self.memory, self.next_speaker = line.memory, line.next_speaker
        return line

    def _note_line(self, name: str, text: str, memory: str) -> None:
        self.past.append(SpokenLine(name, text, self.memory, self.next_speaker))
        self.memory = memory
        if name in self.names:  # the other one answers; after a line of the operator the order stays
            self.next_speaker = 1 - self.names.index(name)


def choose_operator_name(you: str, names: Sequence[str]) -> str:
    """Returns the name of the operator's lines, which is none of the two speakers'."""
    folded = {name.casefold() for name in names}
    return next(name for name in (you, "You", "Visitor", "Operator") if name.casefold() not in folded)
