"""How far an answer has come, and what a server that takes over must be asked for it to go on. Pure.

Where tokens are known, and the next server has the same vocabulary, it goes on behind these exactly. Elsewhere the
text so far becomes part of the prompt. Knows no server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.generate.detokenizer import Detokenizer
from model.interface import CompletionRequest, FinishReason, Sampling, TextChunk

CHARS_PER_TOKEN = 4  # of an answer whose tokens nobody counted


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """`tokens` are those behind the first `base` characters, by the vocabulary of that name; empty: not known."""

    text: str = ""
    prompt_chars: int = 0
    tokens: tuple[int, ...] = ()
    vocabulary: str = ""
    tokens_used: int = 0  # tokens before these, or what is thought to have been

    def with_chunk(self, chunk: TextChunk, vocabulary: str) -> PartialAnswer:
        """With this piece of an answer that was asked for with `turned`."""
        text = self.text + chunk.text
        if vocabulary:
            return replace(self, text=text, tokens=self.tokens + chunk.tokens)
        used = self.tokens_used + (len(chunk.tokens) or -(-len(chunk.text) // CHARS_PER_TOKEN))
        return replace(self, text=text, prompt_chars=len(text), tokens_used=used)

    def for_vocabulary(self, vocabulary: str) -> PartialAnswer:
        """As it is for a server with this vocabulary, empty for one that takes no tokens."""
        if vocabulary and vocabulary == self.vocabulary:
            return self
        return PartialAnswer(self.text, len(self.text), (), vocabulary, self.tokens_used + len(self.tokens))

    def remaining_request(self, request: CompletionRequest) -> CompletionRequest:
        """What is left of it, as an Ask. A prompt never ends in a blank: those at its end are in `owed`."""
        if not (self.text or self.tokens):
            return request
        sampling = replace(
            request.sampling,
            max_tokens=max(1, request.sampling.max_tokens - self.tokens_used),
            length=None if request.sampling.length is None else max(1, request.sampling.length - self.prompt_chars),
        )
        prompt = request.prompt + self.text[: self.prompt_chars]
        return replace(
            request,
            prompt=prompt.rstrip(" ") if self.prompt_chars else prompt,
            sampling=sampling,
            resume_tokens=self.tokens,
        )

    @property
    def trailing_blanks(self) -> str:
        """The blanks at the end of what was said, with which the next text begins again."""
        text = self.text[: self.prompt_chars]
        return text[len(text.rstrip(" ")) :] if not self.tokens else ""

    def finish_reason(self, sampling: Sampling) -> FinishReason | None:
        """How it has ended, where the end itself was lost on the way."""
        return "length" if self.tokens_used + len(self.tokens) >= sampling.max_tokens else None


class ResumeTrimmer:
    """The text of a server that knows no length, or began in the middle: ended where ours would have ended it."""

    def __init__(self, partial: PartialAnswer, sampling: Sampling) -> None:
        self._detokenizer = Detokenizer(sampling.stop, sampling.length)
        self._detokenizer.push(partial.text.encode())
        self._blanks_to_drop = partial.trailing_blanks

    @property
    def finish(self) -> FinishReason | None:
        return self._detokenizer.finish_reason

    def push(self, text: str) -> str:
        if self._blanks_to_drop and text:
            blanks = len(text) - len(text.lstrip(" "))
            text, self._blanks_to_drop = (
                text[min(blanks, len(self._blanks_to_drop)) :],
                "" if text.strip(" ") else self._blanks_to_drop[blanks:],
            )
        return self._detokenizer.push(text.encode())

    def flush(self) -> str:
        return self._detokenizer.flush()
