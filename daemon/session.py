"""The session at the machine: it reads a line, runs it as a command or answers it, and lends the machine to commands.

It knows one teletype, one model and one conversation. It does not know how they were built or who observes them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from daemon import commands
from daemon.config import AnswerConfig, Config
from daemon.conversation import Conversation
from daemon.exchange import print_message
from daemon.lease_queue import LeaseQueue
from daemon.privacy import Privacy
from daemon.session_log import SessionLog
from daemon.spool.operator import OperatorDesk
from daemon.tape_prompt import read_tape_prompt
from daemon.turns import Activity, Turns
from drivers import tape, tape_units
from drivers.errors import EndOfInput, Interrupted
from drivers.teletype import Teletype
from model.dialogue import Speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.interface import Model

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
        self.listening = asyncio.Event()  # set while the operator may type a line; earlier keys are typed ahead
        self.is_stopped = False  # it was cancelled: a signal ends the daemon
        self.leases = LeaseQueue()
        self.spool = OperatorDesk()
        self.tty = tty
        self.adapter_info = adapter_info
        self.privacy = privacy or Privacy()
        self.forget_listeners: list[Callable[[], None]] = []  # called when `asr33 log forget` runs
        self._answerback = ""  # the text that the HERE IS key sends
        self._log = log
        self.turns = Turns(tty, model, config.answer, log, conversation or Conversation(), self.privacy)
        self._public_conversation = replace(self.turns.conversation)  # as it was before a private time

    @property
    def activity(self) -> Activity:
        return self.turns.activity

    @property
    def is_idle(self) -> bool:
        """Whether no answer runs and the operator has begun no line."""
        return self.listening.is_set() and not self.tty.has_partial_line

    @property
    def model_name(self) -> str:
        return self.turns.model.name

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
            self.turns.activity = "leaving"
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
        greeting = asyncio.ensure_future(
            self.print_message(commands.format_greeting(self.turns.model.name, datetime.now()))
        )
        try:
            with engine_errors():
                await self.turns.model.wait_ready()
            if self.turns.model.device:  # a server that does not answer yet has none
                _log.info("model %s runs on %s", self.turns.model.name, self.turns.model.device)
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
        await print_message(self.tty, text)

    async def _run_turn(self) -> None:
        # No break scope: the line editor handles a BREAK here, and the next turn prints READY.
        await self.tty.fresh_line()
        await self.tty.print(self._log.take_notice() + "\nREADY\n")
        self.turns.begin_line()
        self.turns.activity = "listening"
        self._log.is_typing = True
        self.listening.set()
        try:
            typed = await self._read_line_or_yield()
        except Interrupted:
            return
        finally:
            self.listening.clear()
            self._log.is_typing = False
            self.turns.activity = "printing"
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
            self.turns.prefill_line(text)

    async def _lend_machine(self) -> None:
        self.turns.activity = "lent"
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
            await self.turns.answer_line(typed)

    async def run_line(self, typed: str, answer: AnswerConfig, speakers: Speakers) -> None:
        """Prints a line from elsewhere as if it were typed, and runs or answers it with these settings.

        The caller holds the lease of the machine. Raises DriverError.
        """
        try:
            with self.turns.use_settings(answer, speakers):
                self._log.is_typing = True
                async with self.tty.until_break() as scope:
                    await self.tty.print(typed + "\n")
                self._log.is_typing = False
                if not scope.is_broken:
                    await self._dispatch(typed)
        finally:
            self._log.is_typing = False

    async def forget_conversation(self) -> None:
        self.turns.conversation.clear()
        self._public_conversation.clear()
        await self.print_message("ALL FORGOTTEN.\n")

    async def switch_mode(self) -> None:
        self.turns.conversation.switch_mode()
        await self.print_message(commands.format_mode(self.turns.conversation.speakers.persona))

    async def print_status(self) -> None:
        status, profile, model = self.tty.status(), self.tty.profile, self.turns.model
        report = commands.format_status(status, profile, self.adapter_info, model.name, model.device)
        await self.print_message(report + commands.format_log_state(self._log.last_code, self.privacy.is_on))

    async def begin_private(self) -> None:
        """Keeps what follows on the paper only, after a restart too; says so when that holds."""
        if self.privacy.is_on:
            await self.print_message(commands.STILL_PRIVATE)
            return
        self._public_conversation = replace(self.turns.conversation)
        self._log.switch_private(time.monotonic(), True)
        await self.print_message(commands.format_private(self.privacy.switch_on()))

    async def end_private(self) -> None:
        """Ends a private time, and forgets what was said in it."""
        if self.privacy.is_on:
            async with self.tty.until_break():  # after a hang-up a line that is not struck would be sent again
                await self.tty.fresh_line()
                await self.tty.finish()
            self.turns.conversation.restore(self._public_conversation)
            self.privacy.switch_off()
            self._log.switch_private(time.monotonic(), False)
        await self.print_message(commands.PUBLIC_AGAIN)

    async def leave(self) -> None:
        raise EndOfInput

    async def answer_tape(self) -> None:
        """Reads a prompt from the tape reader and answers it."""
        self.turns.activity = "reading"
        if text := await read_tape_prompt(self.tty, self._log, self.print_message):
            await self.turns.answer_line(text)
