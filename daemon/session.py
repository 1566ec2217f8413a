"""The session at the machine: it reads a line, runs it as a command or answers it, and lends the machine to commands.

It knows one teletype, one model and one conversation. It does not know how they were built or who observes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

from daemon import commands
from daemon.answer_log import AnswerLog
from daemon.config import AnswerConfig, Config
from daemon.conversation import Conversation
from daemon.exchange import exchange
from daemon.lease_queue import LeaseQueue
from daemon.privacy import Privacy
from daemon.session_log import SessionLog
from daemon.spool.operator import OperatorDesk
from daemon.tape_prompt import read_tape_prompt
from drivers import tape, tape_units
from drivers.errors import EndOfInput, Interrupted, LineLost
from drivers.teletype import Teletype
from model.dialogue import Speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.generate.context_window import tokens_to_keep
from model.interface import Model, TextChunk

Activity = Literal["starting", "listening", "thinking", "printing", "reading", "lent", "leaving"]

_log = logging.getLogger("asr33")


class TeletypeSession:
    """One machine, one model, one conversation. Observers read `activity` and `listening`."""

    def __init__(
        self,
        tty: Teletype,
        model: Model,
        config: Config,
        log: SessionLog,
        adapter_info: str = "",
        conversation: Conversation | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        """`adapter_info` is the verdict of the speed test at the start."""
        self.activity: Activity = "starting"
        self.listening = asyncio.Event()  # set while the operator may type a line; earlier keys are typed ahead
        self.is_stopped = False  # it was cancelled: a signal ends the daemon
        self.leases = LeaseQueue()
        self.spool = OperatorDesk()
        self.tty = tty
        self.adapter_info = adapter_info
        self.privacy = privacy or Privacy()
        self.forget_listeners: list[Callable[[], None]] = []  # called when `asr33 log forget` runs
        self._answer_count = 0
        self._answerback = ""  # the text that the HERE IS key sends
        self._model = model
        self._log = log
        self._answer_config = config.answer
        self._seed = secrets.randbits(31) if config.answer.seed is None else config.answer.seed
        self._conversation = conversation or Conversation()
        self._public_conversation = replace(self._conversation)  # as it was before a private time
        # A copy that includes the line being typed; it is dropped if the line is not answered.
        self._pending_conversation = replace(self._conversation)

    @property
    def is_idle(self) -> bool:
        """Whether no answer runs and the operator has begun no line."""
        return self.listening.is_set() and not self.tty.has_partial_line

    @property
    def model_name(self) -> str:
        return self._model.name

    async def run(self) -> None:
        """Greets, then runs turns until the operator leaves. Raises LineLost, and ModelError if no model loads."""
        try:
            await self._read_answerback()
            await self._greet()
            if self.privacy.is_on:
                await self.print_message(commands.STILL_PRIVATE)
            while True:
                await self._run_turn()
        except EndOfInput:
            self.activity = "leaving"
            await self.print_message("\nGOODBYE.\n")
        except asyncio.CancelledError:
            self.is_stopped = True
            raise

    async def _read_answerback(self) -> None:
        """Asks for the answerback, which the session log records: it names the machine."""
        if self.tty.profile.answerback:
            async with self.tty.until_break():
                self._answerback = tape.decode_text(await tape_units.request_answerback(self.tty)).strip()

    async def _greet(self) -> None:
        """Prints the greeting while the model loads; an error of the model cuts the greeting short."""
        greeting = asyncio.ensure_future(self.print_message(commands.format_greeting(self._model.name, datetime.now())))
        try:
            with engine_errors():
                await self._model.wait_ready()
            if self._model.device:  # a server that does not answer yet has none
                _log.info("model %s runs on %s", self._model.name, self._model.device)
            await greeting
        except (ModelError, ImportError) as error:
            greeting.cancel()
            await asyncio.wait({greeting})
            await self.print_message(commands.format_no_model(getattr(error, "kind", "unavailable")))
            raise
        finally:
            greeting.cancel()
            await asyncio.wait({greeting})

    async def print_message(self, text: str) -> None:
        """Prints a message of the daemon on a fresh line; BREAK cuts it short."""
        async with self.tty.until_break():
            await self.tty.fresh_line()
            await self.tty.print(text)
            await self.tty.flush()

    async def _run_turn(self) -> None:
        # No break scope: the line editor handles a BREAK here, and the next turn prints READY.
        await self.tty.fresh_line()
        await self.tty.print(self._log.take_notice() + "\nREADY\n")
        self._pending_conversation = replace(self._conversation)
        self.activity = "listening"
        self._log.is_typing = True
        self.listening.set()
        try:
            typed = await self._read_line_or_yield()
        except Interrupted:
            return
        finally:
            self.listening.clear()
            self._log.is_typing = False
            self.activity = "printing"
        if typed is None:
            await self._lend_machine()
        else:
            await self._dispatch(typed)

    async def _read_line_or_yield(self) -> str | None:
        """Returns the typed line; None if a command waits for the machine and the operator has begun no line."""
        reading = asyncio.ensure_future(self.tty.read_line(on_key=self._prefill_line))
        try:
            is_read = await self.leases.wait_until_read(reading, lambda: self.tty.has_partial_line)
            return reading.result() if is_read else None
        finally:
            reading.cancel()  # the keys of the partial line stay, as if typed ahead
            await asyncio.wait({reading})

    def _prefill_line(self, text: str) -> None:
        """Lets the model prefill the line while it is typed; a command is not prefilled."""
        if not re.match(r"\s*\.([A-Za-z]|\s*$)", text):
            with contextlib.suppress(ModelError):  # the answer raises it again
                self._fit_context(text)
                self._model.prefill(self._pending_conversation.build_partial_prompt(text))

    async def _lend_machine(self) -> None:
        self.activity = "lent"
        self._log.write(time.monotonic(), "lent")
        await self.leases.grant_next()
        self._log.write(time.monotonic(), "returned")

    async def _dispatch(self, typed: str) -> None:
        self._log.write(time.monotonic(), "typed", text=typed)
        name = typed.strip().upper()
        if not name or name == self._answerback:
            return
        if (command := commands.find_command(typed)) is not None:
            await command(self)
        else:
            await self._answer_line(typed)

    async def run_line(self, typed: str, answer: AnswerConfig, speakers: Speakers) -> None:
        """Prints a line from elsewhere as if it were typed, and runs or answers it with these settings.

        The caller holds the lease of the machine. Raises DriverError.
        """
        config, conversation = self._answer_config, self._conversation
        is_same_mode = bool(speakers.persona) == bool(conversation.speakers.persona)
        memory = conversation.memory if is_same_mode else ""
        self._answer_config, self._conversation = answer, replace(conversation, speakers=speakers, memory=memory)
        self._pending_conversation = replace(self._conversation)
        try:
            self._log.is_typing = True
            async with self.tty.until_break() as scope:
                await self.tty.print(typed + "\n")
            self._log.is_typing = False
            if not scope.is_broken:
                await self._dispatch(typed)
        finally:
            self._log.is_typing = False
            if is_same_mode:
                conversation.memory = self._conversation.memory
            self._answer_config, self._conversation = config, conversation

    async def forget_conversation(self) -> None:
        self._conversation.clear()
        self._public_conversation.clear()
        await self.print_message("ALL FORGOTTEN.\n")

    async def switch_mode(self) -> None:
        self._conversation.switch_mode()
        await self.print_message(commands.format_mode(self._conversation.speakers.persona))

    async def print_status(self) -> None:
        status, profile, model = self.tty.status(), self.tty.profile, self._model
        report = commands.format_status(status, profile, self.adapter_info, model.name, model.device)
        await self.print_message(report + commands.format_log_state(self._log.last_code, self.privacy.is_on))

    async def begin_private(self) -> None:
        """Keeps what follows on the paper only, after a restart too; says so when that holds."""
        if self.privacy.is_on:
            await self.print_message(commands.STILL_PRIVATE)
            return
        self._public_conversation = replace(self._conversation)
        self._log.switch_private(time.monotonic(), True)
        await self.print_message(commands.format_private(self.privacy.switch_on()))

    async def end_private(self) -> None:
        """Ends a private time, and forgets what was said in it."""
        if self.privacy.is_on:
            async with self.tty.until_break():  # after a hang-up a line that is not struck would be sent again
                await self.tty.fresh_line()
                await self.tty.finish()
            self._conversation.restore(self._public_conversation)
            self.privacy.switch_off()
            self._log.switch_private(time.monotonic(), False)
        await self.print_message(commands.PUBLIC_AGAIN)

    async def leave(self) -> None:
        raise EndOfInput

    async def answer_tape(self) -> None:
        """Reads a prompt from the tape reader and answers it."""
        self.activity = "reading"
        if text := await read_tape_prompt(self.tty, self._log, self.print_message):
            await self._answer_line(text)

    async def _answer_line(self, typed: str) -> None:
        stop, opening = self._conversation.speakers.stop_sequences, self._conversation.choose_opening(typed)
        sampling = self._answer_config.make_sampling(self._seed + self._answer_count, stop, opening)
        self.activity = "thinking"
        finish, answer_log = "stopped", AnswerLog(self._log)
        try:
            self._fit_context(typed)
            prompt = self._pending_conversation.build_prompt(typed)
            forgotten = len(self._conversation.memory) - len(self._pending_conversation.memory)
            answer_log.write_prompt(prompt, sampling, forgotten)

            def on_chunk(chunk: TextChunk) -> None:
                self.activity = "printing"
                answer_log.write_chunk(chunk)

            tag = self._conversation.speakers.persona_tag
            with engine_errors():
                answer, finish = await exchange(self.tty, self._model, prompt, sampling, on_chunk, tag)
        except ModelError as error:
            # The session goes on: the next line may be answered.
            finish = "error"
            _log.error("%s", "the model failed; the session is private" if self.privacy.is_on else error)
            answer_log.write_error(str(error))
            await self.print_message(f"-- {error} --\n")
        except LineLost:
            finish = "lost"
            raise
        else:
            self._conversation.add_answer(prompt, answer, answer_log.forgotten_chars)
            self._answer_count += 1
            if finish == "break":
                await self._mark_break()
        finally:
            answer_log.write_end(finish)

    async def _mark_break(self) -> None:
        """Prints ^C after the answer: the sheet shows that the operator ended it."""
        async with self.tty.until_break():
            await self.tty.print("^C")
            await self.tty.flush()

    def _fit_context(self, typed: str) -> None:
        """Drops the oldest lines if they leave no room for the answer."""
        context = self._model.context
        # A token has three characters or more. During an answer over a quarter of the context the model drops lines.
        limit = context - min(context // 4, self._answer_config.length // 3 + 64)
        self._pending_conversation.drop_oldest_lines(typed, self._model.count_tokens, limit, tokens_to_keep(context))
