"""Who sits at a virtual Teletype: thinks, types, presses RETURN, reads, goes on with the same conversation. Pure.

Chance comes from outside, and the same chance types the same. Knows characters and seconds; no tokens, no server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.far.length import SAFE

TYPING_CPS = 8.0  # of a good typist; the keyboard itself takes no more than ten - issue of the far end
# Nobody has measured people at a Model 33: what follows are guesses, each with its reason.
THINK_S = (6.0, 0.7)  # median and spread: of people at time-sharing terminals most think for seconds, some for a minute
THINK_MOST_S = 60.0
LINE = (36.0, 0.5)  # characters that are typed: half a line of paper in the middle, seldom more than a whole one
LINE_LEAST, LINE_MOST = 8, 144
ANSWER = (160.0, 0.45)  # characters: two lines of paper or three
ANSWER_LEAST = 40
LAST_LINE_S = 2.9  # an eye is faster than the wheel; when that stops, a line of 72 is left, at 25 characters a second
KEPT = 0.5  # of the memory, when the oldest turns go: so that the prompts after it begin alike for a while

# Of three letters: behind its blank each is four characters, and in GPT-2's vocabulary one token.
_WORDS = """
    the and for are but not you all any can had her was one our out day get has him his how man new now old see two
    way who boy did its let put say she too use air arm ask bad bed big box car cut dog dry ear eat end eye far few
    fly got hot ice job key kid law lay leg lie lot low map men mix oil own pay red rod run sat sea set sit six sky
    son sun ten top try war wet why win yes yet
"""
WORDS = _WORDS.split()


class Chance(Protocol):
    """What is wanted of a `random.Random`."""

    def lognormvariate(self, mu: float, sigma: float) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What one does before RETURN, and after the answer.

    `prompt` is the whole conversation with the line typed at its end; `heard` what was there of it at the end of each
    word, and how many seconds after the first key. `answer` is how many characters it may have.
    """

    think_s: float
    heard: tuple[tuple[float, str], ...]
    typing_s: float
    prompt: str
    answer: int
    read_s: float


class Typist:
    """One person, one conversation, turn by turn."""

    def __init__(self, chance: Chance, *, room: int, turning: bool = False) -> None:
        """`room`: characters that prompt and answer may have together, by the custom of four a token: with some to
        spare, as a daemon leaves some, since a text that does not fit is cut while it is answered, and read anew.

        `turning`: no pauses, so the wheel turns on; and much has been said before, so that a minute is like any other.
        """
        self._chance = chance
        self._longest = max(ANSWER_LEAST, room // 4)
        self._most = max(LINE_MOST, round(SAFE * room) - self._longest)
        self._turning = turning
        self._past = self._said_before() if turning else []  # each turn's line with its answer

    def turn(self) -> Turn:
        """The next; `answered` comes before the one after it."""
        line, answer = self._line(), self._answer()
        if self._turning:
            return Turn(0.0, (), 0.0, self._prompt(line), answer, 0.0)
        think = min(self._drawn(THINK_S), THINK_MOST_S)
        ends = [at for at, letter in enumerate(line) if letter == " "]
        prompt = self._prompt(line)
        before = prompt[: len(prompt) - len(line)]
        heard = tuple((at / TYPING_CPS, before + line[:at]) for at in ends)
        return Turn(think, heard, len(line) / TYPING_CPS, prompt, answer, LAST_LINE_S)

    def answered(self, prompt: str, answer: str) -> None:
        """What the next prompt goes on from."""
        self._past = [*self._past[:-1], prompt.rpartition("\n")[2] + answer.replace("\n", " ").rstrip()]

    def _said_before(self) -> list[str]:
        """As much as anywhere between two times that the oldest turns go."""
        whole = round(self._most * (KEPT + (1 - KEPT) * self._chance.randrange(100) / 100))
        words = " ".join(WORDS[self._chance.randrange(len(WORDS))] for _ in range(whole // 4 + 1))
        a_turn = round(LINE[0] + ANSWER[0])
        return [words[at : at + a_turn].strip() for at in range(0, whole, a_turn)]

    def _prompt(self, line: str) -> str:
        """The turns before and the line; the oldest go where there is no room."""
        if self._size(line) > self._most:
            while self._past and self._size(line) > self._most * KEPT:
                del self._past[0]
        self._past.append(line)
        return "\n".join(self._past)

    def _size(self, line: str) -> int:
        return sum(len(past) + 1 for past in self._past) + len(line)

    def _line(self) -> str:
        size = min(max(self._drawn(LINE), LINE_LEAST), LINE_MOST)
        words = [WORDS[self._chance.randrange(len(WORDS))] for _ in range(max(2, round(size / 4)))]
        return " ".join(words)

    def _answer(self) -> int:
        return round(min(max(self._drawn(ANSWER), ANSWER_LEAST), self._longest))

    def _drawn(self, of: tuple[float, float]) -> float:
        """From a lognormal: many short, a few long, none below nothing."""
        median, spread = of
        return median * self._chance.lognormvariate(0.0, spread)
