"""Imports asr33's own session logs: the lines that a model answered, and the answers.

Lines are in the case that the model saw. The operator is the owner of the log.
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
from tools.corpus.archive import Member
from tools.corpus.fields import as_text
from tools.corpus.jsonl import iter_objects
from tools.corpus.record import ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

OPERATOR = "Operator"
MACHINE = "Machine"  # if the log does not name the model
_FIRST_EVENT = re.compile(rb'\s*\{"t":-?[0-9.]+,"ev":"[a-z]+"')


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Returns the JSON Lines files that begin with an event of a session log."""
    logs = (member for member in members if member.name.lower().endswith(".jsonl"))
    return [member for member in logs if _FIRST_EVENT.match(member.peek_head())]


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Yields all lines and answers, session by session."""
    for member in members:
        yield from catch_damage(_read_session(member), member)


def _read_session(member: Member) -> Iterator[ImportItem]:
    session = _Session(member)
    for entry in iter_objects(member):
        if isinstance(entry, tuple):
            yield from session.add_event(entry[1])
        else:
            yield entry
    yield from session.finish()


class _Session:
    """The state of one log while it is read."""

    def __init__(self, member: Member) -> None:
        self._location = member.location
        self._name = PurePosixPath(member.name).stem
        self._model = MACHINE
        self._started_at: float | None = None
        self._typed_text: str | None = None
        self._answer_chunks: list[str] = []
        self._answer_time: float | None = None
        self._is_answered = False

    def add_event(self, event: dict[str, Any]) -> Iterator[ImportItem]:
        """Yields the items that an event completes."""
        match event.get("ev"):
            case "session":
                yield from self._start_session(event)
            case "typed":
                yield from self._skip_unanswered_line()
                self._typed_text = sentence_case(as_text(event.get("text")))
            case "tape":
                yield from self._skip_unanswered_line()
                self._typed_text = _decode_rows(as_text(event.get("rows")))
            case "prompt":
                yield from self._finish_answer()
                yield self._prompt_item(event)
            case "piece" if self._is_answered:
                self._answer_chunks.append(text if isinstance(text := event.get("text"), str) else "")
            case "gap":
                yield from self._drop_torn_answer()
            case "end":
                yield from self.finish()

    def finish(self) -> Iterator[ImportItem]:
        """Yields the last items at the end of an answer or of the log."""
        yield from self._finish_answer()
        yield from self._skip_unanswered_line()

    def _finish_answer(self) -> Iterator[ImportItem]:
        if not self._is_answered:
            return
        text = as_text("".join(self._answer_chunks))
        if text:
            yield self._record(text, self._model, self._answer_time, mine=False)
        else:
            yield SkippedItem(self._location, "an answer without text")
        self._is_answered = False
        self._answer_chunks.clear()

    def _drop_torn_answer(self) -> Iterator[ImportItem]:
        """Skips an answer, or a line, some records of which were lost."""
        if self._is_answered:
            yield SkippedItem(self._location, "an answer with a gap in its record")
        self._is_answered, self._typed_text = False, None
        self._answer_chunks.clear()

    def _start_session(self, event: dict[str, Any]) -> Iterator[ImportItem]:
        version = event.get("version")
        if isinstance(version, int) and version > VERSION:
            message = f"a log of version {version}, but this asr33 knows version {VERSION}: install a newer one"
            yield SourceWarning(self._location, message)
        self._model = PurePosixPath(as_text(event.get("model"))).name or MACHINE
        try:
            self._started_at = datetime.fromisoformat(as_text(event.get("wall"))).timestamp()
        except (ValueError, OverflowError, OSError):
            self._started_at = None

    def _prompt_item(self, event: dict[str, Any]) -> ImportItem:
        """Returns the operator's line. The event's prompt also contains the earlier conversation."""
        time = self._event_time(event)
        typed, self._typed_text = self._typed_text, None
        self._answer_time, self._is_answered = time, True
        text = as_text(typed if typed is not None else as_text(event.get("text")).rpartition("\n")[2])
        return self._record(text, OPERATOR, time, mine=True) if text else SkippedItem(self._location, "an empty line")

    def _skip_unanswered_line(self) -> Iterator[ImportItem]:
        """Skips a line that went to no model: a command, or an empty line."""
        if self._typed_text is not None:
            yield SkippedItem(self._location, "a command" if self._typed_text.strip() else "an empty line")
        self._typed_text = None

    def _record(self, text: str, who: str, when: float | None, mine: bool) -> Record:
        return Record(self._location, self._name, text, who, when, "message", mine)

    def _event_time(self, event: dict[str, Any]) -> float | None:
        elapsed = event.get("t")
        return self._started_at + elapsed if self._started_at is not None and isinstance(elapsed, int | float) else None


def _decode_rows(rows: str) -> str:
    try:
        raw = bytes.fromhex(rows)
        return sentence_case(tape.decode_text(raw, tape.detect_parity(raw)))
    except (ValueError, TapeDamaged):
        return ""
