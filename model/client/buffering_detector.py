"""Whether words come when they are said, or something in between keeps them back until there are many. Pure.

Our own server says each word when the paper needs it: what waits for the last one would wait for as long as the paper
takes. It is then asked to say them all at once. Knows no clock; what silence is too long is for others to say.
"""

from __future__ import annotations

from dataclasses import dataclass

UNBUFFERED_READS = 8  # words for which one had to wait: what holds them back gives out many together
MIN_WAIT_S = 0.002  # less is no wait


@dataclass(slots=True)
class BufferingDetector:
    """`held`: something keeps them back, as far as is known."""

    is_buffered: bool = False
    _single_reads: int = 0

    def start_answer(self) -> None:
        """Another answer."""
        self._single_reads = 0

    def note_silence(self) -> None:
        """Not a byte came for longer than our server is ever silent."""
        self.is_buffered, self._single_reads = True, 0

    def note_read(self, words: int, waited_s: float) -> None:
        """So many words in one read, after so long a wait."""
        self._single_reads += words == 1 and waited_s > MIN_WAIT_S
        if self._single_reads >= UNBUFFERED_READS:
            self.is_buffered = False
