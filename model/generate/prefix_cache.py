"""The tokens in a session's KV cache: a common prefix of two prompts is computed once. Pure.

It knows the ids in the cache, the logits after them, and the part of a prompt that further typing does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # clients without numpy call stable_prefix
    import numpy as np
    from numpy.typing import NDArray

PREFILL_CHUNK = 128  # tokens in one pass: total time is unchanged, and other work waits for one chunk at most


class DecoderSession(Protocol):
    """The methods of a session that generation calls."""

    context: int

    def forward(self, ids: Sequence[int]) -> NDArray[np.float32]: ...

    def rewind(self, length: int) -> None: ...


class PrefixCache:
    """A session and the `ids` in its cache: always a prefix of the last prompt."""

    def __init__(self, session: DecoderSession) -> None:
        """Empties the session; from now on only this object may use it."""
        self.context = session.context
        self.ids: list[int] = []
        self.logits: NDArray[np.float32] | None = None  # after the last id, if they are known
        self._session = session
        session.rewind(0)

    def rewind_to_common_prefix(self, ids: Sequence[int]) -> int:
        """Keeps the common prefix of the cache and these ids; returns its length."""
        length = common_prefix_length(self.ids, ids)
        if length < len(self.ids):
            self._session.rewind(length)
            del self.ids[length:]
            self.logits = None
        return length

    def forward(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Appends ids to the cache; returns the logits of the last, valid until the next call."""
        self.logits = None  # stays so if the pass fails
        logits = self._session.forward(ids)
        self.ids += ids
        self.logits = logits
        return logits

    def prefill_chunk(self, ids: Sequence[int]) -> int:
        """Computes the next PREFILL_CHUNK ids of a prompt that may still change; returns their number."""
        start = self.rewind_to_common_prefix(ids)
        if chunk := ids[start : start + PREFILL_CHUNK]:
            self.forward(chunk)
        return len(chunk)


def stable_prefix(prompt: str) -> str:
    """The part of a prompt whose ids no further typing changes: all but the last word.

    GPT-2 splits a text before the blank in front of a word, and encodes each line on its own. Such a border stays,
    while the last word may still change and may join with the blanks before it.
    """
    stripped = prompt.rstrip(" ")
    border = max(stripped.rfind(" "), stripped.rfind("\n"))
    return stripped[: border + 1].rstrip(" ")


def common_prefix_length(first: Sequence[int], second: Sequence[int]) -> int:
    if first == second[: len(first)]:
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), len(second))
