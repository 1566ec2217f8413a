"""Replaces words on a recorded sheet by a neutral glyph. Columns and times stay, so the sheet keeps its look. Pure.

A match is searched in the joined text of the strokes, in all readings of the sheet, and in the lines and answers that
the log has as text. A blank inside a match is replaced too, so that the number of words does not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from daemon.archive.session_reader import StruckByte
from drivers.paper.paper import glyph_of
from drivers.text.charset import fold_text
from tools.cli.errors import ToolError
from tools.log.readings import Reading, read_sheet
from tools.log.recording import Passage, SheetRecording

# On every type wheel, the same on that of 1963, and no part of a word: an X would leave a Malcolm X half readable.
REDACTED = "*"
_FLAGS = re.IGNORECASE | re.MULTILINE

Pattern = re.Pattern[str]


@dataclass(frozen=True, slots=True)
class RedactionResult:
    """The sheet without the matches; the numbers of places and of strokes that were replaced."""

    recording: SheetRecording
    places: int
    strokes: int


def compile_patterns(expressions: Iterable[str], names: Iterable[str]) -> list[Pattern]:
    """Returns the patterns of --redact and --names. Raises ToolError for a bad expression or an empty name.

    A name is found as whole words, in the spelling of the type wheel too.
    """
    patterns = []
    for expression in expressions:
        try:
            patterns.append(re.compile(expression, _FLAGS))
        except re.error as error:
            message = f"--redact {expression!r} is no regular expression: {error}; a backslash makes a sign literal"
            raise ToolError(message, "usage") from None
    for name in names:
        spellings = sorted({" ".join(name.split()), " ".join(fold_text(name).split())} - {""})
        if not spellings:
            raise ToolError("--names has an empty name: separate the names by commas", "usage")
        words = "|".join(r"\s+".join(map(re.escape, spelling.split())) for spelling in spellings)
        patterns.append(re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", _FLAGS))
    return patterns


def redact(recording: SheetRecording, passages: Sequence[Passage], patterns: Sequence[Pattern]) -> RedactionResult:
    """Returns the sheet without what the patterns match."""
    codes = [stroke.byte for stroke in recording.strokes]
    readings = list(read_sheet(codes, recording.profile))
    texts = [passage.text for passage in passages]
    searched = [*patterns, *_literal_patterns(patterns, texts)]
    matched = _find_strokes(readings, searched)
    for passage in passages:  # what was typed matches, but the paper shows it in a way that no reading has
        strokes_of_passage = range(passage.first, passage.end)
        if passage.is_echo and matched.isdisjoint(strokes_of_passage) and _has_match(passage.text, patterns):
            matched.update(strokes_of_passage)
    matched = {number for number in matched if glyph_of(codes[number])}
    strokes = [
        StruckByte(stroke.at_s, ord(REDACTED), stroke.column) if number in matched else stroke
        for number, stroke in enumerate(recording.strokes)
    ]
    model = recording.model
    for pattern in patterns:
        model = pattern.sub(lambda match: REDACTED * len(match[0]), model)
    return RedactionResult(replace(recording, strokes=strokes, model=model), _count_places(matched), len(matched))


def _has_match(text: str, patterns: Iterable[Pattern]) -> bool:
    return any(match[0] for pattern in patterns for match in pattern.finditer(text))


def _literal_patterns(patterns: Sequence[Pattern], texts: Iterable[str]) -> list[Pattern]:
    """Returns patterns for the words that matched in the log's texts, as the type wheel spells them.

    The folding may put signs between the letters, as in 10^23. A whole word in the text is a whole word on the paper.
    """
    literals = set()
    for text in set(texts):
        for match in (match for pattern in patterns for match in pattern.finditer(text)):
            if words := re.findall(r"[A-Z0-9]+", fold_text(match[0])):
                literal = r"[^A-Z0-9]+".join(r"[^A-Z0-9\s]*".join(word) for word in words)
                before, after = text[: match.start()][-1:], text[match.end() :][:1]
                literals.add(("" if before.isalnum() else r"\b") + literal + ("" if after.isalnum() else r"\b"))
    return [re.compile(literal, _FLAGS) for literal in sorted(literals)]


def _find_strokes(readings: Iterable[Reading], patterns: Sequence[Pattern]) -> set[int]:
    """Returns the numbers of the strokes that a match in any reading consists of."""
    found: set[int] = set()
    for reading in readings:
        text = "".join(read.char for read in reading)
        for pattern in patterns:
            for match in pattern.finditer(text):
                for read in reading[match.start() : match.end()]:
                    found.update(read.strokes)
    return found


def _count_places(strokes: set[int]) -> int:
    """Returns the number of runs of strokes."""
    return sum(number - 1 not in strokes for number in strokes)
