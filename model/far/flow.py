"""Whether words come when they are said, or something in between keeps them back until there are many. Pure.

Our own server says each word when the paper needs it: what waits for the last one would wait for as long as the paper
takes. It is then asked to say them all at once. Knows no clock; what silence is too long is for others to say.
"""

from __future__ import annotations

from dataclasses import dataclass

FREE = 8  # words for which one had to wait: what holds them back gives out many together
GAP_S = 0.002  # less is no wait


@dataclass(slots=True)
class Flow:
    """`held`: something keeps them back, as far as is known."""

    held: bool = False
    _alone: int = 0

    def begin(self) -> None:
        """Another answer."""
        self._alone = 0

    def silent(self) -> None:
        """Not a byte came for longer than our server is ever silent."""
        self.held, self._alone = True, 0

    def came(self, words: int, waited_s: float) -> None:
        """So many words in one read, after so long a wait."""
        self._alone += words == 1 and waited_s > GAP_S
        if self._alone >= FREE:
            self.held = False
