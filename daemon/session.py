"""The session at the machine: it reads a line, runs it as a command or answers it, and lends the machine to commands.

It knows one teletype, one model and one conversation. It does not know how they were built or who observes them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from datetime import datetime

from daemon import commands
from daemon.config import AnswerConfig, Config
from daemon.conversation import Conversation
from daemon.exchange import print_message
from daemon.lease_queue import LeaseQueue
from daemon.people import ForgetStored
from daemon.privacy import Privacy
from daemon.saved_conversations import SavedConversations
from daemon.session_commands import SessionCommands
from daemon.session_log import SessionLog
from daemon.turns import Activity, Turns
from daemon.visit import Visit
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
        saved: SavedConversations | None = None,
    ) -> None:
        """`adapter_info` is the verdict of the speed test at the start."""
        self.listening = asyncio.Event()  # set while the operator may type a line; earlier keys are typed ahead
        self.is_stopped = False  # it was cancelled: a signal ends the daemon
        self.leases = LeaseQueue()
        self.tty, self.adapter_info = tty, adapter_info
        self.privacy = privacy or Privacy()
        self.forget_listeners: list[Callable[[], None]] = []  # called when `asr33 log forget` runs
        self.forget_stored: list[ForgetStored] = []  # what spool and bridges keep of a person
        self._answerback = ""  # the text that the HERE IS key sends
        self._log = log
        self.turns = Turns(tty, model, config.answer, log, conversation or Conversation(), self.privacy)
        self.visit = Visit(config.hall.forget_after, tty.clock)
        self.commands = SessionCommands(tty, self.turns, self.visit, config, log, self.privacy, saved, adapter_info)
        self.spool = self.commands.spool
        self._has_break_only = config.machine.keyboard == "none"

    @property
    def activity(self) -> Activity:
        return self.turns.activity

    @property
    def is_idle(self) -> bool:
        """Whether no answer runs and the operator has begun no line."""
        return self.listening.is_set() and not self.tty.has_partial_line

    def is_model_free(self) -> bool:
        """Whether the operator has begun no line and gets no answer: others may use the model."""
        return self.activity in ("listening", "lent") and not self.tty.has_partial_line

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
            self.print_message(
                commands.format_greeting(self.turns.model.name, datetime.now(), has_keyboard=not self._has_break_only)
            )
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
        if self.visit.is_over:  # the machine was lent for that long
            await self.commands.end_visit()
        await self.tty.fresh_line()
        await self.tty.print(self._log.take_notice() + ("" if self._has_break_only else "\nREADY\n"))
        self.turns.begin_line()
        self.turns.activity = "listening"
        self._log.is_typing = True
        self.listening.set()
        try:
            typed = await self._read_line_or_yield()
        except Interrupted:
            typed = ".MORE" if self._has_break_only else ""
        except EndOfInput:
            typed = ".BYE"
        finally:
            self.listening.clear()
            self._log.is_typing = False
            self.turns.activity = "printing"
        if typed is None:
            await (self.commands.end_visit() if self.visit.is_over else self._lend_machine())
        elif typed or self.commands.waits_for_line:
            await self._dispatch(typed)
            self.visit.extend()

    async def _read_line_or_yield(self) -> str | None:
        """Returns the typed line; None if a command waits for the machine and the operator has begun no line."""
        reading = asyncio.ensure_future(self.tty.read_line(on_key=self._note_key))
        watching = asyncio.ensure_future(self.visit.cancel_at_end(reading))
        try:
            is_read = await self.leases.wait_until_read(reading, lambda: self.tty.has_partial_line)
            if reading.cancelled():
                self.tty.discard_typed()
                return None
            return reading.result() if is_read else None
        finally:
            watching.cancel()
            reading.cancel()  # the keys of the partial line stay, as if typed ahead
            await asyncio.wait({reading, watching})

    def _note_key(self, text: str) -> None:
        """Lets the model prefill the line while it is typed; a command is not prefilled."""
        self.visit.note_keys(self.tty.counters.keyed)
        if not re.match(r"\s*\.([A-Za-z]|\s*$)", text) and not self.commands.waits_for_line:
            self.turns.prefill_line(text)

    async def _lend_machine(self) -> None:
        self.turns.activity = "lent"
        self._log.write(time.monotonic(), "lent")
        await self.leases.grant_next()
        self._log.write(time.monotonic(), "returned")

    async def _dispatch(self, typed: str) -> None:
        self._log.write(time.monotonic(), "typed", text=typed)
        name = typed.strip().upper()
        if not name and self.commands.waits_for_line:
            await self.commands.end_wait()
        if not name or name == self._answerback:
            return
        if (command := commands.find_command(typed)) is not None:
            await command(self.commands)
        else:
            await self.commands.answer_line(typed)

    async def run_line(self, typed: str, answer: AnswerConfig, speakers: Speakers) -> None:
        """Prints a line from elsewhere as if it were typed, and runs or answers it with these settings.

        The caller holds the lease of the machine. Raises DriverError.
        """
        if self.visit.is_over:
            await self.commands.end_visit()
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
            self.visit.extend()

    async def forget_conversation(self) -> None:
        await self.commands.forget_conversation()
