"""One answer among many that are made at once: what it has to read, and what it says. Pure; shares nothing.

Does in pieces what `model.generate.generate.generate` does in one go, so that the text is the same. Knows neither slot nor engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.generate.context_window import ContextWindow, Vocabulary, require_prompt_fits
from model.generate.generate import Generation
from model.generate.token_mask import TokenMask
from model.interface import CompletionRequest, TextChunk
from model.server.engine.scheduler import PlayoutBuffer, ScheduledSequence


class BatchSequence:
    """An ask and its answer so far."""

    key_name = ""  # the key that it counts for

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
        """`prompt` are the ids of the ask's, an end of text before them. Raises PromptTooLong."""
        require_prompt_fits(prompt, context)
        self.conversation = request.conversation
        self.scheduled = ScheduledSequence(PlayoutBuffer(request.chars_per_second, arrived_at), 0)
        self.generated_tokens = 0  # tokens, of its own
        self._generation = Generation(ContextWindow(prompt, context, vocabulary), request.sampling, vocabulary, mask)
        self._unsent_tokens: tuple[int, ...] = ()
        self._unsent_logprobs: tuple[float, ...] = ()
        self._forgotten = 0
        self._restart_window()
        for token in request.resume_tokens:
            self._forgotten = 0  # that was told with the token
            self._generation.append_token(token)
            self._append_token(token)

    def final_chunk(self, now: float) -> TextChunk | None:
        """The last piece, where what was said before was all of it."""
        return TextChunk("", (), now, self._generation.finish_reason) if self._generation.finish_reason else None

    def generate_token(self, logits: NDArray[np.float32], now: float) -> TextChunk | None:
        """The next token, from the logits after the window; whole characters, if there are any."""
        token, told = self._generation.sample(logits)
        text = self._generation.append_token(token)
        self.generated_tokens += 1
        self.scheduled.buffer.add_generated(now, len(text))
        self._unsent_tokens += (token,)
        self._unsent_logprobs += told
        piece = self._make_chunk(text, now) if text or self._generation.finish_reason else None
        self._append_token(token)
        return piece

    def _append_token(self, token: int) -> None:
        self.window.append(token)
        if not self._generation.finish_reason and (forgotten := self._generation.window.drop_oldest()):
            self._forgotten += forgotten
            self._restart_window()

    def _restart_window(self) -> None:
        """What has to be in the cache for the next token; the first `given` of it is read, the rest came one by one."""
        self.window = self._generation.window.ids_in_context
        self.prefill_length = len(self.window)

    def _make_chunk(self, text: str, now: float) -> TextChunk:
        piece = TextChunk(
            text, self._unsent_tokens, now, self._generation.finish_reason, self._unsent_logprobs, self._forgotten
        )
        self._unsent_tokens, self._unsent_logprobs, self._forgotten = (), (), 0
        return piece
