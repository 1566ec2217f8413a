"""Who sits at a virtual Teletype: thinks, types, presses RETURN, reads, goes on with the same conversation. Pure.

Chance comes from outside, and the same chance types the same. Knows characters and seconds; no tokens, no server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.client.token_estimate import SAFETY_FACTOR

TYPING_CPS = 8.0  # of a good typist; the keyboard itself takes no more than ten - issue of the far end
# Nobody has measured people at a Model 33: what follows are guesses, each with its reason.
THINK_S = (6.0, 0.7)  # median and spread: of people at time-sharing terminals most think for seconds, some for a minute
MAX_THINK_S = 60.0
LINE_CHARS = (36.0, 0.5)  # characters that are typed: half a line of paper in the middle, seldom more than a whole one
MIN_LINE_CHARS, MAX_LINE_CHARS = 8, 144
ANSWER_CHARS = (160.0, 0.45)  # characters: two lines of paper or three
MIN_ANSWER_CHARS = 40
READ_S = 2.9  # an eye is faster than the wheel; when that stops, a line of 72 is left, at 25 characters a second
KEPT_SHARE = 0.5  # of the memory, when the oldest turns go: so that the prompts after it begin alike for a while

# Of three letters: behind its blank each is four characters, and in GPT-2's vocabulary one token.
_WORDS = """
    the and for are but not you all any can had her was one our out day get has him his how man new now old see two
    way who boy did its let put say she too use air arm ask bad bed big box car cut dog dry ear eat end eye far few
    fly got hot ice job key kid law lay leg lie lot low map men mix oil own pay red rod run sat sea set sit six sky
    son sun ten top try war wet why win yes yet
"""
WORDS = _WORDS.split()


class UserRandom(Protocol):
    """What is wanted of a `random.Random`."""

    def lognormvariate(self, mu: float, sigma: float) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What one does before RETURN, and after the answer.

    `prompt` is the whole conversation with the line typed at its end; `heard` what was there of it at the end of each
    word, and how many seconds after the first key. `answer` is how many characters it may have.
    """

    think_s: float
    typed_prefixes: tuple[tuple[float, str], ...]
    typing_s: float
    prompt: str
    answer_chars: int
    read_s: float


class SimulatedUser:
    """One person, one conversation, turn by turn."""

    def __init__(self, rng: UserRandom, *, context_chars: int, is_continuous: bool = False) -> None:
        """`room`: characters that prompt and answer may have together, by the custom of four a token: with some to
        spare, as a daemon leaves some, since a text that does not fit is cut while it is answered, and read anew.

        `turning`: no pauses, so the wheel turns on; and much has been said before, so that a minute is like any other.
        """
        self._rng = rng
        self._max_answer_chars = max(MIN_ANSWER_CHARS, context_chars // 4)
        self._max_prompt_chars = max(MAX_LINE_CHARS, round(SAFETY_FACTOR * context_chars) - self._max_answer_chars)
        self._is_continuous = is_continuous
        self._history = self._make_history() if is_continuous else []  # each turn's line with its answer

    def next_turn(self) -> UserTurn:
        """The next; `answered` comes before the one after it."""
        line, answer = self._draw_line(), self._draw_answer_chars()
        if self._is_continuous:
            return UserTurn(0.0, (), 0.0, self._build_prompt(line), answer, 0.0)
        think = min(self._draw_lognormal(THINK_S), MAX_THINK_S)
        ends = [at for at, letter in enumerate(line) if letter == " "]
        prompt = self._build_prompt(line)
        before = prompt[: len(prompt) - len(line)]
        heard = tuple((at / TYPING_CPS, before + line[:at]) for at in ends)
        return UserTurn(think, heard, len(line) / TYPING_CPS, prompt, answer, READ_S)

    def record_answer(self, prompt: str, answer: str) -> None:
        """What the next prompt goes on from."""
        self._history = [*self._history[:-1], prompt.rpartition("\n")[2] + answer.replace("\n", " ").rstrip()]

    def _make_history(self) -> list[str]:
        """As much as anywhere between two times that the oldest turns go."""
        whole = round(self._max_prompt_chars * (KEPT_SHARE + (1 - KEPT_SHARE) * self._rng.randrange(100) / 100))
        words = " ".join(WORDS[self._rng.randrange(len(WORDS))] for _ in range(whole // 4 + 1))
        a_turn = round(LINE_CHARS[0] + ANSWER_CHARS[0])
        return [words[at : at + a_turn].strip() for at in range(0, whole, a_turn)]

    def _build_prompt(self, line: str) -> str:
        """The turns before and the line; the oldest go where there is no room."""
        if self._prompt_chars(line) > self._max_prompt_chars:
            while self._history and self._prompt_chars(line) > self._max_prompt_chars * KEPT_SHARE:
                del self._history[0]
        self._history.append(line)
        return "\n".join(self._history)

    def _prompt_chars(self, line: str) -> int:
        return sum(len(past) + 1 for past in self._history) + len(line)

    def _draw_line(self) -> str:
        size = min(max(self._draw_lognormal(LINE_CHARS), MIN_LINE_CHARS), MAX_LINE_CHARS)
        words = [WORDS[self._rng.randrange(len(WORDS))] for _ in range(max(2, round(size / 4)))]
        return " ".join(words)

    def _draw_answer_chars(self) -> int:
        return round(min(max(self._draw_lognormal(ANSWER_CHARS), MIN_ANSWER_CHARS), self._max_answer_chars))

    def _draw_lognormal(self, parameters: tuple[float, float]) -> float:
        """From a lognormal: many short, a few long, none below nothing."""
        median, spread = parameters
        return median * self._rng.lognormvariate(0.0, spread)
