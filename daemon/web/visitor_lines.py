"""Lines that visitors of the page type: checked here, then printed and answered by the session as typed lines.

They wait in the lease queue with the jobs of commands, so the operator at the machine comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from daemon.config import AnswerConfig
from daemon.conversation import Conversation
from daemon.session import TeletypeSession
from drivers.errors import DriverError
from drivers.text.charset import fold_text
from model.dialogue import Speakers, choose_speakers
from model.interface import PARAMETERS

MAX_WAITING = 8  # lines: an hour and a half of answers at most
MAX_LINE_CHARS = 360  # five lines of paper
ALLOWED_COMMANDS = (".HELP", ".NEW", ".STATUS")  # the others are the operator's


class LineRefused(Exception):
    """A visitor's line is not typed; `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class VisitorLine:
    """A line as the type wheel prints it, and the settings of its answer."""

    text: str
    answer: AnswerConfig
    speakers: Speakers


class VisitorLines:
    """The lines of all visitors of one session."""

    def __init__(
        self,
        session: TeletypeSession,
        conversation: Conversation,
        answer: AnswerConfig,
        is_private: Callable[[], bool],
    ) -> None:
        """`conversation` and `answer` are the session's own; a line may ask for another speaker or temperature."""
        self.answer = answer
        self._session, self._conversation, self._is_private = session, conversation, is_private
        self._has_machine = False  # a line is printed or answered now
        self._waiting: set[asyncio.Task[None]] = set()
        self._submitted = 0
        self.begun = 0  # lines that are typed, or were

    @property
    def personas(self) -> dict[str, Speakers]:
        """The speakers that may answer, by name, the session's own first; "" continues the text."""
        own = self._conversation
        choices = {speakers.persona: speakers for speakers in (own.speakers, own.other_speakers)}
        names = next((speakers.others for speakers in choices.values() if speakers.others), ())
        return {**choices, **{name: choose_speakers(name, "", names) for name in names if name not in choices}}

    @property
    def waiting(self) -> int:
        """The number of lines that are not answered yet."""
        return len(self._waiting)

    def parse(self, fields: Mapping[str, Any]) -> VisitorLine:
        """Returns the line of a request: `line`, and for its answer `temperature` and `persona`. Raises LineRefused."""
        text, temperature, persona = fields.get("line"), fields.get("temperature"), fields.get("persona")
        if not isinstance(text, str):
            raise LineRefused("there is no line in the request")
        text = " ".join(fold_text(" ".join(text.split())).split())
        text = "".join(char for char in text if " " <= char <= "_")
        if not text.strip():
            raise LineRefused("the line is empty: the type wheel has no such letters")
        if len(text) > MAX_LINE_CHARS:
            raise LineRefused(f"the line has {len(text)} characters: {MAX_LINE_CHARS} are the limit")
        if text[0] == "." and text[1:2].isalpha() and text.split()[0] not in ALLOWED_COMMANDS:
            raise LineRefused(f"{text.split()[0]} is for the operator at the machine", 403)
        return VisitorLine(text, self._parse_temperature(temperature), self.choose_persona(persona))

    def submit(self, line: VisitorLine) -> int:
        """Queues a line; returns its number: it is typed when `begun` has come to it.

        Raises LineRefused if too many wait, or in a private time.
        """
        self.require_public()
        if len(self._waiting) >= MAX_WAITING:
            raise LineRefused(f"{MAX_WAITING} lines wait already: try again when one is answered", 429)
        task = asyncio.ensure_future(self._type(line))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        self._submitted += 1
        return self._submitted

    def require_public(self) -> None:
        """Raises LineRefused in a private time."""
        if self._is_private():
            raise LineRefused("the operator uses the machine in private: try again later", 409)

    def press_break(self) -> None:
        """Stops the answer to a visitor's line as BREAK does; the operator's own answers go on. Raises LineRefused."""
        if not self._has_machine:
            raise LineRefused("no answer to a line from the page is being printed", 409)
        self._session.tty.press_break()

    async def close(self) -> None:
        """Drops the lines that wait."""
        for task in tuple(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _type(self, line: VisitorLine) -> None:
        with self._session.leases.request_lease() as lease:
            await lease.granted.wait()
            self.begun += 1
            if self._is_private():
                return
            self._has_machine = True
            try:
                with contextlib.suppress(DriverError):  # the session meets the lost line too
                    await self._session.run_line(line.text, line.answer, line.speakers)
            finally:
                self._has_machine = False

    def _parse_temperature(self, value: object) -> AnswerConfig:
        low, high = PARAMETERS["temperature"].bounds
        if value is None:
            return self.answer
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise LineRefused(f"the temperature is a number from {low:g} to {high:g}")
        return replace(self.answer, temperature=float(value))

    def choose_persona(self, value: object) -> Speakers:
        """Returns the speakers of a persona's name, the session's own for None. Raises LineRefused."""
        if value is None:
            return self._conversation.speakers
        if not isinstance(value, str) or value not in (personas := self.personas):
            raise LineRefused("the model knows no such persona")
        return personas[value]
