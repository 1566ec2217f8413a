"""A recorded sheet as asciicast v2, for asciinema's players: https://docs.asciinema.org/manual/asciicast/v2/. Pure.

A terminal cannot overstrike: a glyph struck twice is bold there, and one over `_` underlined. Keys are left out, since
the paper shows them.
"""

from __future__ import annotations

import json
from typing import Any

from drivers.paper.paper import glyph_of
from tools.log.recording import SheetRecording, strikes_of
from tools.paper_view.scrolling import ScrollingPaper

_ROWS = 24
_BLANK = 0x20
_DECIMALS = 4  # of a second, as in the log


def encode_asciicast(recording: SheetRecording) -> bytes:
    """Returns the file: a header, then an event for each stroke and each answer's marker, in the order of time."""
    columns = recording.profile.columns
    header: dict[str, Any] = {"version": 2, "width": columns, "height": _ROWS}
    header["timestamp"] = int(recording.started_at.timestamp())
    header["duration"] = round(recording.duration_s, _DECIMALS)
    header["title"] = f"asr33 session, model {recording.model}" if recording.model else "asr33 session"
    terminal = ScrollingPaper(recording.profile, columns)
    events: list[tuple[float, str, str]] = [(marker.at_s, "m", marker.label) for marker in recording.markers]
    inked: set[int] = set()  # columns of this line
    for strike in strikes_of(recording):
        text = terminal.render_strike(strike, columns)
        if strike.byte == _BLANK and strike.column not in inked and strike.column < columns - 1:
            text = " "  # it moves the cursor too, and a search finds the words
        if "\n" in text:
            inked.clear()
            text = text.replace("\n", "\r\n")  # a player returns its cursor as it is told
        elif glyph_of(strike.byte).strip():
            inked.add(strike.column)
        if text:
            events.append((strike.start, "o", text))
    events.sort(key=lambda event: event[0])
    lines = [header, *([round(max(0.0, at), _DECIMALS), code, data] for at, code, data in events)]
    return "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines).encode()
