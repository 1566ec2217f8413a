"""How many characters a token has at a server that counts and does not say which: learned from its counts. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.base import Ask
from model.far.wire import Usage

COUNTED = 20  # tokens, fewer of which say little of their length
SAFE = 0.9  # of the characters a token that were seen are counted on


@dataclass(slots=True)
class Length:
    """Of a token, in characters: what may be counted on."""

    characters: float = 3.0  # less than any prose has

    def tokens(self, text: str) -> int:
        """At least as many as the text has, by what was counted before."""
        return math.ceil(len(text) / self.characters)

    def counted(self, ask: Ask, usage: Usage | None) -> None:
        """What the server said of it: the prompt alone counts, so that a stream that was cut leaves the same behind."""
        if usage and (tokens := usage.prompt - len(ask.said)) >= COUNTED:
            self.characters = min(max(SAFE * len(ask.prompt) / tokens, 1.0), 5.0)

    def too_long(self) -> None:
        """A prompt was, that by this count was not."""
        self.characters = max(1.0, 0.8 * self.characters)
