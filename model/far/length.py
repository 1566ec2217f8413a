"""How many characters a token has at a server that counts and does not say which: learned from its counts. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

COUNTED = 20  # tokens, fewer of which say little of their length
SAFE = 0.9  # of the characters a token that were seen are counted on


@dataclass(slots=True)
class Length:
    """Of a token, in characters: what may be counted on."""

    characters: float = 3.0  # less than any prose has

    def tokens(self, text: str) -> int:
        """At least as many as the text has, by what was counted before."""
        return math.ceil(len(text) / self.characters)

    def counted(self, prompt: str, tokens: int) -> None:
        """So many the server found in this prompt."""
        if tokens >= COUNTED:
            self.characters = min(max(SAFE * len(prompt) / tokens, 1.0), 5.0)

    def too_long(self) -> None:
        """A prompt was, that by this count was not."""
        self.characters = max(1.0, 0.8 * self.characters)
