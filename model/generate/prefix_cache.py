"""What two prompts begin with alike is computed once; so is a prompt that is still being typed. Pure.

Knows which ids are in a session's cache, the logits after them, and what of a line is settled while its end is not.
Draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # what is settled is asked for on thin clients too
    import numpy as np
    from numpy.typing import NDArray

PREFILL_CHUNK = 128  # tokens of a prompt in one pass: costs nothing in all, and nobody need wait for a long prompt


class DecoderSession(Protocol):
    """What is asked of the session."""

    context: int

    def forward(self, ids: Sequence[int]) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class PrefixCache:
    """A session and the `ids` in its cache: always the beginning of what was asked of it last."""

    def __init__(self, session: DecoderSession) -> None:
        """Whatever is in the session is forgotten; from here on nobody else may touch it."""
        self.context = session.context
        self.ids: list[int] = []
        self.logits: NDArray[np.float32] | None = None  # after the last of them, where that is known
        self._session = session
        session.rewind(0)

    def rewind_to_common_prefix(self, ids: Sequence[int]) -> int:
        """Forget what these do not begin with; how many of them are in the cache."""
        known = common_prefix_length(self.ids, ids)
        if known < len(self.ids):
            self._session.rewind(known)
            del self.ids[known:]
            self.logits = None
        return known

    def forward(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Take these after those in the cache; the logits of the last, good until the next call."""
        self.logits = None  # a pass that fails leaves none
        logits = self._session.forward(ids)
        self.ids += ids
        self.logits = logits
        return logits

    def prefill_chunk(self, ids: Sequence[int]) -> int:
        """Take the next CHUNK of a prompt that may yet change; how many ids that were."""
        at = self.rewind_to_common_prefix(ids)
        if part := ids[at : at + PREFILL_CHUNK]:
            self.forward(part)
        return len(part)


def stable_prefix(prompt: str) -> str:
    """What of a prompt keeps its ids whatever is typed behind it: all but the last word.

    GPT-2 divides a text before the blank in front of a word, and a line's ids are its own; so a border there stays,
    while a word may still grow, take its blanks along, or become a name with a capital.
    """
    before = prompt.rstrip(" ")
    at = max(before.rfind(" "), before.rfind("\n"))
    return before[: at + 1].rstrip(" ")


def common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids the two begin with alike."""
    if one == other[: len(one)]:
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))
