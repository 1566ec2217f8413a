"""A simulated user of a Teletype: thinks, types, presses RETURN, reads, and continues the conversation. Pure.

The random numbers are an argument; the same numbers give the same text. It knows characters and seconds, but no tokens
and no server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.client.token_estimate import SAFETY_FACTOR

TYPING_CPS = 8.0  # of a good typist; the keyboard itself takes at most ten
# The habits of users at a Model 33 were never measured. The following figures are estimates, each with its reason.
THINK_S = (6.0, 0.7)  # median and spread: most users of time-sharing terminals think for seconds, some for a minute
MAX_THINK_S = 60.0
LINE_CHARS = (36.0, 0.5)  # typed characters: half a line of paper in the middle, seldom more than a whole line
MIN_LINE_CHARS, MAX_LINE_CHARS = 8, 144
ANSWER_CHARS = (160.0, 0.45)  # two or three lines of paper
MIN_ANSWER_CHARS = 40
READ_S = 2.9  # reading keeps up with printing; the last line of 72 remains, at 25 characters per second
KEPT_SHARE = 0.5  # of the memory, when old turns are dropped: so the next prompts share their beginning

# Words of three letters: with the blank each is four characters, and one token in GPT-2's vocabulary.
_WORDS = """
    the and for are but not you all any can had her was one our out day get has him his how man new now old see two
    way who boy did its let put say she too use air arm ask bad bed big box car cut dog dry ear eat end eye far few
    fly got hot ice job key kid law lay leg lie lot low map men mix oil own pay red rod run sat sea set sit six sky
    son sun ten top try war wet why win yes yet
"""
WORDS = _WORDS.split()


class UserRandom(Protocol):
    """The part of `random.Random` that a user needs."""

    def lognormvariate(self, mu: float, sigma: float) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class UserTurn:
    """One turn: what the user does before RETURN, and how long they read the answer.

    `prompt` is the whole conversation with the typed line at its end. `typed_prefixes` are the prompt at the end of
    each word, with the seconds since the first key.
    """

    think_s: float
    typed_prefixes: tuple[tuple[float, str], ...]
    typing_s: float
    prompt: str
    answer_chars: int
    read_s: float


class SimulatedUser:
    """One user with one conversation."""

    def __init__(self, rng: UserRandom, *, context_chars: int, is_continuous: bool = False) -> None:
        """`context_chars`: characters of prompt and answer together, four for each token.

        The prompt leaves some reserve, as a daemon's does: a text that does not fit is cut while it is answered, and
        prefilled anew. `is_continuous`: no pauses, and a long history from the start, so that the load stays the same.
        """
        self._rng = rng
        self._max_answer_chars = max(MIN_ANSWER_CHARS, context_chars // 4)
        self._max_prompt_chars = max(MAX_LINE_CHARS, round(SAFETY_FACTOR * context_chars) - self._max_answer_chars)
        self._is_continuous = is_continuous
        self._history = self._make_history() if is_continuous else []  # each turn's line with its answer

    def next_turn(self) -> UserTurn:
        """Returns the next turn; `record_answer` must be called before the turn after it."""
        line, answer_chars = self._draw_line(), self._draw_answer_chars()
        if self._is_continuous:
            return UserTurn(0.0, (), 0.0, self._build_prompt(line), answer_chars, 0.0)
        think_s = min(self._draw_lognormal(THINK_S), MAX_THINK_S)
        word_ends = [at for at, letter in enumerate(line) if letter == " "]
        prompt = self._build_prompt(line)
        history = prompt[: len(prompt) - len(line)]
        prefixes = tuple((end / TYPING_CPS, history + line[:end]) for end in word_ends)
        return UserTurn(think_s, prefixes, len(line) / TYPING_CPS, prompt, answer_chars, READ_S)

    def record_answer(self, prompt: str, answer: str) -> None:
        """Adds the answer to the history of the next prompt."""
        self._history = [*self._history[:-1], prompt.rpartition("\n")[2] + answer.replace("\n", " ").rstrip()]

    def _make_history(self) -> list[str]:
        """Makes a history of a random length, from that just after old turns are dropped to that just before."""
        size = round(self._max_prompt_chars * (KEPT_SHARE + (1 - KEPT_SHARE) * self._rng.randrange(100) / 100))
        text = " ".join(WORDS[self._rng.randrange(len(WORDS))] for _ in range(size // 4 + 1))
        turn_chars = round(LINE_CHARS[0] + ANSWER_CHARS[0])
        return [text[start : start + turn_chars].strip() for start in range(0, size, turn_chars)]

    def _build_prompt(self, line: str) -> str:
        """Returns the history and the line; the oldest turns are dropped if they do not fit."""
        if self._prompt_chars(line) > self._max_prompt_chars:
            while self._history and self._prompt_chars(line) > self._max_prompt_chars * KEPT_SHARE:
                del self._history[0]
        self._history.append(line)
        return "\n".join(self._history)

    def _prompt_chars(self, line: str) -> int:
        return sum(len(turn) + 1 for turn in self._history) + len(line)

    def _draw_line(self) -> str:
        size = min(max(self._draw_lognormal(LINE_CHARS), MIN_LINE_CHARS), MAX_LINE_CHARS)
        return " ".join(WORDS[self._rng.randrange(len(WORDS))] for _ in range(max(2, round(size / 4))))

    def _draw_answer_chars(self) -> int:
        return round(min(max(self._draw_lognormal(ANSWER_CHARS), MIN_ANSWER_CHARS), self._max_answer_chars))

    def _draw_lognormal(self, parameters: tuple[float, float]) -> float:
        """Draws from a lognormal distribution: many small values, few large ones, none below zero."""
        median, spread = parameters
        return median * self._rng.lognormvariate(0.0, spread)
