"""Finds the lines of a log that hold the text of each answer: where its line was typed, the prompt, and the strokes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from daemon.archive.log_records import parse_record


@dataclass(slots=True)
class TurnSpan:
    """Lines `first` to `last` of a log, counted from 0, belong to the prompt of this number; 0: to a command's text.

    `extra` are further lines with its text: keys that were typed ahead, and characters that were struck again.
    """

    number: int
    first: int
    prompt: int
    typed: str = ""
    last: int = -1
    extra: set[int] = field(default_factory=set)

    def lines(self) -> set[int]:
        return {*range(self.first, self.last + 1), *self.extra}


@dataclass(slots=True)
class LogSpans:
    """The spans of a log's answers and of its printed texts."""

    turns: list[TurnSpan] = field(default_factory=list)
    jobs: list[TurnSpan] = field(default_factory=list)
    line_count: int = 0


def find_spans(lines: Iterable[bytes]) -> LogSpans:
    """Returns the spans of a log's lines. In doubt a line belongs to the answer that follows it."""
    finder = _SpanFinder()
    for number, line in enumerate(lines):
        finder.add(number, line)
    return finder.finish()


class _SpanFinder:
    def __init__(self) -> None:
        self._spans = LogSpans()
        self._prompts = 0
        self._begin = 1  # the first line after the answer before; line 0 is the header
        self._typed: int | None = None  # line of a `typed` record that no prompt has followed yet
        self._typed_text = ""
        self._open: TurnSpan | None = None
        self._keys: list[int] = []  # lines of `rx` records
        self._returns: list[int] = []  # lines of `typed` records
        self._ends: list[int] = []  # last lines of answers and printed texts
        self._again = 0  # characters that are struck again

    def add(self, at: int, line: bytes) -> None:
        self._spans.line_count = at + 1
        if line.find(b'"ev":"tx"', 0, 40) > 0:
            self._note_stroke(at)
            return
        if line.find(b'"ev":"rx"', 0, 40) > 0:
            self._keys.append(at)
            return
        if (record := parse_record(line)) is None:
            return
        match record["ev"]:
            case "typed":
                self._note_typed(at, str(record.get("text", "")))
            case "prompt":
                self._close(at - 1)
                self._prompts += 1
                self._open = TurnSpan(self._prompts, self._begin, at, self._typed_text)
                self._spans.turns.append(self._open)
            case "lent":
                self._close(at - 1)
                self._open = TurnSpan(0, at, at)
                self._spans.jobs.append(self._open)
            case "end" | "returned":
                self._close(at)
            case "gap":
                forgotten = record.get("prompts")
                self._prompts += forgotten if isinstance(forgotten, int) else 0
            case "found":
                again = record.get("again")
                self._again = again if isinstance(again, int) else 0

    def finish(self) -> LogSpans:
        self._close(self._spans.line_count - 1)
        for span in self._spans.turns:
            span.extra.update(self._find_keys(span))
        return self._spans

    def _note_stroke(self, at: int) -> None:
        if self._again > 0:
            self._again -= 1
            owners = self._spans.turns[-1:] + self._spans.jobs[-1:]
            if self._open is None and owners:
                max(owners, key=lambda span: span.last).extra.add(at)

    def _note_typed(self, at: int, text: str) -> None:
        self._close(at - 1)  # of a log with a gap
        if self._typed is not None:  # the line before was a command
            self._begin = self._typed + 1
        self._typed, self._typed_text = at, text
        self._returns.append(at)

    def _close(self, last: int) -> None:
        if self._open is not None:
            self._open.last = last
            self._ends.append(last)
            self._begin = last + 1
            self._open, self._typed, self._typed_text = None, None, ""

    def _find_keys(self, span: TurnSpan) -> list[int]:
        """Returns the keys of the line that was answered, and of those around it if the operator typed ahead."""
        if not self._keys or not span.typed:
            return []
        position = bisect_right(self._returns, span.prompt) - 1
        if position < 0:
            return []
        end = self._returns[position]
        while position > 0 and self._is_typed_ahead(position):
            position -= 1
        return self._between(self._returns[position - 1] if position > 0 else 0, end)

    def _is_typed_ahead(self, position: int) -> bool:
        """Whether keys of this line may lie before the last RETURN: it was begun while an answer was printed."""
        keys = self._between(self._returns[position - 1], self._returns[position])
        ends_before = bisect_right(self._ends, self._returns[position])
        return not keys or (ends_before > 0 and keys[0] < self._ends[ends_before - 1])

    def _between(self, begin: int, end: int) -> list[int]:
        return self._keys[bisect_right(self._keys, begin) : bisect_right(self._keys, end)]
