"""How far an answer has come, and what a server that takes over must be asked for it to go on. Pure.

Where tokens are known, and the next server has the same vocabulary, it goes on behind these exactly. Elsewhere the
text so far becomes part of the prompt. Knows no server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.base import Ask, Finish, Piece, Sampling
from model.detokenizer import Detokenizer

CHARACTERS_A_TOKEN = 4  # of an answer whose tokens nobody counted


@dataclass(frozen=True, slots=True)
class Progress:
    """`tokens` are those behind the first `base` characters, by the vocabulary of that name; empty: not known."""

    text: str = ""
    base: int = 0
    tokens: tuple[int, ...] = ()
    vocabulary: str = ""
    used: int = 0  # tokens before these, or what is thought to have been

    def after(self, piece: Piece, vocabulary: str) -> Progress:
        """With this piece of an answer that was asked for with `turned`."""
        text = self.text + piece.text
        if vocabulary:
            return replace(self, text=text, tokens=self.tokens + piece.tokens)
        used = self.used + (len(piece.tokens) or -(-len(piece.text) // CHARACTERS_A_TOKEN))
        return replace(self, text=text, base=len(text), used=used)

    def turned(self, vocabulary: str) -> Progress:
        """As it is for a server with this vocabulary, empty for one that takes no tokens."""
        if vocabulary and vocabulary == self.vocabulary:
            return self
        return Progress(self.text, len(self.text), (), vocabulary, self.used + len(self.tokens))

    def ask(self, about: Ask) -> Ask:
        """What is left of it, as an Ask. A prompt never ends in a blank: those at its end are in `owed`."""
        if not (self.text or self.tokens):
            return about
        sampling = replace(
            about.sampling,
            max_tokens=max(1, about.sampling.max_tokens - self.used),
            length=None if about.sampling.length is None else max(1, about.sampling.length - self.base),
        )
        prompt = about.prompt + self.text[: self.base]
        return replace(about, prompt=prompt.rstrip(" ") if self.base else prompt, sampling=sampling, said=self.tokens)

    @property
    def owed(self) -> str:
        """The blanks at the end of what was said, with which the next text begins again."""
        text = self.text[: self.base]
        return text[len(text.rstrip(" ")) :] if not self.tokens else ""

    def over(self, sampling: Sampling) -> Finish | None:
        """How it has ended, where the end itself was lost on the way."""
        return "length" if self.used + len(self.tokens) >= sampling.max_tokens else None


class Trimmed:
    """The text of a server that knows no length, or began in the middle: ended where ours would have ended it."""

    def __init__(self, said: Progress, sampling: Sampling) -> None:
        self._text = Detokenizer(sampling.stop, sampling.length)
        self._text.push(said.text.encode())
        self._owed = said.owed

    @property
    def finish(self) -> Finish | None:
        return self._text.finish

    def push(self, text: str) -> str:
        if self._owed and text:
            blanks = len(text) - len(text.lstrip(" "))
            text, self._owed = text[min(blanks, len(self._owed)) :], "" if text.strip(" ") else self._owed[blanks:]
        return self._text.push(text.encode())

    def flush(self) -> str:
        return self._text.flush()
