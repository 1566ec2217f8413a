"""What `.TALK` does at the machine: two personas talk on the paper, and BREAK lets the operator say a line.

While a talk waits for that line the session reads it as any other line, so commands, jobs and the end of a visit have
their way meanwhile. A talk is open until something else is said: until then .AGAIN, .BACK and .MORE are about it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from daemon.config import ConversationConfig
from daemon.duologue import EXAMPLE, Duologue, DuologueRequest, choose_operator_name, parse_duologue
from daemon.session_log import SessionLog
from daemon.turns import Turns

MAX_EMPTY_TURNS = 24  # in a row, each with another seed: a GPT-2 of books likes to end the line after a tag
MAX_SHOWN_NAMES = 8

ASK_FOR_LINE = "-- SAY A LINE, OR PRESS RETURN TO END THE TALK --\n"
TALK_ENDED = "THE TALK IS OVER. .MORE GOES ON WITH IT.\n"


class DuologueCommands:
    """The talk of one machine. `is_public_place`: a visitor may ask for no more turns than are usual."""

    def __init__(
        self,
        turns: Turns,
        config: ConversationConfig,
        log: SessionLog,
        print_message: Callable[[str], Awaitable[None]],
        *,
        is_public_place: bool,
    ) -> None:
        self._turns, self._config, self._log, self._print_message = turns, config, log, print_message
        self._is_public_place = is_public_place
        self._talk: Duologue | None = None
        self._is_interrupted = False
        self._changes = -1  # of the turns, when the talk last had the paper

    @property
    def is_open(self) -> bool:
        """Whether the last that was said is the talk."""
        return self._talk is not None and self._changes == self._turns.changes

    @property
    def is_interrupted(self) -> bool:
        """Whether the talk waits for a line of the operator."""
        return self.is_open and self._is_interrupted

    def close(self) -> None:
        """Forgets the talk."""
        self._talk = None

    async def start(self, argument: str) -> bool:
        """.TALK: begins a talk. Without names it ends the one that waits, or tells who may talk; then returns False."""
        if not argument and self.is_interrupted:
            await self.end()
            return False
        if not argument:
            await self._print_message(self._describe_names())
            return False
        try:
            request = parse_duologue(argument, self._known_names)
        except ValueError as error:
            await self._print_message(f".TALK TAKES {error}\n")
            return False
        usual = self._config.talk_turns
        if self._is_public_place and request.turns > usual:
            await self._print_message(f"THIS IS A PUBLIC PLACE: A TALK HAS UP TO {usual} TURNS.\n")
            return False
        await self._begin(request, request.turns or usual)
        return True

    async def hear(self, typed: str) -> None:
        """Adds a line of the operator to the talk that waits for it, and goes on; an empty one ends the talk."""
        assert self._talk is not None
        if not typed.strip():
            await self.end()
            return
        self._say(self._talk, typed)
        self._talk.turns_left = max(self._talk.turns_left, 1)
        await self._run(self._talk)

    async def end(self) -> None:
        """Ends the talk that waits for a line."""
        self._is_interrupted = False
        await self._print_message(TALK_ENDED)

    async def go_on(self) -> None:
        """.MORE: the turns that are left, or as many again."""
        assert self._talk is not None
        self._talk.turns_left = self._talk.turns_left or self._config.talk_turns
        await self._run(self._talk)

    async def answer_again(self) -> None:
        """.AGAIN: takes the last turn back and makes it anew, with the next seed, and goes on."""
        assert self._talk is not None
        if self._talk.past and self._talk.past[-1].name in self._talk.names:
            self._talk.take_back()
            self._talk.turns_left += 1
        self._talk.turns_left = max(self._talk.turns_left, 1)
        await self._run(self._talk)

    def take_back(self) -> str:
        """.BACK: takes the last line of the talk back; returns the line for the paper, or "" if there is none."""
        assert self._talk is not None
        if (line := self._talk.take_back()) is None:
            self.close()
            return ""
        self._talk.turns_left += line.name in self._talk.names
        return f"{line.name}: {line.text}"

    async def _begin(self, request: DuologueRequest, turns: int) -> None:
        you = choose_operator_name(self._turns.conversation.speakers.you, request.names)
        self._talk = Duologue(request.names, you, self._known_names, turns)
        if request.line:
            self._say(self._talk, request.line, request.names[0])
        await self._run(self._talk)

    def _say(self, talk: Duologue, typed: str, speaker: str = "") -> None:
        self._log.write(time.monotonic(), "said", speaker=talk.say(typed, speaker))

    async def _run(self, talk: Duologue) -> None:
        """Makes the turns that are left, until BREAK or an error of the model."""
        self._is_interrupted = False
        self._changes = self._turns.changes
        while talk.turns_left > 0:
            finish = await self._make_turn(talk)
            if finish == "break":
                self._is_interrupted = True
                await self._print_message(ASK_FOR_LINE)
                return
            if finish == "error":
                return

    async def _make_turn(self, talk: Duologue) -> str:
        """Lets the next speaker say one line; returns the finish reason."""
        settings = replace(self._turns.settings, length=self._config.talk_length)
        tag = f"{talk.names[talk.next_speaker]}: "
        for number in range(MAX_EMPTY_TURNS):
            conversation = talk.begin_turn()
            finish = await self._turns.answer_in(conversation, settings, "" if number else tag)
            if finish == "error":
                return finish
            if talk.end_turn(conversation.memory):
                talk.turns_left -= 1
                return finish
            if finish == "break":
                return finish
        await self._print_message(f"-- {talk.names[talk.next_speaker]} HAS NOTHING TO SAY --\n")
        return "error"

    @property
    def _known_names(self) -> tuple[str, ...]:
        conversation = self._turns.conversation
        return conversation.speakers.others or conversation.other_speakers.others

    def _describe_names(self) -> str:
        names = self._known_names[:MAX_SHOWN_NAMES]
        example = f".TALK {names[0]} {names[1]}" if len(names) > 1 else EXAMPLE
        known = f"THE MODEL KNOWS {', '.join(names)}. " if names else ""
        return f"{known}{example} LETS TWO SPEAKERS TALK.\n"
