"""Builds the prompt: the memory of the conversation and the typed line in mixed case.

With a persona the prompt is a dialogue of lines `Name: text`, as in a corpus of messages: the operator's line begins
with `You: `, and the prompt ends with the persona's tag. A cue, if there is one, stays before the dialogue.

A Model 33 types upper case only, and GPT-2 answers capitals with capitals. So typed text becomes sentence case; `\\`
before a letter keeps it a capital, `\\\\` is a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from model.dialogue import NO_PERSONA, Speakers, indent_further_lines
from model.interface import Opening
from model.opening import choose_opening

# Words that begin with a capital anywhere in a sentence.
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
    """Returns typed capitals in sentence case."""
    out: list[str] = []
    starts_sentence = True
    escaped_capital = ""  # after it the rest of the word is in lower case
    for match in _TOKEN.finditer(typed):
        escaped, word, stop, newline, char = match.groups()
        if escaped is not None:
            escaped_capital = escaped.upper()
            out.append(escaped_capital)
            starts_sentence = starts_sentence and not escaped.isalnum()
        elif word is not None:
            out.append(word.lower() if escaped_capital.isalpha() else _capitalise(word, starts_sentence))
            starts_sentence, escaped_capital = False, ""
        else:
            out.append(stop or newline or char)
            escaped_capital = ""
            # A digit begins a sentence, as a letter does; quotes and brackets do not.
            starts_sentence = bool(stop or newline) or (starts_sentence and not char.isalnum())
    return "".join(out)


def _capitalise(word: str, starts_sentence: bool) -> str:
    lower = word.lower()
    if starts_sentence or lower.split("'")[0] in PROPER_NOUNS:
        return lower[0].upper() + lower[1:]
    return lower


@dataclass(slots=True)
class Conversation:
    """The conversation so far, as the model gets it; with a persona it is a dialogue."""

    memory: str = ""
    speakers: Speakers = NO_PERSONA
    other_speakers: Speakers = NO_PERSONA  # of the other mode

    def build_prompt(self, typed: str) -> str:
        """Returns the memory, the typed line, and the persona's tag.

        It never ends in a blank: GPT-2's tokens begin with the blank before a word.
        """
        prompt = self.build_partial_prompt(typed)
        return f"{prompt}\n{self.speakers.persona}:".strip() if self.speakers.persona else prompt

    def build_partial_prompt(self, typed: str) -> str:
        """Returns the prompt without the persona's tag, for prefill while the operator types."""
        line = sentence_case(typed).strip()
        if self.speakers.persona and line:
            # Further lines of a message are indented, so that none looks like a tag.
            line = f"{self.speakers.you}: " + indent_further_lines(line)
        return "\n".join(part for part in (self.speakers.cue, self.memory.rstrip(), line) if part).strip()

    def choose_opening(self, typed: str) -> Opening:
        """Returns how the answer to this line may begin: RETURN ends a word."""
        return "message" if self.speakers.persona else choose_opening(self.build_partial_prompt(typed))

    def drop_oldest_lines(
        self, typed: str, count_tokens: Callable[[str], int], max_tokens: int, tokens_to_keep: int
    ) -> int:
        """Drops the oldest lines of a prompt longer than `max_tokens`; returns the number of dropped characters.

        It drops down to `tokens_to_keep`, so that the next prompts share a prefix; the last line stays if it fits.
        """
        before, tokens = len(self.memory), count_tokens(self.build_prompt(typed))
        if tokens > max_tokens:
            while self.memory and (tokens > max_tokens or (tokens > tokens_to_keep and "\n" in self.memory)):
                self.memory = self.memory.partition("\n")[2]
                tokens = count_tokens(self.build_prompt(typed))
        return before - len(self.memory)

    def add_answer(self, prompt: str, answer: str, forgotten_chars: int = 0) -> None:
        """Remembers prompt and answer, without the cue and the oldest characters that the model has dropped."""
        self.memory = (prompt + answer)[max(forgotten_chars, len(self.speakers.cue)) :].strip()

    def clear(self) -> None:
        self.memory = ""

    def restore(self, earlier: Conversation) -> None:
        """Returns to the speakers and the memory of an earlier copy."""
        self.memory, self.speakers, self.other_speakers = earlier.memory, earlier.speakers, earlier.other_speakers

    def switch_mode(self) -> None:
        """Changes between answers of a persona and the continuation of the typed text; begins anew."""
        self.speakers, self.other_speakers = self.other_speakers, self.speakers
        self.clear()
