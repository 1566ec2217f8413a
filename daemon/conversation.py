"""What the model is given to continue: the memory of the paper, the typed line in mixed case, in one shape.

With a persona that is the shape of a dialogue, `Name: text`, a line each, as a corpus of messages has it: what is
typed is `You: `, and the persona's tag is the cue of the answer, which ends where somebody else's begins.

Upper case exists on paper only. A Model 33 has no other, and GPT-2 given capitals shouts back, so what is
typed becomes sentence case. `\\` before a letter keeps it a capital, `\\\\` is a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from daemon.speakers import NO_PERSONA, Speakers

# Words that are written with a capital anywhere in a sentence, as a person at the machine would expect.
_PROPER_NOUNS = """
    i monday tuesday wednesday thursday friday saturday sunday january february april june july august
    september october november december mr mrs ms dr st god christmas easter english england british britain
    london scotland scottish ireland irish wales europe european france french paris germany german berlin
    italy italian rome spain spanish greece greek russia russian moscow china chinese japan japanese india
    indian africa african america american americans boston chicago york washington california texas
    john mary george james william henry charles thomas robert david peter paul ada alan turing lovelace
    babbage morse teletype dartmouth bell sherlock holmes watson dracula shakespeare mars venus jupiter saturn
"""
PROPER_NOUNS = frozenset(_PROPER_NOUNS.split())

_TOKEN = re.compile(r"\\([A-Za-z\\])|([A-Za-z]+(?:'[A-Za-z]+)?)|([.!?][\"')\]]*(?:\s|$))|(\n)|(.)", re.DOTALL)


def sentence_case(typed: str) -> str:
    """Typed capitals as a person would write them."""
    out: list[str] = []
    starts = True
    kept = ""  # capitals that were escaped, and whatever hangs on them
    for match in _TOKEN.finditer(typed):
        escaped, word, stop, newline, other = match.groups()
        if escaped is not None:
            kept = escaped.upper()
            out.append(kept)
            starts = starts and not escaped.isalnum()
        elif word is not None:
            out.append(word.lower() if kept.isalpha() else _capitalise(word, starts))
            starts, kept = False, ""
        else:
            out.append(stop or newline or other)
            kept = ""
            # Digits begin a sentence as well as letters do; quotes and brackets leave it to come.
            starts = bool(stop or newline) or (starts and not other.isalnum())
    return "".join(out)


def _capitalise(word: str, starts_sentence: bool) -> str:
    lower = word.lower()
    if starts_sentence or lower.split("'")[0] in PROPER_NOUNS:
        return lower[0].upper() + lower[1:]
    return lower


@dataclass(slots=True)
class Conversation:
    """One sheet's worth of talk, as the model sees it; a dialogue, if the cast has a persona to talk to."""

    memory: str = ""
    speakers: Speakers = NO_PERSONA

    def build_prompt(self, typed: str) -> str:
        """The memory, the typed line below it, and the cue.

        Never ends in a blank: a token that begins with one is how GPT-2 writes a word, and after a blank
        it can only stumble.
        """
        said = self.build_partial_prompt(typed)
        return f"{said}\n{self.speakers.persona}:".strip() if self.speakers.persona else said

    def build_partial_prompt(self, typed: str) -> str:
        """The prompt so far, while the line is still typed: what the cue would follow."""
        line = sentence_case(typed).strip()
        if self.speakers.persona and line:
            line = f"{self.speakers.you}: " + line.replace(
                "\n", "\n  "
            )  # so that no line of a message looks like a tag
        return f"{self.memory.rstrip()}\n{line}".strip()

    def drop_oldest_lines(
        self, typed: str, count_tokens: Callable[[str], int], max_tokens: int, tokens_to_keep: int
    ) -> int:
        """Forget the oldest whole lines where the prompt has more than `most` tokens; how many characters these were.

        They go until `kept` tokens are left, so that the prompts after it begin alike for a while; but the last of
        them stays if it fits.
        """
        before, tokens = len(self.memory), count_tokens(self.build_prompt(typed))
        if tokens > max_tokens:
            while self.memory and (tokens > max_tokens or (tokens > tokens_to_keep and "\n" in self.memory)):
                self.memory = self.memory.partition("\n")[2]
                tokens = count_tokens(self.build_prompt(typed))
        return before - len(self.memory)

    def add_answer(self, prompt: str, answer: str, forgotten_chars: int = 0) -> None:
        """What was written so far is what the next line continues, but for the characters that the model forgot."""
        self.memory = (prompt + answer)[forgotten_chars:].rstrip()

    def clear(self) -> None:
        self.memory = ""
