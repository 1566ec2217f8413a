"""An answer of the batch, generated step by step. Its text is the same as from `model.generate.generate`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.generate.context_window import ContextWindow, Vocabulary, require_prompt_fits
from model.generate.generate import Generation
from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, TextChunk, TopLogprobs
from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence


class BatchSequence:
    """A completion request and its answer so far.

    `window` holds the tokens that must be in the cache before the next token. The first `prefill_length` are
    prefilled; the others are computed one by one.
    """

    key_name = ""  # the API key that the answer counts for

    def __init__(
        self,
        request: CompletionRequest,
        prompt: Sequence[int],
        vocabulary: Vocabulary,
        mask: TokenMask | None,
        *,
        context: int,
        arrived_at: float,
    ) -> None:
        """`prompt` is an end-of-text token and the tokens of the request's prompt. Raises PromptTooLong."""
        require_prompt_fits(prompt, context)
        self.conversation = request.conversation
        buffer = PlayoutBuffer(request.chars_per_second, arrived_at)
        self.scheduled = ScheduledSequence(buffer, 0, gives_way=request.gives_way)
        self.generated_tokens = 0  # without the resume tokens
        self._generation = Generation(ContextWindow(prompt, context, vocabulary), request.sampling, vocabulary, mask)
        self._unsent_tokens: tuple[int, ...] = ()
        self._unsent_logprobs: tuple[float, ...] = ()
        self._unsent_tops: tuple[TopLogprobs, ...] = ()
        self._dropped_chars = 0
        self._restart_window()
        for token in request.resume_tokens:
            self._dropped_chars = 0  # the chunk with this token reported the earlier ones
            self._generation.append_token(token)
            self._append_token(token)

    def final_chunk(self, now: float) -> TextChunk | None:
        """The last chunk, if the resume tokens are already a complete answer."""
        return TextChunk("", (), now, self._generation.finish_reason) if self._generation.finish_reason else None

    def generate_token(self, logits: NDArray[np.float32], now: float) -> TextChunk | None:
        """Samples the next token from the logits [V] after the window. Returns a chunk if characters are complete."""
        token, logprobs, tops = self._generation.sample(logits)
        text = self._generation.append_token(token)
        self.generated_tokens += 1
        self.scheduled.buffer.add_generated(now, len(text))
        self._unsent_tokens += (token,)
        self._unsent_logprobs += logprobs
        self._unsent_tops += tops
        chunk = self._make_chunk(text, now) if text or self._generation.finish_reason else None
        self._append_token(token)
        return chunk

    def _append_token(self, token: int) -> None:
        self.window.append(token)
        if not self._generation.finish_reason and (dropped := self._generation.window.drop_oldest()):
            self._dropped_chars += dropped
            self._restart_window()

    def _restart_window(self) -> None:
        self.window = self._generation.window.ids_in_context
        self.prefill_length = len(self.window)

    def _make_chunk(self, text: str, now: float) -> TextChunk:
        finish_reason = self._generation.finish_reason
        chunk = TextChunk(
            text,
            self._unsent_tokens,
            now,
            finish_reason,
            self._unsent_logprobs,
            self._dropped_chars,
            top_logprobs=self._unsent_tops,
        )
        self._unsent_tokens, self._unsent_logprobs, self._unsent_tops, self._dropped_chars = (), (), (), 0
        return chunk
