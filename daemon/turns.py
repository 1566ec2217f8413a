"""The turns of a conversation: a line becomes a prompt, the answer goes to the paper and the log, and is remembered.

It knows one teletype, one model and one conversation. It knows no command, and not who waits for the machine.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from daemon.answer_log import AnswerLog
from daemon.config import AnswerConfig
from daemon.conversation import Conversation
from daemon.exchange import exchange, print_message
from daemon.privacy import Privacy
from daemon.session_log import SessionLog
from drivers.errors import LineLost
from drivers.teletype import Teletype
from model.dialogue import Speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.generate.context_window import tokens_to_keep
from model.interface import Model, TextChunk

Activity = Literal["starting", "listening", "thinking", "printing", "reading", "lent", "leaving"]

_log = logging.getLogger("asr33")


class Turns:
    """The turns at one machine. Observers read `activity`."""

    def __init__(
        self,
        tty: Teletype,
        model: Model,
        answer: AnswerConfig,
        log: SessionLog,
        conversation: Conversation,
        privacy: Privacy,
    ) -> None:
        self.activity: Activity = "starting"
        self.model = model
        self.conversation = conversation
        self.settings = answer
        self._tty, self._log, self._privacy = tty, log, privacy
        self._seed = secrets.randbits(31) if answer.seed is None else answer.seed
        self._answer_count = 0
        self.begin_line()

    def begin_line(self) -> None:
        """Makes a copy of the conversation for the line that comes; it is dropped if the line is not answered."""
        self._pending_conversation = replace(self.conversation)

    def prefill_line(self, text: str) -> None:
        """Lets the model prefill the line while it is typed."""
        with contextlib.suppress(ModelError):  # the answer raises it again
            self._fit_context(text)
            self.model.prefill(self._pending_conversation.build_partial_prompt(text))

    @contextlib.contextmanager
    def use_settings(self, answer: AnswerConfig, speakers: Speakers) -> Iterator[None]:
        """Answers with these settings inside the block. Other speakers begin their own conversation."""
        own_settings, own = self.settings, self.conversation
        is_same_mode = bool(speakers.persona) == bool(own.speakers.persona)
        memory = own.memory if is_same_mode else ""
        self.settings, self.conversation = answer, replace(own, speakers=speakers, memory=memory)
        self.begin_line()
        try:
            yield
        finally:
            if is_same_mode:
                own.memory = self.conversation.memory
            self.settings, self.conversation = own_settings, own

    async def answer_line(self, typed: str) -> None:
        """Answers a line on the paper. Raises DriverError; an error of the model is printed."""
        stop, opening = self.conversation.speakers.stop_sequences, self.conversation.choose_opening(typed)
        sampling = self.settings.make_sampling(self._seed + self._answer_count, stop, opening)
        self.activity = "thinking"
        finish, answer_log = "stopped", AnswerLog(self._log)
        try:
            self._fit_context(typed)
            prompt = self._pending_conversation.build_prompt(typed)
            forgotten = len(self.conversation.memory) - len(self._pending_conversation.memory)
            answer_log.write_prompt(prompt, sampling, forgotten)

            def on_chunk(chunk: TextChunk) -> None:
                self.activity = "printing"
                answer_log.write_chunk(chunk)

            tag = self.conversation.speakers.persona_tag
            with engine_errors():
                answer, finish = await exchange(self._tty, self.model, prompt, sampling, on_chunk, tag)
        except ModelError as error:
            # The session goes on: the next line may be answered.
            finish = "error"
            _log.error("%s", "the model failed; the session is private" if self._privacy.is_on else error)
            answer_log.write_error(str(error))
            await print_message(self._tty, f"-- {error} --\n")
        except LineLost:
            finish = "lost"
            raise
        else:
            self.conversation.add_answer(prompt, answer, answer_log.forgotten_chars)
            self._answer_count += 1
            if finish == "break":
                await self._mark_break()
        finally:
            answer_log.write_end(finish)

    async def _mark_break(self) -> None:
        """Prints ^C after the answer: the sheet shows that the operator ended it."""
        async with self._tty.until_break():
            await self._tty.print("^C")
            await self._tty.flush()

    def _fit_context(self, typed: str) -> None:
        """Drops the oldest lines if they leave no room for the answer."""
        context = self.model.context
        # A token has three characters or more. During an answer over a quarter of the context the model drops lines.
        limit = context - min(context // 4, self.settings.length // 3 + 64)
        self._pending_conversation.drop_oldest_lines(typed, self.model.count_tokens, limit, tokens_to_keep(context))
