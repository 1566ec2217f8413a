"""How many characters a token has at a server that counts and does not say which: learned from its counts. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.interface import CompletionRequest
from model.openai_api.response import Usage

MIN_TOKENS = 20  # tokens, fewer of which say little of their length
SAFETY_FACTOR = 0.9  # of the characters a token that were seen are counted on


@dataclass(slots=True)
class TokenEstimate:
    """Of a token, in characters: what may be counted on."""

    chars_per_token: float = 3.0  # less than any prose has

    def estimate_tokens(self, text: str) -> int:
        """At least as many as the text has, by what was counted before."""
        return math.ceil(len(text) / self.chars_per_token)

    def update(self, request: CompletionRequest, usage: Usage | None) -> None:
        """What the server said of it: the prompt alone counts, so that a stream that was cut leaves the same behind."""
        if usage and (tokens := usage.prompt_tokens - len(request.resume_tokens)) >= MIN_TOKENS:
            self.chars_per_token = min(max(SAFETY_FACTOR * len(request.prompt) / tokens, 1.0), 5.0)

    def lower_after_refusal(self) -> None:
        """A prompt was, that by this count was not."""
        self.chars_per_token = max(1.0, 0.8 * self.chars_per_token)
