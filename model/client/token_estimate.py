"""An estimate of the token count of a text, for a server that counts tokens and does not show them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.interface import CompletionRequest
from model.openai_api.response import Usage

MIN_TOKENS = 20  # of a prompt from which the length of a token is learned
SAFETY_FACTOR = 0.9  # applied to the measured characters per token


@dataclass(slots=True)
class TokenEstimate:
    """Learns the characters per token from the server's counts."""

    chars_per_token: float = 3.0  # less than in any prose

    def estimate_tokens(self, text: str) -> int:
        """Returns the expected number of tokens, on the high side."""
        return math.ceil(len(text) / self.chars_per_token)

    def update(self, request: CompletionRequest, usage: Usage | None) -> None:
        """Learns from the prompt alone, so that the resumption of an answer leaves the same estimate."""
        if usage and (tokens := usage.prompt_tokens - len(request.resume_tokens)) >= MIN_TOKENS:
            self.chars_per_token = min(max(SAFETY_FACTOR * len(request.prompt) / tokens, 1.0), 5.0)

    def lower_after_refusal(self) -> None:
        """Call when the server refused a prompt as too long that was short enough by this estimate."""
        self.chars_per_token = max(1.0, 0.8 * self.chars_per_token)
