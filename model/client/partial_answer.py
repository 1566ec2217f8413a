"""The text and tokens of an answer so far, and the request that continues it. Pure; knows no server.

If the next server has the same vocabulary, the answer continues after exactly these tokens. Otherwise the text so far
becomes part of the prompt. `AnswerLimit` ends an answer here, whatever the server does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.generate.detokenizer import Detokenizer
from model.interface import CompletionRequest, FinishReason, Sampling, TextChunk

CHARS_PER_TOKEN = 4  # assumed for a server that does not show its tokens
MAX_CHARS_PER_TOKEN = 16  # of a server that shows them; a run of blanks may be one token
# An answer that finds no end of a sentence after `length` characters ends after so many times as much, and some more.
LENGTH_FACTOR, LENGTH_MARGIN_CHARS, MAX_LENGTH = 4, 200, 1 << 30


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """The first `prompt_chars` characters go into the prompt; `tokens`, of `vocabulary`, are the text after them.

    `tokens_used` counts the tokens of the text in the prompt; it is an estimate if the server did not show them.
    """

    text: str = ""
    prompt_chars: int = 0
    tokens: tuple[int, ...] = ()
    vocabulary: str = ""
    tokens_used: int = 0

    def with_chunk(self, chunk: TextChunk, vocabulary: str) -> PartialAnswer:
        """Returns the answer with one more chunk from a server of this vocabulary ("" without tokens)."""
        text = self.text + chunk.text
        if vocabulary:
            return replace(self, text=text, tokens=self.tokens + chunk.tokens)
        used = self.tokens_used + (len(chunk.tokens) or -(-len(chunk.text) // CHARS_PER_TOKEN))
        return replace(self, text=text, prompt_chars=len(text), tokens_used=used)

    def for_vocabulary(self, vocabulary: str) -> PartialAnswer:
        """Returns the answer as a server of this vocabulary can continue it."""
        if vocabulary and vocabulary == self.vocabulary:
            return self
        return PartialAnswer(self.text, len(self.text), (), vocabulary, self.tokens_used + len(self.tokens))

    def remaining_request(self, request: CompletionRequest) -> CompletionRequest:
        """Returns the request for the rest. Its prompt has no blanks at the end: they are `trailing_blanks`."""
        if not (self.text or self.tokens):
            return request
        sampling = replace(
            request.sampling,
            max_tokens=max(1, request.sampling.max_tokens - self.tokens_used),
            length=None if request.sampling.length is None else max(1, request.sampling.length - self.prompt_chars),
            opening="any" if self.text.strip() else request.sampling.opening,
        )
        prompt = request.prompt + self.text[: self.prompt_chars]
        prompt = prompt.rstrip(" ") if self.prompt_chars else prompt
        return replace(request, prompt=prompt, sampling=sampling, resume_tokens=self.tokens)

    @property
    def trailing_blanks(self) -> str:
        """The blanks at the end of the text; a model tends to begin the rest with them again."""
        text = self.text[: self.prompt_chars]
        return text[len(text.rstrip(" ")) :] if not self.tokens else ""

    def finish_reason(self, sampling: Sampling) -> FinishReason | None:
        """Returns "length" if the answer is complete although its last chunk was lost."""
        return "length" if self.tokens_used + len(self.tokens) >= sampling.max_tokens else None


class AnswerLimit:
    """Ends an answer at `max_tokens`, and at a multiple of `length`."""

    def __init__(self, partial: PartialAnswer, sampling: Sampling) -> None:
        self._tokens_left = sampling.max_tokens - partial.tokens_used - len(partial.tokens)
        self._chars_left = CHARS_PER_TOKEN * self._tokens_left
        length = MAX_LENGTH if sampling.length is None else LENGTH_FACTOR * sampling.length + LENGTH_MARGIN_CHARS
        self._length_left = length - len(partial.text)

    def cut(self, text: str, tokens: int, finish: FinishReason | None) -> tuple[str, FinishReason | None]:
        """Returns the part of a chunk's text that is allowed, and its finish reason. `tokens`: 0 if not shown."""
        chars = MAX_CHARS_PER_TOKEN * min(tokens, self._tokens_left) if tokens else self._chars_left
        allowed = max(0, min(chars, self._length_left))
        is_over = len(text) > allowed or tokens > self._tokens_left
        text = text[:allowed]
        self._tokens_left -= tokens
        self._chars_left -= CHARS_PER_TOKEN * tokens or len(text)
        self._length_left -= len(text)
        return text, "length" if is_over else finish


class ResumeTrimmer:
    """Ends a continued text where an asr33 server would have ended it, and drops repeated blanks at its start."""

    def __init__(self, partial: PartialAnswer, sampling: Sampling) -> None:
        self._detokenizer = Detokenizer(sampling.stop, sampling.length)
        self._detokenizer.push(partial.text.encode())
        self._blanks_to_drop = partial.trailing_blanks

    def trim(self, text: str, finish: FinishReason | None) -> tuple[str, FinishReason | None]:
        """Returns the part of a chunk's text that the reader gets, and the finish reason if the answer ends there."""
        text = self._detokenizer.push(self._drop_repeated_blanks(text).encode())
        if finish and not self._detokenizer.finish_reason:
            text += self._detokenizer.flush()
        return text, self._detokenizer.finish_reason or finish

    def _drop_repeated_blanks(self, text: str) -> str:
        blanks = len(text) - len(text.lstrip(" "))
        dropped = min(blanks, len(self._blanks_to_drop))
        if text:
            self._blanks_to_drop = "" if text.strip(" ") else self._blanks_to_drop[blanks:]
        return text[dropped:]
