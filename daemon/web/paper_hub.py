"""The sheet of the session for its viewers: an observer that takes a stroke in microseconds; streams of events.

Viewers are woken in turns of the event loop, a few in each. Each of them reads from one ring of strokes: a viewer that
reads slowly holds nothing up, and gets the whole sheet if the ring has gone on.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice
from typing import Any

from drivers.clock import CHARACTER_S
from drivers.events import AnswerbackReceived, CharacterStruck, Event, KeyReceived, ParameterDetected
from drivers.paper.paper import Paper, glyph_of
from drivers.profile import Profile

MAX_LINES = 5000  # of the sheet: four hours of paper without a pause; older ones are in the archive
MAX_RECENT = 8192  # strokes in the ring: 13 minutes
VIEWERS_PER_TURN = 8  # of the event loop, so that the next stroke waits a millisecond at most
KEEPALIVE_S = 15.0  # proxies close a stream that is silent for a minute
RETRY_MS = 2000  # after which a browser reconnects

State = dict[str, Any]


class PaperHub:
    """One sheet and its viewers."""

    def __init__(self, profile: Profile, clock: Callable[[], float]) -> None:
        """`clock` is that of the events."""
        self.viewer_count = 0
        self.character_s = CHARACTER_S  # the type wheel meets the paper when the whole character has arrived
        self.answerback = ""  # what the machine's HERE IS key sends, once it has sent it
        self._clock, self._profile = clock, profile
        self._epoch = secrets.token_hex(4)  # a stream of another daemon is not resumed
        self._paper = Paper.for_profile(profile)  # the line that is being printed
        self._lines: list[str] = []  # the finished lines above it, each as JSON
        self._first_line = 0  # number of the oldest line that is kept
        self._count = 0  # of strokes since the start
        self._recent: deque[tuple[int, int | None, float]] = deque(maxlen=MAX_RECENT)
        self._prints_own_keys = profile.duplex == "half"
        self._state: State = {}
        self._state_number = 0
        self._changes = 0  # of sheet and state
        self._wakes: dict[asyncio.Event, None] = {}
        self._waking: Iterator[asyncio.Event] | None = None
        self._woken_for = 0  # the number of changes that all viewers will have heard of
        self._is_closed = False
        # The last events made, since most viewers need the same: by the numbers of the first and last stroke.
        self._encoded: tuple[tuple[int, int], bytes] = ((0, 0), b"")
        self._encoded_sheet: tuple[int, bytes] = (-1, b"")

    def on_event(self, event: Event) -> None:
        match event:
            case CharacterStruck(at=at, byte=byte, column=column):
                self._strike(byte, column, at)
            case KeyReceived(at=at, byte=byte, damaged=False) if self._prints_own_keys:
                self._strike(byte & 0x7F, None, at)
            case ParameterDetected(parameter="duplex", value=value):
                self._prints_own_keys = value == "half"
            case AnswerbackReceived(data=data):
                self.answerback = "".join(map(glyph_of, data)).strip()

    def set_state(self, state: State) -> None:
        """Tells the viewers what they see beside the sheet, if it has changed."""
        if state != self._state:
            self._state = state
            self._state_number += 1
            self._note_change()

    def forget_sheet(self) -> None:
        """Takes what is on the sheet from all viewers, and begins another."""
        column = self._paper.column
        self._epoch = secrets.token_hex(4)
        self._paper = Paper.for_profile(self._profile)
        self._paper.column = column
        self._lines, self._first_line = [], 0
        self._recent.clear()
        self._encoded, self._encoded_sheet = ((0, 0), b""), (-1, b"")
        self._count += 1  # that no stroke in the ring stands for, so that each viewer gets the new sheet
        self._note_change()

    def close(self) -> None:
        """Ends all streams, after the last strokes."""
        self._is_closed = True
        self._note_change()

    async def stream(self, last_event_id: str = "") -> AsyncGenerator[bytes, None]:
        """Yields the sheet from the top, or what is new since `last_event_id`, then each change, until `close`."""
        wake = asyncio.Event()
        self._wakes[wake] = None
        self.viewer_count = len(self._wakes)
        position, state_number = self._resume_position(last_event_id), 0
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while True:
                wake.clear()
                if position is None or self._count - position > len(self._recent):
                    event, position = self._encode_sheet(), self._count
                    yield event
                elif position < self._count:
                    event, position = self._encode_strokes(position, self._count), self._count
                    yield event
                elif state_number != self._state_number:
                    state_number = self._state_number
                    yield _encode_event("state", self._state)
                elif self._is_closed:
                    return
                else:
                    try:
                        async with asyncio.timeout(KEEPALIVE_S):
                            await wake.wait()
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            del self._wakes[wake]
            self.viewer_count = len(self._wakes)

    def _strike(self, byte: int, column: int | None, at: float) -> None:
        paper = self._paper
        if column is not None:
            paper.column = column
        paper.feed(bytes((byte,)))
        if len(paper.lines) > 1:
            self._lines += map(json.dumps, paper.overprint_lines()[:-1])
            del paper.lines[:-1]
            if len(self._lines) > MAX_LINES + 100:  # a hundred at a time: the list moves each time
                del self._lines[:100]
                self._first_line += 100
        self._recent.append((byte, column, at))
        self._count += 1
        self._note_change()

    def _note_change(self) -> None:
        self._changes += 1
        if self._waking is None and self._wakes:
            self._waking = iter(())
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Wakes the next viewers, and goes on in the next turn of the event loop."""
        assert self._waking is not None
        woken = list(islice(self._waking, VIEWERS_PER_TURN))
        if not woken and self._woken_for == self._changes:
            self._waking = None
            return
        if not woken:
            self._woken_for, self._waking = self._changes, iter(list(self._wakes))
        for wake in woken:
            wake.set()
        asyncio.get_running_loop().call_soon(self._wake_some)

    def _resume_position(self, last_event_id: str) -> int | None:
        epoch, _, number = last_event_id.partition(".")
        if epoch != self._epoch or not (number.isascii() and number.isdigit()) or int(number) > self._count:
            return None
        return int(number)

    def _encode_sheet(self) -> bytes:
        """Returns the lines of the sheet, in each "\\r" before another pass, and the column of the carriage."""
        if self._encoded_sheet[0] != self._count:
            lines = ",".join((*self._lines, json.dumps(self._paper.overprint_lines()[-1])))
            head = f'{{"epoch":"{self._epoch}","first":{self._first_line},"column":{self._paper.column}'
            event = f'id: {self._epoch}.{self._count}\nevent: sheet\ndata: {head},"lines":[{lines}]}}\n\n'
            self._encoded_sheet = (self._count, event.encode())
        return self._encoded_sheet[1]

    def _encode_strokes(self, start: int, end: int) -> bytes:
        """Returns the strokes from number `start`: byte, column, and ms until the type wheel meets the paper."""
        if self._encoded[0] != (start, end):
            now = self._clock()
            recent = islice(self._recent, len(self._recent) - (end - start), None)
            strokes = [
                (byte, column, max(0, round((at + self.character_s - now) * 1000))) for byte, column, at in recent
            ]
            self._encoded = ((start, end), _encode_event("strokes", strokes, f"{self._epoch}.{end}"))
        return self._encoded[1]


def _encode_event(name: str, data: Any, number: str = "") -> bytes:
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
