"""The generation loop: prompt ids -> text, one step at a time. Pure: the session is an argument."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.generate.context_window import ContextWindow, Vocabulary, require_prompt_fits
from model.generate.detokenizer import Detokenizer
from model.generate.opening_mask import is_undecided
from model.generate.prefix_cache import PREFILL_CHUNK, DecoderSession, PrefixCache
from model.generate.sampling import choose_token, logprobs
from model.generate.token_mask import TokenMask
from model.interface import FinishReason, Sampling, TopLogprobs

PENALTY_WINDOW = 128  # tokens that the repetition penalty looks back: an older word may come again


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """The result of one step: empty during prefill, and while characters are undecided.

    `dropped_chars` counts the oldest characters of prompt and answer that left the full context.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    dropped_chars: int = 0
    top_logprobs: tuple[TopLogprobs, ...] = ()


def generate(
    session: PrefixCache | DecoderSession,
    prompt: Sequence[int],
    sampling: Sampling,
    vocabulary: Vocabulary,
    *,
    resume_tokens: Sequence[int] = (),
    mask: TokenMask | None = None,
) -> Iterator[GenerationStep]:
    """Yields steps of one forward pass each, until a step has a finish reason. Raises PromptTooLong before the first.

    The prompt begins with the end of text, as every training document did. `resume_tokens` are the tokens of an
    interrupted answer, which continues after them unchanged. A PrefixCache reuses the cached part of the prompt; a
    session's cache is emptied first. The mask limits the tokens.
    """
    require_prompt_fits(prompt, session.context)
    cache = session if isinstance(session, PrefixCache) else PrefixCache(session)
    generation = Generation(ContextWindow(prompt, cache.context, vocabulary), sampling, vocabulary, mask)
    for token in resume_tokens:
        generation.window.drop_oldest()
        generation.append_token(token)
    while generation.finish_reason is None:
        if dropped_chars := generation.window.drop_oldest():
            yield GenerationStep(dropped_chars=dropped_chars)
        logits = yield from _prefill(cache, generation.window.ids_in_context)
        token, numbers, tops = generation.sample(logits)
        text = generation.append_token(token)
        yield GenerationStep(text, (token,), generation.finish_reason, numbers, top_logprobs=tops)


def _prefill(cache: PrefixCache, ids: Sequence[int]) -> Generator[GenerationStep, None, NDArray[np.float32]]:
    """Returns the logits after these ids; yields an empty step after each full chunk. Reuses the cached prefix."""
    start = cache.rewind_to_common_prefix(ids)
    if start == len(ids):
        if cache.logits is not None:
            return cache.logits
        start = cache.rewind_to_common_prefix(ids[:-1])
    while start + PREFILL_CHUNK < len(ids):
        cache.forward(ids[start : start + PREFILL_CHUNK])
        start += PREFILL_CHUNK
        yield GenerationStep()
    return cache.forward(ids[start:])


class Generation:
    """The state of one answer: its tokens, the undecided characters, the finish reason."""

    def __init__(
        self, window: ContextWindow, sampling: Sampling, vocabulary: Vocabulary, mask: TokenMask | None
    ) -> None:
        self.window = window
        self.finish_reason: FinishReason | None = None
        self._sampling, self._vocabulary, self._mask = sampling, vocabulary, mask
        self._detokenizer = Detokenizer(sampling.stop, sampling.length)
        self._max_length = len(window.ids) + sampling.max_tokens
        self._open_bytes = b""  # the first bytes of an incomplete character
        self._lead: bytes | None = None if mask is None or sampling.opening == "any" else b""  # before the first word

    def sample(self, logits: NDArray[np.float32]) -> tuple[int, tuple[float, ...], tuple[TopLogprobs, ...]]:
        """The next token; its log probability, and those of the likeliest tokens, if the request wants them."""
        forbidden = self._forbidden_tokens()
        # No penalty inside a character: a repeated lead byte would turn a quote into a dagger.
        # Nor for the end of text: it stands before every prompt, and must not become less likely.
        recent = [] if self._open_bytes else self.window.ids[-PENALTY_WINDOW:]
        recent = [token for token in recent if token != self._vocabulary.end_of_text]
        # The position counts dropped tokens too, so that the random numbers do not depend on the context's length.
        token = choose_token(logits, self._sampling, len(self.window.ids), recent, forbidden)
        if not self._sampling.logprobs:
            return token, (), ()
        number, tops = logprobs(logits, token, min(self._sampling.top_logprobs, len(logits)), forbidden)
        return token, (number,), (tops,) if self._sampling.top_logprobs else ()

    def append_token(self, token: int) -> str:
        """Appends a token; returns the characters that are certain now. Sets `finish_reason` after the last one."""
        self.window.ids.append(token)
        self._open_bytes = self._mask.open_bytes_after(self._open_bytes, token) if self._mask else b""
        if self._lead is not None:
            lead = self._lead + self._vocabulary.bytes_of(token)
            self._lead = lead if is_undecided(lead, self._sampling.opening) else None
        text = ""
        if token == self._vocabulary.end_of_text:
            self.finish_reason = "end"
        else:
            text = self._detokenizer.push(self._vocabulary.bytes_of(token))
            self.finish_reason = "length" if len(self.window.ids) >= self._max_length else None
        if self.finish_reason and not self._detokenizer.finish_reason:
            text += self._detokenizer.flush()
        self.finish_reason = self._detokenizer.finish_reason or self.finish_reason
        return text

    def _forbidden_tokens(self) -> NDArray[np.intp] | None:
        if self._mask is None:
            return None
        forbidden = self._mask.forbidden(self._open_bytes)
        if self._lead is None:
            return forbidden
        both = np.union1d(forbidden, self._mask.opening.forbidden(self._lead, self._sampling.opening))
        # A small vocabulary may have no word with a blank before it.
        return both if self._mask.leaves_text(both) else forbidden
