"""The daemon: the one place that knows who is who, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from daemon import session_log
from daemon.config import Config, log_folder
from daemon.conversation import Conversation
from daemon.exchange import exchange
from daemon.session_log import SessionLog
from drivers import events
from drivers.clock import WallClock
from drivers.errors import EndOfInput, Interrupted, LineLost, LineUnfit
from drivers.events import Broke, Event, Keyed, Struck
from drivers.line import open_line
from drivers.teletype import Teletype
from model.base import Model, Piece, Sampling
from model.errors import ModelError

Doing = Literal["starting", "listening", "thinking", "printing", "leaving"]

HELP = """\
TYPE A LINE AND PRESS RETURN: THE MACHINE GOES ON FROM THERE.
RUBOUT TAKES A LETTER BACK, BREAK STOPS AN ANSWER.
\\ BEFORE A LETTER KEEPS IT A CAPITAL.
.HELP  THIS     .NEW  FORGET WHAT WAS SAID     .BYE  LEAVE
"""

_log = logging.getLogger("asr33")


class App:
    """One machine, one model, one conversation. `doing` and `listening` are there for whoever watches."""

    def __init__(self, tty: Teletype, model: Model, config: Config, log: SessionLog) -> None:
        self.doing: Doing = "starting"
        self.listening = asyncio.Event()  # set while a line may be typed that is not typed ahead
        self._answers = 0
        self._tty = tty
        self._model = model
        self._log = log
        self._answer = config.answer
        self._seed = secrets.randbits(31) if config.answer.seed is None else config.answer.seed
        self._talk = Conversation()

    @property
    def idle(self) -> bool:
        """Nobody is being answered, and no line is begun."""
        return self.listening.is_set() and not self._tty.begun

    async def run(self) -> None:
        """Greet, then take turns until somebody leaves. Raises LineLost, and ModelError if there is no model."""
        await self._greet()
        try:
            while True:
                await self._turn()
        except EndOfInput:
            self.doing = "leaving"
            await self._say("\nGOODBYE.\n")

    async def _greet(self) -> None:
        """The model loads meanwhile; one that cannot be loaded cuts the greeting short."""
        greeted = asyncio.ensure_future(self._say(greeting(self._model.name, datetime.now())))
        try:
            await self._model.ready()
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
        async with self._tty.until_break():
            await self._tty.fresh_line()
            await self._tty.print(text)
            await self._tty.flush()

    async def _turn(self) -> None:
        # Not in a scope of its own: a BREAK here is the reader's, who shows it and comes back to READY.
        await self._tty.fresh_line()
        await self._tty.print("\nREADY\n")
        self.doing = "listening"
        self.listening.set()
        try:
            typed = await self._tty.read_line()
        except Interrupted:
            return
        finally:
            self.listening.clear()
            self.doing = "printing"
        self._log.write(time.monotonic(), "typed", text=typed)
        self._log.sync()
        match typed.strip().upper():
            case "":
                return
            case ".HELP":
                await self._say(HELP)
            case ".NEW":
                self._talk.forget()
                await self._say("ALL FORGOTTEN.\n")
            case ".BYE":
                raise EndOfInput
            case command if command.startswith(".") and command[1:2].isalpha():
                await self._say(f"NO COMMAND {command}; THERE ARE .HELP .NEW .BYE\n")
            case _:
                await self._answer_to(typed)

    async def _answer_to(self, typed: str) -> None:
        sampling = Sampling(
            **{name: value for name, value in asdict(self._answer).items() if name != "seed"},
            seed=self._seed + self._answers,
        )
        self.doing = "thinking"
        prompt = self._talk.prompt(typed, self._fits)
        self._log.write(time.monotonic(), "prompt", text=prompt, seed=sampling.seed)
        finish = "stopped"
        try:
            said, finish = await exchange(self._tty, self._model, prompt, sampling, self._note)
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
            self._talk.answered(prompt, said)
            self._answers += 1
        finally:
            self._log.write(time.monotonic(), "end", finish=finish)

    def _fits(self, prompt: str) -> bool:
        # A token is three characters or more; the answer may take half of the context, no more.
        room = min(self._model.context // 2, self._answer.length // 3 + 64)
        return self._model.count(prompt) <= self._model.context - room

    def _note(self, piece: Piece) -> None:
        self.doing = "printing"
        self._log.write(
            time.monotonic(),
            "piece",
            text=piece.text,
            tokens=list(piece.tokens),
            made=self._log.since(piece.made),
        )


def greeting(model: str, now: datetime) -> str:
    """A few short lines, in the manner of a time-sharing system of 1970."""
    return (
        f"ASR33 TIME-SHARING SYSTEM  {now:%d %b %y  %H:%M}\n"
        f"MODEL {model}   LINE 1   USERS 1\n"
        ".HELP FOR HELP, .NEW TO START AFRESH, .BYE TO LEAVE\n"
    )


def tap_into(log: SessionLog) -> Callable[[Event], None]:
    """What the teletype tells, written down; a line struck is a line synced."""

    def tap(event: Event) -> None:
        match event:
            case Struck(at=at, queued=queued, byte=byte, column=column):
                log.write(time.monotonic(), "tx", b=f"{byte:02x}", q=log.since(queued), at=log.since(at), col=column)
                if byte == 0x0A:
                    log.sync()
            case Keyed(at=at, byte=byte, damaged=damaged):
                log.write(at, "rx", b=f"{byte:02x}", **({"bad": True} if damaged else {}))
            case Broke(at=at, route=route, unprinted=unprinted):
                log.write(at, "break", route=route, unprinted=unprinted)
            case events.Lost(at=at, reason=reason):
                log.write(at, "lost", text=reason)
                log.sync()

    return tap


def open_model(config: Config) -> Model:
    """The model of that name or path; it loads while the greeting is printed. Raises ModelNotFound."""
    from model import store
    from model.local import Local

    return Local(store.find(config.model.name), threads=config.model.threads)


@asynccontextmanager
async def build(config: Config, model: Model, port: str, character_s: float = 0.1) -> AsyncIterator[tuple[App, Path]]:
    """The daemon, put together; closes what it opened, the model too. Yields it and the path of its log."""
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(model.close)
        line = await open_line(port)
        try:
            if character_s == 0 and not line.is_pty:
                raise LineUnfit("--fast is for a virtual machine: a real one prints ten characters a second")
            log = session_log.begin(log_folder(config), datetime.now(), begun)
        except BaseException:
            await line.close()
            raise
        stack.callback(log.close)
        stack.callback(lambda: log.write(time.monotonic(), "close"))
        stack.push_async_callback(line.close)  # the first to go: what it hears till then is still logged
        log.write(
            begun,
            "session",
            version=session_log.VERSION,
            asr33=version("asr33"),
            wall=datetime.now().astimezone().isoformat(timespec="milliseconds"),
            monotonic=begun,
            line=port,
            model=model.name,
        )
        tty = Teletype(line, WallClock(), tap=tap_into(log), columns=config.line.columns, character_s=character_s)
        yield App(tty, model, config, log), log.path
