"""Our own session logs: what was typed that a model answered, in the case that it was given, and the answers.

Of a session everything is there; only the words are taken. The operator is the one whose log it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from daemon.conversation import sentence_case
from daemon.session_log import VERSION
from drivers import tape
from drivers.errors import TapeDamaged
from tools.corpora.errors import MemberRefused
from tools.corpora.fields import words
from tools.corpora.lines import objects
from tools.corpora.members import Member
from tools.corpora.record import Found, Record, Skipped, Warned
from tools.corpora.threads import told

KIND = "log"

OPERATOR = "Operator"
MACHINE = "Machine"  # where the log does not say which model it was
_FIRST = re.compile(rb'\s*\{"t":-?[0-9.]+,"ev":"[a-z]+"')


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Files of JSON Lines that begin with a record of ours."""
    return [member for member in members if member.name.lower().endswith(".jsonl") and _is_log(member)]


def found(members: Sequence[Member]) -> Iterator[Found]:
    """All that was said, session by session."""
    for member in members:
        yield from told(_said(member), member)


def _is_log(member: Member) -> bool:
    try:
        return bool(_FIRST.match(member.head()))
    except MemberRefused:
        return False


def _said(member: Member) -> Iterator[Found]:
    session = _Session(member)
    for one in objects(member):
        if isinstance(one, tuple):
            yield from session.heard(one[1])
        else:
            yield one
    yield from session.over()


class _Session:
    """One log, as far as it was read."""

    def __init__(self, member: Member) -> None:
        self._place = member.place
        self._name = PurePosixPath(member.name).stem
        self._model = MACHINE
        self._begun: float | None = None
        self._typed: str | None = None
        self._pieces: list[str] = []
        self._answering: float | None = None
        self._is_answered = False

    def heard(self, record: dict[str, Any]) -> Iterator[Found]:
        """What a record adds."""
        match record.get("ev"):
            case "session":
                yield from self._begins(record)
            case "typed":
                yield from self._left()
                self._typed = sentence_case(words(record.get("text")))
            case "tape":
                yield from self._left()
                self._typed = _punched(words(record.get("rows")))
            case "prompt":
                yield from self._answered()
                yield self._asked(record)
            case "piece" if self._is_answered:
                self._pieces.append(text if isinstance(text := record.get("text"), str) else "")
            case "end":
                yield from self.over()

    def over(self) -> Iterator[Found]:
        """What is left when an answer, or the whole log, is at its end."""
        yield from self._answered()
        yield from self._left()

    def _answered(self) -> Iterator[Found]:
        if not self._is_answered:
            return
        text = words("".join(self._pieces))
        if text:
            yield self._record(text, self._model, self._answering, mine=False)
        else:
            yield Skipped(self._place, "an answer without words")
        self._is_answered = False
        self._pieces.clear()

    def _begins(self, record: dict[str, Any]) -> Iterator[Found]:
        version = record.get("version")
        if isinstance(version, int) and version > VERSION:
            yield Warned(self._place, f"a log of version {version}; this program knows {VERSION}: install a newer one")
        self._model = PurePosixPath(words(record.get("model"))).name or MACHINE
        try:
            self._begun = datetime.fromisoformat(words(record.get("wall"))).timestamp()
        except (ValueError, OverflowError, OSError):
            self._begun = None

    def _asked(self, record: dict[str, Any]) -> Found:
        """The operator's words; the prompt has all that was said before them as well."""
        moment = self._moment(record)
        typed, self._typed = self._typed, None
        self._answering, self._is_answered = moment, True
        text = words(typed if typed is not None else words(record.get("text")).rpartition("\n")[2])
        return self._record(text, OPERATOR, moment, mine=True) if text else Skipped(self._place, "an empty line")

    def _left(self) -> Iterator[Found]:
        """A line that no model was given: a command, or none at all."""
        if self._typed is not None:
            yield Skipped(self._place, "a command" if self._typed.strip() else "an empty line")
        self._typed = None

    def _record(self, text: str, who: str, when: float | None, mine: bool) -> Record:
        return Record(self._place, self._name, text, who, when, "message", mine)

    def _moment(self, record: dict[str, Any]) -> float | None:
        since = record.get("t")
        return self._begun + since if self._begun is not None and isinstance(since, int | float) else None


def _punched(rows: str) -> str:
    try:
        raw = bytes.fromhex(rows)
        return sentence_case(tape.read_text(raw, tape.parity_of(raw)))
    except (ValueError, TapeDamaged):
        return ""
