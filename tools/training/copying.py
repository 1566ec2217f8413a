"""How much a finished model copies: what it writes of itself, compared with what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.base import Sampling
from model.context import Vocabulary
from model.copied import Copied, copied
from model.prefix import Forward
from model.writing import written


@dataclass(frozen=True, slots=True)
class Copying:
    """`model` is of what it wrote; `held_out`, the yardstick, of what people wrote that it has not seen."""

    model: Copied
    held_out: Copied | None


def measure(
    session: Forward,
    vocabulary: Vocabulary,
    count: int,
    train: Sequence[str],
    held_out: Sequence[str],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Copying:
    """Let the model write so many words, as it does by default, and look for them in the text it was trained on."""
    wrote = written(session, vocabulary, count, Sampling(seed=seed), progress)
    model, yardstick = copied([wrote, held_out], train)
    return Copying(model, yardstick if held_out else None)
