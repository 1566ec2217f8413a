"""The generation loop: prompt ids -> text, a step at a time. Pure: no thread, no clock; the session is given."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.generate.context_window import ContextWindow, Vocabulary, require_prompt_fits
from model.generate.detokenizer import Detokenizer
from model.generate.prefix_cache import PREFILL_CHUNK, DecoderSession, PrefixCache
from model.generate.sampling import choose_token, logprob
from model.generate.token_mask import TokenMask
from model.interface import FinishReason, Sampling

PENALTY_WINDOW = 128  # tokens back that the repetition penalty looks; further back, a word may well come again


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """What one step gave: nothing while the prompt is read or characters are held back.

    `forgotten`: so many characters, the oldest of prompt and answer, have gone because the context was full.
    """

    text: str = ""
    tokens: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: tuple[float, ...] = ()
    dropped_chars: int = 0


def generate(
    session: PrefixCache | DecoderSession,
    prompt: Sequence[int],
    sampling: Sampling,
    vocabulary: Vocabulary,
    *,
    resume_tokens: Sequence[int] = (),
    mask: TokenMask | None = None,
) -> Iterator[GenerationStep]:
    """Steps of one forward pass each, until one has a finish. Raises PromptTooLong before the first.

    The prompt is not empty; it begins with the end of text, as every document did in training. `said` are the tokens
    of an answer that was cut: it goes on behind them as it would have. What a Cache holds of the prompt is not
    computed again; a bare session starts from nothing. The `mask` says what may come.
    """
    require_prompt_fits(prompt, session.context)
    cache = session if isinstance(session, PrefixCache) else PrefixCache(session)
    answer = Generation(ContextWindow(prompt, cache.context, vocabulary), sampling, vocabulary, mask)
    for token in resume_tokens:
        answer.window.drop_oldest()
        answer.append_token(token)
    while answer.finish_reason is None:
        if forgotten := answer.window.drop_oldest():
            yield GenerationStep(dropped_chars=forgotten)
        logits = yield from _prefill(cache, answer.window.ids_in_context)
        token, told = answer.sample(logits)
        yield GenerationStep(answer.append_token(token), (token,), answer.finish_reason, told)


def _prefill(cache: PrefixCache, ids: Sequence[int]) -> Generator[GenerationStep, None, NDArray[np.float32]]:
    """The logits after these ids; a step for each CHUNK but the last. What was read while it was typed is known."""
    at = cache.rewind_to_common_prefix(ids)
    if at == len(ids):
        if cache.logits is not None:
            return cache.logits
        at = cache.rewind_to_common_prefix(ids[:-1])
    while at + PREFILL_CHUNK < len(ids):
        cache.forward(ids[at : at + PREFILL_CHUNK])
        at += PREFILL_CHUNK
        yield GenerationStep()
    return cache.forward(ids[at:])


class Generation:
    """One answer as far as it has come: what may follow, and whether it is over."""

    def __init__(
        self, window: ContextWindow, sampling: Sampling, vocabulary: Vocabulary, mask: TokenMask | None
    ) -> None:
        self.window = window
        self.finish_reason: FinishReason | None = None
        self._sampling, self._vocabulary, self._mask = sampling, vocabulary, mask
        self._detokenizer = Detokenizer(sampling.stop, sampling.length)
        self._max_length = len(window.ids) + sampling.max_tokens
        self._open_bytes = b""  # the bytes of half a character

    def sample(self, logits: NDArray[np.float32]) -> tuple[int, tuple[float, ...]]:
        """The next token, and what the model thought of it if that was asked."""
        barred = self._mask.forbidden(self._open_bytes) if self._mask else None
        # Half a character is no word that comes again: a penalty there would turn a quote into a dagger.
        recent = [] if self._open_bytes else _recent_tokens(self.window.ids, self._vocabulary.end_of_text)
        # The position counts what is forgotten too, so that the draw does not know where the context ended.
        token = choose_token(logits, self._sampling, len(self.window.ids), recent, barred)
        return token, (logprob(logits, token, barred),) if self._sampling.logprobs else ()

    def append_token(self, token: int) -> str:
        """The characters that are certain with this token; `finish` is set if they are the last."""
        self.window.ids.append(token)
        self._open_bytes = self._mask.open_bytes_after(self._open_bytes, token) if self._mask else b""
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


def _recent_tokens(ids: Sequence[int], end_of_text: int) -> list[int]:
    # The end of text stands before every prompt; that is no reason to make it less likely now.
    return [token for token in ids[-PENALTY_WINDOW:] if token != end_of_text]
