"""Whose turn it is: the operator's, the model's, or a command's that wants the machine for a while.

Knows one teletype, one model, one conversation. How they were made, and who watches, is not its affair.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Literal

from daemon import commands
from daemon.config import Config
from daemon.conversation import Conversation
from daemon.exchange import exchange
from daemon.lease_queue import LeaseQueue
from daemon.session_log import SessionLog
from daemon.speakers import NO_PERSONA, Speakers
from drivers.errors import EndOfInput, Interrupted, LineLost, TapeDamaged
from drivers.tape import tape
from drivers.teletype import Teletype
from model.errors import ModelError
from model.generate.context_window import tokens_to_keep
from model.interface import Model, Sampling, TextChunk

Activity = Literal["starting", "listening", "thinking", "printing", "reading", "lent", "leaving"]
POLL_INTERVAL_S = 0.5  # how often to look whether a line that was begun is empty again

_log = logging.getLogger("asr33")


class TeletypeSession:
    """One machine, one model, one conversation. `doing` and `listening` are there for whoever watches."""

    def __init__(
        self,
        tty: Teletype,
        model: Model,
        config: Config,
        log: SessionLog,
        adapter_info: str = "",
        speakers: Speakers = NO_PERSONA,
    ) -> None:
        """`chip` is what the start-up test says of the adapter."""
        self.activity: Activity = "starting"
        self.listening = asyncio.Event()  # set while a line may be typed that is not typed ahead
        self.leases = LeaseQueue()
        self.tty = tty
        self.adapter_info = adapter_info
        self._answer_count = 0
        self._forgotten_chars = 0  # characters of this prompt and its answer
        self._answerback = ""  # what HERE IS sends
        self._model = model
        self._log = log
        self._answer_config = config.answer
        self._seed = secrets.randbits(31) if config.answer.seed is None else config.answer.seed
        self._conversation = Conversation(speakers=speakers)
        self._pending_conversation = replace(
            self._conversation
        )  # with the line that is typed: what it leaves out comes back if it is not answered

    @property
    def is_idle(self) -> bool:
        """Nobody is being answered, and no line is begun."""
        return self.listening.is_set() and not self.tty.has_partial_line

    @property
    def model_name(self) -> str:
        """Who answers, as far as is known."""
        return self._model.name

    async def run(self) -> None:
        """Greet, then take turns until somebody leaves. Raises LineLost, and ModelError if there is no model."""
        await self._read_answerback()
        await self._greet()
        try:
            while True:
                await self._run_turn()
        except EndOfInput:
            self.activity = "leaving"
            await self._print_message("\nGOODBYE.\n")

    async def _read_answerback(self) -> None:
        """The machine's own answer, for the log: which of several machines a sheet was struck on."""
        if self.tty.profile.answerback:
            async with self.tty.until_break():
                self._answerback = tape.decode_text(await self.tty.answerback()).strip()

    async def _greet(self) -> None:
        """The model loads meanwhile; one that cannot be loaded cuts the greeting short."""
        greeted = asyncio.ensure_future(self._print_message(commands.format_greeting(self._model.name, datetime.now())))
        try:
            await self._model.wait_ready()
            _log.info("model %s runs on %s", self._model.name, self._model.device)
            await greeted
        except ModelError:
            greeted.cancel()
            await asyncio.wait({greeted})
            await self._print_message("-- NO MODEL --\n")
            raise
        finally:
            greeted.cancel()
            await asyncio.wait({greeted})

    async def _print_message(self, text: str) -> None:
        """Words of our own, on a line of their own; BREAK cuts them short."""
        async with self.tty.until_break():
            await self.tty.fresh_line()
            await self.tty.print(text)
            await self.tty.flush()

    async def _run_turn(self) -> None:
        # Not in a scope of its own: a BREAK here is the reader's, who shows it and comes back to READY.
        await self.tty.fresh_line()
        await self.tty.print("\nREADY\n")
        self._pending_conversation = replace(self._conversation)
        self.activity = "listening"
        self.listening.set()
        try:
            typed = await self._read_line_or_yield()
        except Interrupted:
            return
        finally:
            self.listening.clear()
            self.activity = "printing"
        if typed is None:
            await self._lend_machine()
        else:
            await self._dispatch(typed)

    async def _read_line_or_yield(self) -> str | None:
        """What is typed; or nothing, if the machine is wanted before a line is begun."""
        reading = asyncio.ensure_future(self.tty.read_line(on_key=self._prefill_line))
        try:
            if self.leases:  # they waited for READY: whoever stands at the machine goes first
                await asyncio.wait({reading}, timeout=POLL_INTERVAL_S)
            while not reading.done():
                if self.leases and not self.tty.has_partial_line:
                    return None
                await self._wait_for_line_or_lease(reading)
            return reading.result()
        finally:
            reading.cancel()  # what stands in the line is as if typed ahead
            await asyncio.wait({reading})

    def _prefill_line(self, text: str) -> None:
        """The model reads what stands in the line before it is submitted; commands are not for it."""
        if not re.match(r"\s*\.([A-Za-z]|\s*$)", text):
            self._fit_context(text)
            self._model.prefill(self._pending_conversation.build_partial_prompt(text))

    async def _wait_for_line_or_lease(self, reading: asyncio.Future[str]) -> None:
        if self.leases:
            await asyncio.wait({reading}, timeout=POLL_INTERVAL_S)
            return
        asked = asyncio.ensure_future(self.leases.requested.wait())
        try:
            either: set[asyncio.Future[Any]] = {reading, asked}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()

    async def _lend_machine(self) -> None:
        self.activity = "lent"
        self._log.write(time.monotonic(), "lent")
        await self.leases.grant_next()
        self._log.write(time.monotonic(), "returned")

    async def _dispatch(self, typed: str) -> None:
        self._log.write(time.monotonic(), "typed", text=typed)
        self._log.sync()
        match typed.strip().upper():
            case "":
                return
            case here_is if here_is == self._answerback:
                return
            case ".HELP":
                await self._print_message(commands.HELP_TEXT)
            case ".NEW":
                self._conversation.clear()
                await self._print_message("ALL FORGOTTEN.\n")
            case ".STATUS":
                await self._print_message(
                    commands.format_status(self.tty.status(), self.tty.profile, self.adapter_info)
                )
            case ".READ":
                await self._answer_tape()
            case ".BYE":
                raise EndOfInput
            case command if command.startswith(".") and command[1:2].isalpha():
                await self._print_message(commands.format_unknown_command(command))
            case _:
                await self._answer_line(typed)

    async def _answer_tape(self) -> None:
        """A prompt from the reader, which starts by itself or is started by hand."""
        if not self.tty.profile.auto_reader:
            await self._print_message("START THE READER.\n")
        self.activity = "reading"
        async with self.tty.until_break() as scope:
            rows = await self.tty.read_tape()
        if scope.is_broken:
            return
        self._log.write(time.monotonic(), "tape", rows=rows.hex())
        try:
            text = tape.decode_text(rows, tape.detect_parity(rows))
        except TapeDamaged as error:
            await self._print_message(f"-- {error} --\n")
            return
        if text.strip():
            await self._answer_line(text.strip("\n"))
        else:
            await self._print_message("-- NO TAPE WAS READ --\n")

    async def _answer_line(self, typed: str) -> None:
        sampling = Sampling(
            **{name: value for name, value in asdict(self._answer_config).items() if name != "seed"},
            seed=self._seed + self._answer_count,
            stop=self._conversation.speakers.stop_sequences,
        )
        self.activity = "thinking"
        prompt = self._build_prompt(typed)
        self._log_forgotten(len(self._conversation.memory) - len(self._pending_conversation.memory))
        self._log.write(time.monotonic(), "prompt", text=prompt, seed=sampling.seed)
        finish, self._forgotten_chars = "stopped", 0
        try:
            said, finish = await exchange(
                self.tty, self._model, prompt, sampling, self._on_chunk, self._conversation.speakers.persona_tag
            )
        except ModelError as error:
            # What was typed is in the log and on the paper; the next line may fare better.
            finish = "error"
            _log.error("%s", error)
            self._log.write(time.monotonic(), "error", text=str(error))
            await self._print_message(f"-- {error} --\n")
        except LineLost:
            finish = "lost"
            raise
        else:
            self._conversation.add_answer(prompt, said, self._forgotten_chars)
            self._answer_count += 1
            if finish == "break":
                await self._mark_break()
        finally:
            self._log.write(time.monotonic(), "end", finish=finish)

    async def _mark_break(self) -> None:
        """Behind what was struck, so that whoever reads the sheet knows why the sentence ends there."""
        async with self.tty.until_break():
            await self.tty.print("^C")
            await self.tty.flush()

    def _build_prompt(self, typed: str) -> str:
        """What the model is to continue."""
        self._fit_context(typed)
        return self._pending_conversation.build_prompt(typed)

    def _fit_context(self, typed: str) -> None:
        """The oldest lines are left out where they leave the answer no room."""
        context = self._model.context
        # A token is three characters or more. An answer that needs a quarter of the context makes itself room.
        most = context - min(context // 4, self._answer_config.length // 3 + 64)
        self._pending_conversation.drop_oldest_lines(typed, self._model.count_tokens, most, tokens_to_keep(context))

    def _log_forgotten(self, characters: int) -> None:
        if characters:
            self._log.write(time.monotonic(), "forgot", characters=characters)

    def _on_chunk(self, piece: TextChunk) -> None:
        self.activity = "printing"
        self._forgotten_chars += piece.dropped_chars
        self._log_forgotten(piece.dropped_chars)
        self._log.write(
            time.monotonic(),
            "piece",
            text=piece.text,
            tokens=list(piece.tokens),
            made=self._log.log_time(piece.created_at),
            **({"notice": piece.notice} if piece.notice else {}),
        )
