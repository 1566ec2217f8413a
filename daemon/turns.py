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

from daemon import words
from daemon.cast import NOBODY, Cast
from daemon.config import Config
from daemon.conversation import Conversation
from daemon.exchange import exchange
from daemon.loans import Loans
from daemon.session_log import SessionLog
from drivers import tape
from drivers.errors import EndOfInput, Interrupted, LineLost, TapeDamaged
from drivers.teletype import Teletype
from model.base import Model, Piece, Sampling
from model.context import kept
from model.errors import ModelError

Doing = Literal["starting", "listening", "thinking", "printing", "reading", "lent", "leaving"]
GLANCE_S = 0.5  # how often to look whether a line that was begun is empty again

_log = logging.getLogger("asr33")


class App:
    """One machine, one model, one conversation. `doing` and `listening` are there for whoever watches."""

    def __init__(
        self, tty: Teletype, model: Model, config: Config, log: SessionLog, chip: str = "", cast: Cast = NOBODY
    ) -> None:
        """`chip` is what the start-up test says of the adapter."""
        self.doing: Doing = "starting"
        self.listening = asyncio.Event()  # set while a line may be typed that is not typed ahead
        self.loans = Loans()
        self.tty = tty
        self.chip = chip
        self._answers = 0
        self._forgotten = 0  # characters of this prompt and its answer
        self._drum = ""  # what HERE IS sends
        self._model = model
        self._log = log
        self._answer = config.answer
        self._seed = secrets.randbits(31) if config.answer.seed is None else config.answer.seed
        self._talk = Conversation(cast=cast)
        self._draft = replace(
            self._talk
        )  # with the line that is typed: what it leaves out comes back if it is not answered

    @property
    def idle(self) -> bool:
        """Nobody is being answered, and no line is begun."""
        return self.listening.is_set() and not self.tty.begun

    @property
    def model(self) -> str:
        """Who answers, as far as is known."""
        return self._model.name

    async def run(self) -> None:
        """Greet, then take turns until somebody leaves. Raises LineLost, and ModelError if there is no model."""
        await self._who_is_there()
        await self._greet()
        try:
            while True:
                await self._turn()
        except EndOfInput:
            self.doing = "leaving"
            await self._say("\nGOODBYE.\n")

    async def _who_is_there(self) -> None:
        """The machine's own answer, for the log: which of several machines a sheet was struck on."""
        if self.tty.profile.answerback:
            async with self.tty.until_break():
                self._drum = tape.read_text(await self.tty.answerback()).strip()

    async def _greet(self) -> None:
        """The model loads meanwhile; one that cannot be loaded cuts the greeting short."""
        greeted = asyncio.ensure_future(self._say(words.greeting(self._model.name, datetime.now())))
        try:
            await self._model.ready()
            _log.info("model %s runs on %s", self._model.name, self._model.device)
            await greeted
        except ModelError:
            greeted.cancel()
            await asyncio.wait({greeted})
            await self._say("-- NO MODEL --\n")
            raise
        finally:
            greeted.cancel()
            await asyncio.wait({greeted})

    async def _say(self, text: str) -> None:
        """Words of our own, on a line of their own; BREAK cuts them short."""
        async with self.tty.until_break():
            await self.tty.fresh_line()
            await self.tty.print(text)
            await self.tty.flush()

    async def _turn(self) -> None:
        # Not in a scope of its own: a BREAK here is the reader's, who shows it and comes back to READY.
        await self.tty.fresh_line()
        await self.tty.print("\nREADY\n")
        self._draft = replace(self._talk)
        self.doing = "listening"
        self.listening.set()
        try:
            typed = await self._line()
        except Interrupted:
            return
        finally:
            self.listening.clear()
            self.doing = "printing"
        if typed is None:
            await self._lend()
        else:
            await self._obey(typed)

    async def _line(self) -> str | None:
        """What is typed; or nothing, if the machine is wanted before a line is begun."""
        reading = asyncio.ensure_future(self.tty.read_line(typed=self._read_along))
        try:
            if self.loans:  # they waited for READY: whoever stands at the machine goes first
                await asyncio.wait({reading}, timeout=GLANCE_S)
            while not reading.done():
                if self.loans and not self.tty.begun:
                    return None
                await self._typed_or_wanted(reading)
            return reading.result()
        finally:
            reading.cancel()  # what stands in the line is as if typed ahead
            await asyncio.wait({reading})

    def _read_along(self, text: str) -> None:
        """The model reads what stands in the line before it is submitted; commands are not for it."""
        if not re.match(r"\s*\.([A-Za-z]|\s*$)", text):
            self._make_room(text)
            self._model.listen(self._draft.heard(text))

    async def _typed_or_wanted(self, reading: asyncio.Future[str]) -> None:
        if self.loans:
            await asyncio.wait({reading}, timeout=GLANCE_S)
            return
        asked = asyncio.ensure_future(self.loans.asked.wait())
        try:
            either: set[asyncio.Future[Any]] = {reading, asked}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()

    async def _lend(self) -> None:
        self.doing = "lent"
        self._log.write(time.monotonic(), "lent")
        await self.loans.lend()
        self._log.write(time.monotonic(), "returned")

    async def _obey(self, typed: str) -> None:
        self._log.write(time.monotonic(), "typed", text=typed)
        self._log.sync()
        match typed.strip().upper():
            case "":
                return
            case here_is if here_is == self._drum:
                return
            case ".HELP":
                await self._say(words.HELP)
            case ".NEW":
                self._talk.forget()
                await self._say("ALL FORGOTTEN.\n")
            case ".STATUS":
                await self._say(words.status(self.tty.status(), self.tty.profile, self.chip))
            case ".READ":
                await self._read_tape()
            case ".BYE":
                raise EndOfInput
            case command if command.startswith(".") and command[1:2].isalpha():
                await self._say(words.no_command(command))
            case _:
                await self._answer_to(typed)

    async def _read_tape(self) -> None:
        """A prompt from the reader, which starts by itself or is started by hand."""
        if not self.tty.profile.auto_reader:
            await self._say("START THE READER.\n")
        self.doing = "reading"
        async with self.tty.until_break() as scope:
            rows = await self.tty.read_tape()
        if scope.broken:
            return
        self._log.write(time.monotonic(), "tape", rows=rows.hex())
        try:
            text = tape.read_text(rows, tape.parity_of(rows))
        except TapeDamaged as error:
            await self._say(f"-- {error} --\n")
            return
        if text.strip():
            await self._answer_to(text.strip("\n"))
        else:
            await self._say("-- NO TAPE WAS READ --\n")

    async def _answer_to(self, typed: str) -> None:
        sampling = Sampling(
            **{name: value for name, value in asdict(self._answer).items() if name != "seed"},
            seed=self._seed + self._answers,
            stop=self._talk.cast.stops,
        )
        self.doing = "thinking"
        prompt = self._prompt(typed)
        self._forgot(len(self._talk.memory) - len(self._draft.memory))
        self._log.write(time.monotonic(), "prompt", text=prompt, seed=sampling.seed)
        finish, self._forgotten = "stopped", 0
        try:
            said, finish = await exchange(self.tty, self._model, prompt, sampling, self._note, self._talk.cast.tag)
        except ModelError as error:
            # What was typed is in the log and on the paper; the next line may fare better.
            finish = "error"
            _log.error("%s", error)
            self._log.write(time.monotonic(), "error", text=str(error))
            await self._say(f"-- {error} --\n")
        except LineLost:
            finish = "lost"
            raise
        else:
            self._talk.answered(prompt, said, self._forgotten)
            self._answers += 1
            if finish == "break":
                await self._mark_break()
        finally:
            self._log.write(time.monotonic(), "end", finish=finish)

    async def _mark_break(self) -> None:
        """Behind what was struck, so that whoever reads the sheet knows why the sentence ends there."""
        async with self.tty.until_break():
            await self.tty.print("^C")
            await self.tty.flush()

    def _prompt(self, typed: str) -> str:
        """What the model is to continue."""
        self._make_room(typed)
        return self._draft.prompt(typed)

    def _make_room(self, typed: str) -> None:
        """The oldest lines are left out where they leave the answer no room."""
        context = self._model.context
        # A token is three characters or more. An answer that needs a quarter of the context makes itself room.
        most = context - min(context // 4, self._answer.length // 3 + 64)
        self._draft.make_room(typed, self._model.count, most, kept(context))

    def _forgot(self, characters: int) -> None:
        if characters:
            self._log.write(time.monotonic(), "forgot", characters=characters)

    def _note(self, piece: Piece) -> None:
        self.doing = "printing"
        self._forgotten += piece.forgotten
        self._forgot(piece.forgotten)
        self._log.write(
            time.monotonic(),
            "piece",
            text=piece.text,
            tokens=list(piece.tokens),
            made=self._log.since(piece.made),
            **({"notice": piece.notice} if piece.notice else {}),
        )
