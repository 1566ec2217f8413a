"""What a machine struck in a session, and when: all that replay and the exporters get of a log. Pure.

It holds nothing of what was typed or generated beside the paper, no name of a host and no path.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from daemon.archive.session_reader import ArchivedSession, StruckByte
from drivers.clock import CHARACTER_S
from drivers.paper.paper import BEL, CR, LF, Paper, glyph_of
from drivers.profile import COLUMNS, RANGES, Profile
from drivers.virtual import Strike
from tools.paper_view.scrolling import visible_glyph

_PLAIN_NAME = re.compile(r"[\w.+ -]{1,60}")  # of a model; a URL and a path are none


@dataclass(frozen=True, slots=True)
class SheetMarker:
    """The beginning of an answer: its time, and a label without any of its text."""

    at_s: float
    label: str


@dataclass(frozen=True, slots=True)
class SheetRecording:
    """The strokes of a sheet in order, without fill and codes that print nothing; times are seconds of the session."""

    strokes: Sequence[StruckByte]
    profile: Profile
    started_at: datetime
    duration_s: float = 0.0
    model: str = ""  # its plain name; empty if that is a URL or a path
    markers: Sequence[SheetMarker] = ()

    def paper(self) -> Paper:
        """Returns the sheet."""
        paper = Paper.for_profile(self.profile)
        paper.feed(bytes(stroke.byte for stroke in self.strokes))
        return paper


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of the log and the strokes that printed it: strokes[first:end] of the recording. `is_echo`: it was typed.

    The text may differ from the print: by case, by accents, by what was rubbed out.
    """

    text: str
    first: int
    end: int
    is_echo: bool = False


def record_sheet(session: ArchivedSession) -> tuple[SheetRecording, list[Passage]]:
    """Returns what the machine struck, and the texts of the log that belong to it."""
    indexed = [(stroke.at_s, number, stroke) for number, stroke in enumerate(session.strokes)]
    if session.is_half_duplex:  # the machine has printed its keys by itself, at the start of their character times
        keys = [StruckByte(max(0.0, key.at_s - CHARACTER_S), key.byte & 0x7F, None) for key in session.keys]
        indexed += [(key.at_s, -1, key) for key in keys]
        indexed.sort(key=lambda item: item[0])
    indexed = [item for item in indexed if leaves_mark(item[2].byte)]
    strokes: list[StruckByte] = []
    for _, _, stroke in indexed:  # times of a damaged log may go back
        is_late = strokes and stroke.at_s < strokes[-1].at_s
        strokes.append(replace(stroke, at_s=strokes[-1].at_s) if is_late else stroke)
    recording = SheetRecording(
        strokes,
        _profile_of(session, strokes),
        session.started_at,
        max([session.duration_s, *(stroke.at_s + CHARACTER_S for stroke in strokes[-1:])]),
        session.header.model if _PLAIN_NAME.fullmatch(session.header.model) else "",
        [SheetMarker(turn.at_s, f"{turn.number} {turn.code}") for turn in session.turns],
    )
    places = {number: place for place, (_, number, _) in enumerate(indexed)}
    return recording, list(_passages(session, strokes, places))


def leaves_mark(byte: int) -> bool:
    """Whether a byte prints, moves the carriage or the paper, or rings: not fill, and no code for reader or punch."""
    return byte in (BEL, LF, CR) or glyph_of(byte) != ""


def visible_lines(recording: SheetRecording) -> list[str]:
    """Returns the sheet as an eye reads it: an underlined glyph shows, of several others the last one."""
    arrows = str.maketrans("^_", "↑←") if recording.profile.wheel == "1963" else {}
    lines = ("".join(visible_glyph(cell)[0] for cell in line).rstrip() for line in recording.paper().lines)
    return [line.translate(arrows) for line in lines]


def strikes_of(recording: SheetRecording) -> Iterator[Strike]:
    """Yields each stroke with the column in which it falls on a sheet whose carriage starts at the left margin."""
    paper = Paper.for_profile(recording.profile)
    for stroke in recording.strokes:
        yield Strike(stroke.at_s, stroke.byte, min(paper.column, paper.columns - 1))
        paper.feed(bytes((stroke.byte,)))


def _profile_of(session: ArchivedSession, strokes: Sequence[StruckByte]) -> Profile:
    """Returns the profile of the header; a log without one had as many columns as its strokes reach."""
    profile = Profile(**_valid_options(session.header.profile))
    if session.header.profile:
        return profile
    reached = max((stroke.column or 0 for stroke in strokes if glyph_of(stroke.byte)), default=0) + 1
    return replace(profile, columns=min(max(COLUMNS, reached), int(RANGES["columns"][1])))


def _valid_options(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options that a Profile has, of its types and in its ranges."""
    defaults = asdict(Profile())
    return {name: value for name, value in options.items() if _is_valid(name, value, defaults.get(name))}


def _is_valid(name: str, value: Any, default: Any) -> bool:
    low, high = RANGES.get(name, (value, value))
    return type(value) is type(default) and bool(low <= value <= high)


def _passages(session: ArchivedSession, strokes: Sequence[StruckByte], places: dict[int, int]) -> Iterator[Passage]:
    """Yields the typed line and the answer of each turn."""
    before_s = 0.0  # the end of the answer before: keys typed ahead are echoed after it
    for turn in session.turns:
        if turn.typed:
            yield Passage(turn.typed, _first_at(strokes, before_s), _first_at(strokes, turn.at_s), is_echo=True)
        answer = [places[number] for number in range(turn.first_stroke, turn.last_stroke + 1) if number in places]
        if answer and turn.answer:
            yield Passage(turn.answer, answer[0], answer[-1] + 1)
        before_s = max(before_s, turn.end_s)


def _first_at(strokes: Sequence[StruckByte], at_s: float) -> int:
    """Returns the number of the first stroke at this time or later."""
    return bisect_left(strokes, at_s, key=lambda stroke: stroke.at_s)
