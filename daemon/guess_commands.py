"""What `.GUESS` does at the machine: it strikes a line of a person and one of the model, and asks which is which.

While it waits for 1 or 2 the session reads the line as any other, so commands, jobs and the end of a visit have their
way meanwhile. Nothing of the game enters the conversation.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from daemon.guess_game import GuessGame, Question, choose_lines, cut_alike, leave_out
from daemon.session_log import SessionLog
from daemon.turns import Turns
from drivers.teletype import Teletype
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.printable import drop_half_characters

MAX_TRIES = 8  # of a line of the model, each with another seed
EXTRA_CHARS = 40  # that the model makes over the length of the true line: it is cut at a word

NO_LINES = "THE GAME NEEDS LINES OF PEOPLE: SET [GAME] LINES TO A TEXT FILE.\n"
NO_FITTING_LINES = "NO LINE IS LEFT: [GAME] LINES NEEDS LINES OF 30 TO 140 CHARACTERS.\n"
ASK = "WHICH LINE IS THE HUMAN'S? TYPE 1 OR 2; RETURN ALONE ENDS THE GAME.\n"
CURE = "TYPE 1 OR 2, OR RETURN ALONE TO END THE GAME.\n"
MODEL_IS_SILENT = "THE MODEL MAKES NO LINE THAT IS LIKE IT. TRY .GUESS AGAIN.\n"


class GuessCommands:
    """The game of one machine."""

    def __init__(
        self,
        tty: Teletype,
        turns: Turns,
        lines: Path | None,
        log: SessionLog,
        print_message: Callable[[str], Awaitable[None]],
    ) -> None:
        self._tty, self._turns, self._path, self._log, self._print_message = tty, turns, lines, log, print_message
        self._game: GuessGame | None = None
        self._question: Question | None = None
        self._used: set[str] = set()  # in this session: no line comes twice

    @property
    def is_open(self) -> bool:
        """Whether the game waits for 1 or 2."""
        return self._question is not None

    def close(self) -> None:
        """Forgets the game and its score."""
        self._game = self._question = None

    async def switch(self) -> None:
        """.GUESS: begins a game, or ends the one that waits."""
        if self.is_open:
            await self.end()
            return
        if self._path is None:
            await self._print_message(NO_LINES)
            return
        try:
            text = self._path.expanduser().read_text(encoding="utf-8", errors="replace")
        except (OSError, RuntimeError):
            await self._print_message(f"CANNOT READ {self._path.name[:40]}: SET [GAME] LINES TO A TEXT FILE.\n")
            return
        self._game = GuessGame(
            leave_out(choose_lines(text), self._used), random.Random(self._turns.next_seed).randrange
        )
        await self._ask()

    async def hear(self, typed: str) -> None:
        """Takes a guess and goes on with the next pair; another line gets the cure."""
        assert self._game is not None
        assert self._question is not None
        if typed.strip() not in ("1", "2"):
            await self._print_message(CURE)
            return
        question = self._question
        is_right = self._game.guess(question, int(typed))
        self._log.write(time.monotonic(), "guess", right=is_right, score=self._game.format_score())
        word = "RIGHT" if is_right else "WRONG"
        await self._print_message(f"{word}: {question.place} IS THE HUMAN'S. {self._game.format_score()}\n")
        self._question = None
        await self._ask()

    async def end(self) -> None:
        """Ends the game with its last score."""
        score = self._game.format_score() if self._game is not None else ""
        self.close()
        await self._print_message(f"THE GAME IS OVER: {score}\n")

    async def _ask(self) -> None:
        """Strikes the next pair; without one the game ends."""
        assert self._game is not None
        question = self._game.draw()
        if question is None:
            await self._print_message(NO_FITTING_LINES)
            await self._end_if_guessed()
            return
        self._used.add(question.truth)
        self._turns.activity = "thinking"
        made, seed = "", 0
        try:
            async with self._tty.until_break() as scope:
                made, seed = await self._make_line(self._game, question)
        except ModelError as error:
            await self._print_message(f"-- {error} --\n")
            await self._end_if_guessed()
            return
        finally:
            self._turns.activity = "printing"
        if not made:
            if not scope.is_broken:
                await self._print_message(MODEL_IS_SILENT)
            await self._end_if_guessed()
            return
        self._log.write(time.monotonic(), "pair", human=question.truth, made=made, place=question.place, seed=seed)
        self._question = question
        await self._print_message(question.format(made) + ASK)

    async def _end_if_guessed(self) -> None:
        if self._game is not None and self._game.guessed:
            await self.end()
        self.close()

    async def _make_line(self, game: GuessGame, question: Question) -> tuple[str, int]:
        """Returns a line of the model like the true one, and its seed; "" after too many tries. Raises ModelError."""
        for _ in range(MAX_TRIES):
            seed = game.draw_seed()
            if made := cut_alike(question.beginning, await self._generate(question, seed), question.truth):
                return made, seed
        return "", 0

    async def _generate(self, question: Question, seed: int) -> str:
        length = len(question.truth) - len(question.beginning) + EXTRA_CHARS
        sampling = self._turns.settings.make_sampling(seed, ("\n",), "any", length=length)
        text = ""
        with engine_errors():
            async with aclosing(self._turns.model.stream(question.beginning, sampling)) as chunks:
                async for chunk in chunks:
                    text += drop_half_characters(chunk.text)
                    if len(text) >= length:
                        break
        return text
