"""One answer among many that are made at once: what it has to read, and what it says. Pure; shares nothing.

Does in pieces what `model.loop.generate` does in one go, so that the text is the same. Knows neither slot nor engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.base import Ask, Piece
from model.context import Text, Vocabulary, check
from model.loop import Answer
from model.mask import Mask
from model.serving.deadlines import Line, Paper


class Turn:
    """An ask and its answer so far."""

    who = ""  # the key that it counts for

    def __init__(
        self,
        ask: Ask,
        prompt: Sequence[int],
        vocabulary: Vocabulary,
        mask: Mask | None,
        *,
        context: int,
        arrived: float,
    ) -> None:
        """`prompt` are the ids of the ask's, an end of text before them. Raises PromptTooLong."""
        check(prompt, context)
        self.conversation = ask.conversation
        self.line = Line(Paper(ask.pace, arrived), 0)
        self.said = 0  # tokens, of its own
        self._answer = Answer(Text(prompt, context, vocabulary), ask.sampling, vocabulary, mask)
        self._tokens: tuple[int, ...] = ()
        self._logprobs: tuple[float, ...] = ()
        self._forgotten = 0
        self._turn_over()
        for token in ask.said:
            self._forgotten = 0  # that was told with the token
            self._answer.take(token)
            self._go_on(token)

    def finished(self, now: float) -> Piece | None:
        """The last piece, where what was said before was all of it."""
        return Piece("", (), now, self._answer.finish) if self._answer.finish else None

    def say(self, logits: NDArray[np.float32], now: float) -> Piece | None:
        """The next token, from the logits after the window; whole characters, if there are any."""
        token, told = self._answer.draw(logits)
        text = self._answer.take(token)
        self.said += 1
        self.line.paper.made(now, len(text))
        self._tokens += (token,)
        self._logprobs += told
        piece = self._piece(text, now) if text or self._answer.finish else None
        self._go_on(token)
        return piece

    def _go_on(self, token: int) -> None:
        self.window.append(token)
        if not self._answer.finish and (forgotten := self._answer.text.roll()):
            self._forgotten += forgotten
            self._turn_over()

    def _turn_over(self) -> None:
        """What has to be in the cache for the next token; the first `given` of it is read, the rest came one by one."""
        self.window = self._answer.text.window
        self.given = len(self.window)

    def _piece(self, text: str, now: float) -> Piece:
        piece = Piece(text, self._tokens, now, self._answer.finish, self._logprobs, self._forgotten)
        self._tokens, self._logprobs, self._forgotten = (), (), 0
        return piece
