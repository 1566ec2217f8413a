"""Removes answers, printed texts or whole sessions from a log. A gap record in their place keeps the timing.

A later prompt of the same session has the conversation before it in its text; that is removed too. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from daemon.archive.log_records import Record, parse_record
from daemon.archive.session_reader import FORGOTTEN
from daemon.archive.turn_spans import LogSpans, TurnSpan
from daemon.conversation import sentence_case
from daemon.people import find_speakers, is_person
from model.printable import escape_controls

# These records tell of the machine, and when; every other record of a forgotten span goes.
KEPT_RECORDS = {
    *("session", "clock", "private", "rotated", "gap", "close", "motor", "learned", "noise"),
    *("lost", "found", "paused", "resumed", "break", "lent", "returned", "answerback"),
}


@dataclass(slots=True)
class Selection:
    """What to forget of one log: all of it, or answers by number and printed texts by position, from 0.

    `memory_after`: prompts with a higher number lose the conversation in their text; their answers stay. `person`: the
    name that leaves the header. Answers in chat rooms go if the person asked or speaks in them (`chats_of`), or if they
    are from before `chats_until_s` of the log.
    """

    is_whole: bool = False
    turns: set[int] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)
    memory_after: int | None = None
    person: str = ""
    chats_of: str = ""
    chats_until_s: float = 0.0

    @property
    def removes_text(self) -> bool:
        """Whether more goes than the conversation in prompts."""
        return bool(self.is_whole or self.turns or self.jobs or self.chats_of or self.chats_until_s)

    def has_chat(self, record: Record) -> bool:
        """Whether a record is a `chat` to forget."""
        if record["ev"] != "chat":
            return False
        texts = find_speakers(f"{record.get('prompt')}\n{record.get('text')}")
        by_person = bool(self.chats_of) and is_person(self.chats_of, {str(record.get("nick")), *texts})
        return by_person or record["t"] < self.chats_until_s


@dataclass(slots=True)
class _Removal:
    """One span that is removed: where it ends, and of which records the gap tells."""

    last_line: int
    times: list[float] = field(default_factory=list)
    prompts: int = 0

    def add(self, record: Record) -> None:
        self.times.append(record["t"])
        self.prompts += record["ev"] == "prompt"

    def make_gap(self) -> bytes:
        if not self.times:
            return b""
        start, end = min(self.times), max(self.times)
        gap = {"t": end, "ev": "gap", "from": start, "to": end, "lost": len(self.times), "why": FORGOTTEN}
        return encode_line(gap | ({"prompts": self.prompts} if self.prompts else {}))


def forget_lines(lines: Iterable[bytes], spans: LogSpans, selection: Selection) -> Iterator[bytes]:
    """Yields the lines of a log without what is selected. `spans` are those of the same lines."""
    removals = _find_removals(spans, selection)
    prompts = _find_prompts_with_memory(spans, selection)
    for at, line in enumerate(lines):
        record = parse_record(line)
        if record is None:  # a damaged line may have any text
            continue
        gap = b""
        if (removal := removals.get(at)) is not None:
            if record["ev"] not in KEPT_RECORDS:
                removal.add(record)
                line = b""
            gap = removal.make_gap() if at == removal.last_line else b""
        elif selection.has_chat(record):
            removal = _Removal(at)
            removal.add(record)
            line = removal.make_gap()
        elif at in prompts:
            line = _without_memory(line, record, prompts[at])
        if at == 0 and selection.person:
            line = encode_line(_without_person(record, selection.person))
        yield from filter(None, (gap, line))


def encode_line(record: Record) -> bytes:
    """Returns a record as a line of a log."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return escape_controls(text).encode("utf-8", "backslashreplace") + b"\n"


def _find_removals(spans: LogSpans, selection: Selection) -> dict[int, _Removal]:
    """Returns the removal that each line belongs to; only lines of forgotten spans are among them."""
    if selection.is_whole:
        return dict.fromkeys(range(1, spans.line_count), _Removal(spans.line_count - 1))
    chosen = [span for span in spans.turns if span.number in selection.turns]
    chosen += [span for position, span in enumerate(spans.jobs) if position in selection.jobs]
    removals: dict[int, _Removal] = {}
    for span in chosen:
        lines = span.lines()
        removals |= dict.fromkeys(lines, _Removal(max(lines)))
    return removals


def _find_prompts_with_memory(spans: LogSpans, selection: Selection) -> dict[int, TurnSpan]:
    """Returns the turns that stay, but whose prompts tell of forgotten ones, by the line of the prompt."""
    first = selection.memory_after
    return {} if first is None else {span.prompt: span for span in spans.turns if span.number > first}


def _without_memory(line: bytes, record: Record, span: TurnSpan) -> bytes:
    """Returns a prompt with the typed line alone. It ends the prompt, so that nothing of the memory follows it."""
    text, own = str(record.get("text", "")), sentence_case(span.typed).strip()
    start = text.rfind(own) if own else -1
    kept = text[start:] if start >= 0 else ""
    if kept == text:
        return line
    return encode_line(record | {"text": kept, "forgotten": len(text) - len(kept)})


def _without_person(header: Record, person: str) -> Record:
    return header | {key: "" for key in ("persona", "you") if is_person(person, [str(header.get(key, ""))])}
